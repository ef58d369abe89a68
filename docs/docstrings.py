"""What the site reads in docstrings and comments beyond what Griffe does; `mkdocs.yml` names it.

Griffe takes one name before a colon. Here an entry may speak of several, `low, high: the ends of the band`. And what is
said of a constant stands in a comment.
"""

import re
from itertools import takewhile
from typing import Any

from griffe import Attribute, Docstring, DocstringNamedElement, ExprTuple, Extension, Module, Object

# Errors are not meant, which have capital letters: of them Griffe makes a tuple.
SEVERAL = re.compile(r"^( +)([a-z]\w*(?:, [a-z]\w*)+)(?=: )", re.MULTILINE)


class OurDocstrings(Extension):
    """Entries of several names, and comments of constants."""

    def on_object(self, *, obj: Object, **others: Any) -> None:
        """Change what is said of a class, a function or a constant."""
        if obj.docstring is not None and SEVERAL.search(obj.docstring.value):
            join(obj.docstring)
        constant = obj.docstring is None and isinstance(obj, Attribute) and isinstance(obj.parent, Module)
        if constant and (told := comment(obj)):
            obj.docstring = Docstring(told, parent=obj)


def join(docstring: Docstring) -> None:
    """Make what is said of several names one entry: Griffe reads one a name, where only the last one has a text."""
    docstring.value = SEVERAL.sub(lambda found: found[1] + found[2].replace(", ", f":\n{found[1]}"), docstring.value)
    for section in docstring.parsed:
        if section.kind.value in ("attributes", "parameters"):
            section.value = joined(section.value)


def joined(entries: list[DocstringNamedElement]) -> list[DocstringNamedElement]:
    """Entries without a text become part of the next one that has some."""
    done: list[DocstringNamedElement] = []
    waiting: list[DocstringNamedElement] = []
    for entry in entries:
        waiting.append(entry)
        if entry.description:
            done.append(entry if len(waiting) == 1 else as_one(waiting))
            waiting = []
    return done


def as_one(entries: list[DocstringNamedElement]) -> DocstringNamedElement:
    """With the type that all have, or theirs in their order, and the text of the last one."""
    types = list({str(entry.annotation): entry.annotation for entry in entries if entry.annotation}.values())
    return DocstringNamedElement(
        ", ".join(entry.name for entry in entries),
        annotation=types[0] if len(types) == 1 else ExprTuple(types, implicit=True),
        description=entries[-1].description,
    )


def comment(constant: Object) -> str:
    """The comment behind a constant, or else that right above it."""
    lines, number = constant.module.lines, (constant.lineno or 1) - 1
    above = takewhile(lambda line: line.startswith("# "), reversed(lines[:number]))
    told = lines[number].partition("  # ")[2] or "\n".join(reversed([line[2:] for line in above]))
    return told[:1].upper() + told[1:]
