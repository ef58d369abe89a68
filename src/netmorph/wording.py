"""Wording that error messages share."""

from collections.abc import Sequence


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
