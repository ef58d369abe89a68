"""The templates of this folder, filled in."""

from __future__ import annotations

from importlib import resources
from typing import Any

from netmorph.errors import require
from netmorph.report.numbers import percent
from netmorph.wording import compact, flops_text

# What a page with pictures takes: modules with their extras, for `netmorph.errors.require_all`.
PAGE = {"matplotlib": "report", "jinja2": "report"}


def render(name: str, **values: Any) -> str:
    """A template as text; what it names has to be among the values, and is escaped.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = require("jinja2", extra="report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda file: resources.files(__package__).joinpath(file).read_text("utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, compact=compact, flops=flops_text)
    text: str = environment.get_template(name).render(**values)
    return text
