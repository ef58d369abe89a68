"""A chapter: a Python script whose comments are the text to read, cut into steps at lines that begin with `# %%`.

What is shown is what runs. Editors take such a script for a notebook, and Python for a program.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

MARK = "# %%"


@dataclass(frozen=True)
class Step:
    """A part of a script.

    Attributes:
        text: what to read, from the comment at its head.
        code: Python as it is shown.
        line: number of the first line of `code` in the script, from 1.
    """

    text: str
    code: str
    line: int

    def compiled(self, file: Path) -> CodeType:
        """What runs. An error in it tells the line of the script."""
        return compile(ast.increment_lineno(ast.parse(self.code), self.line - 1), str(file), "exec")


@dataclass(frozen=True)
class Chapter:
    """A script of the tour.

    Attributes:
        name: as one asks for it.
        text: what it is about, from the script's docstring; the first line is its title.
        steps: in their order.
        file: where the script is.
    """

    name: str
    text: str
    steps: tuple[Step, ...]
    file: Path

    @property
    def title(self) -> str:
        """The first line of its text."""
        return self.text.partition("\n")[0]


def read(file: Path) -> Chapter:
    """The chapter that a script is."""
    source = file.read_text(encoding="utf-8")
    lines = source.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(MARK)]
    steps = tuple(_step(lines[start:end], start) for start, end in zip(starts, [*starts[1:], len(lines)], strict=True))
    return Chapter(file.stem, ast.get_docstring(ast.parse(source)) or file.stem, steps, file)


def _step(lines: list[str], start: int) -> Step:
    """The step of these lines; the first of them is number `start` of its script, from 0."""
    head = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    first = next((number for number in range(head, len(lines)) if lines[number].strip()), len(lines))
    text = [line.lstrip("#% ") for line in lines[:head]]
    return Step(" ".join(filter(None, text)), "\n".join(lines[first:]).rstrip(), start + first + 1)
