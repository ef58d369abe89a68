"""The journal as plain values: what each edit was, and what it made of the network's structure.

Nothing in here knows how edits are made: who makes them writes entries, rebuilds networks by them and keeps them in
files.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True)
class Description:
    """An edit for people.

    Attributes:
        kind: "widen", "narrow", "deepen", "shallow", "factorize", "merge", "undo".
        method: how.
        layer: path of the edited layer, or name of the edited group; of several the first one, and how many more.
        before, after: widths, ranks or counts of layers; of several groups those of all together.
        widths: of several groups, `[before, after]` of each by name.
        left_out_error: what a fit leaves out, relative: of the weight (`factorize`), or of the output before the fit
            (`shallow`, `linearize`).
        fitted_error: the relative error of the output after the fit.
    """

    kind: str
    method: str
    layer: str
    before: int
    after: int
    widths: dict[str, list[int]] | None = None
    left_out_error: float | None = None
    fitted_error: float | None = None

    def __str__(self) -> str:
        return f"{self.kind} ({self.method}) of {self.layer!r} from {self.before} to {self.after}"

    def as_json(self) -> dict[str, Any]:
        """The fields that the edit has."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_json(told: dict[str, Any]) -> Description:
        """The description that `as_json` wrote."""
        return Description(**told)


@dataclass(frozen=True)
class Entry:
    """One edit in the journal.

    Attributes:
        edit: what it was.
        error: the largest relative change of the outputs when it was made.
        modules: `[path, spec]` of modules put in, in order.
        shapes: the new shapes of parameters and buffers, by canonical name.
        attributes: `[module, name, value]`.
        replaced: the old shapes of the tensors that the edit changed or moved, so that another base is noticed.
        before: what the edit replaced, whatever who made it needs to take it back. Not part of a saved journal.
    """

    edit: Description
    error: float
    modules: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    shapes: dict[str, list[int]] = field(default_factory=dict)
    attributes: list[tuple[str, str, Any]] = field(default_factory=list)
    replaced: dict[str, list[int]] = field(default_factory=dict)
    inverse: dict[str, Any] | None = None
    before: object | None = field(default=None, repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The fields that are saved."""
        saved = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "before"}
        return saved | {"edit": self.edit.as_json()}

    @staticmethod
    def from_json(told: dict[str, Any]) -> Entry:
        """The entry that was written by `as_json`; JSON knows no tuples."""
        entry = Entry(**told)
        modules = [(path, spec) for path, spec in entry.modules]
        attributes = [
            (module, name, tuple(value) if isinstance(value, list) else value)
            for module, name, value in entry.attributes
        ]
        return replace(entry, edit=Description.from_json(told["edit"]), modules=modules, attributes=attributes)


Journal = tuple[Entry, ...]
