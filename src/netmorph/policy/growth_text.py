"""Growths as text: `at 80%: depth 12`, `at 50%: width x2 net2net`, `plateau: width x1.5`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from netmorph.errors import suggest
from netmorph.policy.growth import Grow, Growth, GrowthError, Plateau
from netmorph.policy.growth_ways import WAYS, by_width, to_depth, together
from netmorph.widenings import WIDENINGS

_NUMBER = r"\d+(?:\.\d+)?"
_WHEN = re.compile(rf"at\s+({_NUMBER})\s*%|plateau(?:\s+of\s+(\d+)\s+epochs?)?")
_DEPTH = re.compile(r"depth\s+(\d+)(?:\s+(?!of\s)(\w+))?(?:\s+of\s+(\S+))?")
_WIDTH = re.compile(rf"width\s+x\s*({_NUMBER})(?:\s+(\w+))?")


def parse(text: str) -> Growth:
    """Read a growth, written as `WHEN: WHAT`.

    WHEN is `at 80%` of all steps, `plateau` (the number that chooses has not got better in three epochs) or `plateau of
    5 epochs`. WHAT is `depth 12`, with a way of `WAYS` behind it (`depth 12 copied`) and the list that grows (`depth 12
    copied of blocks`), or `width x2`, with a method of `netmorph.widenings.WIDENINGS` (`width x2 net2net`); several are
    made one after the other (`depth 4 of layer1, depth 4 of layer2`).

    Raises:
        GrowthError: it is written in another way.
    """
    when, colon, what = text.partition(":")
    if not colon:
        raise GrowthError(f"cannot read the growth {text!r}: {_FORM}")
    grows = [_what(part.strip()) for part in what.split(",")]
    return Growth(_when(when.strip()), together(*grows))


_FORM = (
    "write WHEN: WHAT, such as 'at 80%: depth 12', 'at 50%: width x2 net2net' or 'plateau of 5 epochs: depth 6 copied'"
)


def _when(text: str) -> float | Plateau:
    found = _WHEN.fullmatch(text)
    if found is None:
        raise GrowthError(f"cannot read when to grow, {text!r}: write 'at 80%', 'plateau' or 'plateau of 5 epochs'")
    share, patience = found.groups()
    if share is None:
        return Plateau() if patience is None else Plateau(int(patience))
    if not 0 < float(share) < 100:
        raise GrowthError(f"a network grows at a share above 0% and below 100% of the training, not {text}")
    return float(share) / 100


def _what(text: str) -> Grow:
    if depth := _DEPTH.fullmatch(text):
        blocks, way, of = depth.groups()
        return to_depth(int(blocks), WAYS[_known("way to put blocks in", way or "zero", WAYS)], of)
    if width := _WIDTH.fullmatch(text):
        factor, method = width.groups()
        widening = None if method is None else WIDENINGS[_known("way to widen", method, WIDENINGS)]
        return by_width(float(factor), widening)
    raise GrowthError(
        f"cannot read what grows, {text!r}: 'depth 12', 'depth 12 copied', 'depth 12 copied of blocks', 'width x2' or "
        "'width x2 net2net'"
    )


def _known(what: str, name: str, known: Mapping[str, object]) -> str:
    if name not in known:
        raise GrowthError(f"unknown {what} {name!r}{suggest(name, known)}; known are {', '.join(known)}")
    return name
