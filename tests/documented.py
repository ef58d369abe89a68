"""What docs/json.md says of each kind of JSON, to hold what commands print against it."""

import re
from pathlib import Path
from typing import Any

from netmorph.run.folders import Kind

DOCUMENTED = Path(__file__).parents[1] / "docs" / "json.md"


def tables() -> dict[str, set[str]]:
    """The fields that the page lists, by its headings."""
    found: dict[str, set[str]] = {}
    for section in DOCUMENTED.read_text().split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        rows = [line.split("|")[1] for line in body.splitlines() if line.startswith("| `")]
        for name in heading.split(", "):
            found[name] = {field for row in rows for field in re.findall(r"`(\w+)`", row)}
    return found


TABLES = tables()


def check_documented(told: dict[str, Any]) -> None:
    """Exactly the fields of its kind are told, but for those that only some commands tell."""
    kind = told["kind"]
    fields = {"schema", "kind", *TABLES[kind]}
    if kind in {*map(str, Kind)}:
        fields |= TABLES["All run folders"] | (set() if kind in ("train", "evolve") else {"progress"})
    assert told.keys() | ({"left_out"} & fields) == fields
