"""Wording that error messages share."""

from collections.abc import Sequence


def listed(items: Sequence[str], separator: str = ", ", limit: int = 8) -> str:
    """The first items, and dots if there are more."""
    return separator.join(items[:limit]) + (" ..." if len(items) > limit else "")
