"""What the sizes of one recording tell on the way, and how a size that became a plain integer is known again.

`int(size)` has to be a plain integer, and so is what NumPy or `torch.Size.numel` make of sizes. Such a number is noted
with its source and with the function of the user's that made it. Where a plain integer of this value comes back while
that function is still running, and is not written in the expression that uses it, it is taken for the size. Were that
wrong, the edited forward would not have the predicted shapes, and `apply` would refuse the edit.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from netmorph.graph.lines import Lines, forward_frames
from netmorph.graph.sources import Comparison, Equality, Lost, Product, Source, Written

if TYPE_CHECKING:
    from netmorph.graph.provenance import Size
    from netmorph.graph.roots import Root

_OWN = (__file__, os.path.join(os.path.dirname(__file__), "provenance.py"))


@dataclass
class Facts:
    """See above.

    Attributes:
        equal: pairs that the forward found equal or relies on.
        compared: what it found by other comparisons; an ordered set.
        out: sizes that went on as plain integers: by value, where each came from, and the code that did it.
        lines: the user's code.
        apart: functions in which a size finds nothing but itself in dictionaries, sets and `functools.lru_cache`.
        mixed: functions in which one found what was put there for an integer, or for a size of another source.
        handed: all sizes, and roots of them, that the forward may have got; of those that a recording keeps, none.
    """

    equal: list[Equality] = field(default_factory=list)
    compared: dict[Comparison, None] = field(default_factory=dict)
    out: dict[int, dict[Source, CodeType]] = field(default_factory=dict)
    lines: Lines = field(default_factory=Lines)
    apart: frozenset[CodeType] = frozenset()
    mixed: set[CodeType] = field(default_factory=set)
    handed: list[Size | Root] | None = field(default_factory=list)
    _product: tuple[int, int, int, Source] | None = None
    _hashed: tuple[int, int] | None = None

    def of_recording(self) -> Facts:
        """The same for sizes that the recording keeps: those that the forward got are gone when it is over."""
        return replace(self, handed=None)

    def hashed(self) -> None:
        """A size is looked up, or put somewhere: the comparisons that follow in the same place belong to that."""
        frame = _asking()
        self._hashed = (id(frame), frame.f_lasti)

    def in_a_lookup(self) -> CodeType | None:
        """The function that looks a size up, where the present comparison is part of that."""
        if self._hashed is None:
            return None
        frame = _asking()
        return frame.f_code if self._hashed == (id(frame), frame.f_lasti) else None

    def lose(self, number: int, source: Source) -> None:
        """Remember a size that goes on as a plain integer."""
        frame = next(forward_frames(), None)
        if frame is not None:
            known = self.out.setdefault(number, {})
            known.pop(source, None)  # the latest stands last
            known[source] = frame.f_code

    def lose_factor(self, number: int, source: Source) -> None:
        """Of several sizes that one call of NumPy takes (`np.prod`), remember the product."""
        frame = next(forward_frames(), None)
        if frame is None:
            return
        if self._product is not None and self._product[:2] == (id(frame), frame.f_lasti):
            number, source = self._product[2] * number, Product(self._product[3], source)
        self._product = (id(frame), frame.f_lasti, number, source)
        self.lose(number, source)

    def forget(self) -> None:
        """Let go of the user's code, once the forward has returned: the recording goes on holding sizes."""
        self.out.clear()
        self.lines.forget()
        self._product = self._hashed = None
        self.handed = None

    def source(self, number: int) -> Source:
        """The source of a plain integer: that of the size that it was, or none."""
        return self._known_again(number) or Written(number)

    def closer(self, number: int) -> Source:
        """The same, and whether a number without a source stands in the code."""
        return self._known_again(number) or (Written(number) if self.lines.is_written(number) else Lost(number))

    def _known_again(self, number: int) -> Source | None:
        known = self.out.get(number)
        if not known or self.lines.is_written(number):
            return None
        running = {frame.f_code for frame in forward_frames()}
        here = [source for source, code in known.items() if code in running]
        return here[-1] if here else None


def _asking() -> FrameType:
    """The frame that hashes or compares a size, itself or in an object of its own (a data class as a key)."""
    frame = sys._getframe(2)
    while (frame.f_code.co_filename in _OWN or frame.f_code.co_name in ("__hash__", "__eq__")) and frame.f_back:
        frame = frame.f_back
    return frame
