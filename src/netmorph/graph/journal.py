"""The journal as plain values: what each edit was, and what it made of the network's structure.

Nothing in here knows how edits are made: who makes them writes entries, rebuilds networks by them and keeps them in
files.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Real
from typing import Any

from netmorph.showing import Shows, View


@dataclass(frozen=True, repr=False)
class Description(Shows):
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

    def view(self) -> View:
        """Widths before and after, of each group where there are several, and the errors of fits."""
        widths = self.widths or {self.layer: [self.before, self.after]}
        fits = (("left out", self.left_out_error), ("after the fit", self.fitted_error))
        notes = [f"relative error {name}: {error:.3g}" for name, error in fits if error is not None]
        rows = ((name, before, after) for name, (before, after) in widths.items())
        return View(str(self), ("where", "before", "after"), rows, notes=notes)

    def as_json(self) -> dict[str, Any]:
        """The fields that the edit has."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_json(told: dict[str, Any]) -> Description:
        """The description that `as_json` wrote.

        Raises:
            KeyError, TypeError: no edit is told like this.
        """
        edit = Description(**told)
        for name in (edit.kind, edit.method, edit.layer):
            _text(name)
        widths = None if edit.widths is None else _shapes(edit.widths)
        left_out, fitted = (
            None if error is None else float(error) for error in (edit.left_out_error, edit.fitted_error)
        )
        return replace(
            edit,
            before=_count(edit.before),
            after=_count(edit.after),
            widths=widths,
            left_out_error=left_out,
            fitted_error=fitted,
        )


@dataclass(frozen=True, repr=False)
class Entry(Shows):
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

    def view(self) -> View:
        """The edit, and by how much it changed the outputs."""
        told = self.edit.view()
        return replace(told, title=f"{told.title}: outputs changed by {self.error:.3g}")

    def as_json(self) -> dict[str, Any]:
        """The fields that are saved."""
        saved = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "before"}
        return saved | {"edit": self.edit.as_json(), "error": self.error if math.isfinite(self.error) else None}

    @staticmethod
    def from_json(told: dict[str, Any]) -> Entry:
        """The entry that was written by `as_json`; JSON knows no tuples.

        Raises:
            KeyError, TypeError, ValueError: no entry is told like this; a file may come from anyone.
        """
        entry = Entry(**told)
        modules = [(_text(path), _table(spec)) for path, spec in entry.modules]
        attributes = [(_text(module), _text(name), sizes_in(value)) for module, name, value in entry.attributes]
        return replace(
            entry,
            edit=Description.from_json(told["edit"]),
            error=math.nan if entry.error is None else float(entry.error),  # JSON has no NaN
            modules=modules,
            shapes=_shapes(entry.shapes),
            attributes=attributes,
            replaced=_shapes(entry.replaced),
            inverse=None if entry.inverse is None else _table(entry.inverse),
        )


Journal = tuple[Entry, ...]


class Edits(Shows, tuple[Entry, ...]):
    """A journal that shows itself."""

    def view(self) -> View:
        """A row for each edit."""
        return View(
            f"Journal of {len(self)} edit{'' if len(self) == 1 else 's'}",
            ("number", "edit", "method", "where", "before", "after", "outputs changed by"),
            (
                (number, told.kind, told.method, told.layer, told.before, told.after, entry.error)
                for number, entry in enumerate(self, start=1)
                for told in [entry.edit]
            ),
        )


def sizes_in(value: Any) -> Any:
    """A size, or sizes in sequences, which become tuples.

    Raises:
        TypeError: it is something else, which no edit sets.
    """
    if isinstance(value, list | tuple):
        return tuple(map(sizes_in, value))
    if isinstance(value, Real):
        return value
    raise TypeError(f"an edit sets sizes, and {value!r} is none")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a name, got {value!r}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"expected a whole number, 0 or more, got {value!r}")
    return value


def _table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected names and values, got {value!r}")
    return value


def _shapes(value: Any) -> dict[str, list[int]]:
    return {name: list(map(_count, shape)) for name, shape in _table(value).items()}
