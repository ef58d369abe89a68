"""Wording that error messages, pages and pictures share."""

from collections.abc import Sequence

_SPACE = "\u00a0"  # a number and its unit stay on one line
_UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def listed(items: Sequence[str], separator: str = ", ", limit: int = 8) -> str:
    """The first items, and dots if there are more."""
    return separator.join(items[:limit]) + (" ..." if len(items) > limit else "")


def ranges(numbers: Sequence[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"."""
    told: list[list[int]] = []
    for number in sorted(numbers):
        if told and number == told[-1][-1] + 1:
            told[-1][1:] = [number]
        else:
            told.append([number])
    return ", ".join("-".join(map(str, ends)) for ends in told)


def compact(count: float | None) -> str:
    """1234567 -> "1.23 M"; a dash for what is unknown."""
    if count is None:
        return "–"
    for size, unit in _UNITS:
        if abs(count) >= 0.9995 * size:  # what rounds to 1000 of the smaller unit is 1 of this one
            return f"{count / size:.3g}{_SPACE}{unit}"
    return f"{count:.3g}"


def flops_text(count: float | None) -> str:
    """1234567 -> "1.23 MFLOPs"; a dash for what is unknown."""
    number = compact(count)
    if count is None:
        return number
    return f"{number}FLOPs" if number[-1].isalpha() else f"{number}{_SPACE}FLOPs"
