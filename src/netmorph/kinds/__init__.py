"""Folders that commands leave, of whatever kind: what `show`, `report` and `watch` do with each."""

from netmorph.kinds.table import VIEWS, View, figures, shown, told, write

__all__ = ["VIEWS", "View", "figures", "shown", "told", "write"]
