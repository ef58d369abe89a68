"""Folders that commands leave, of whatever kind: what `show`, `report`, `watch` and `--resume` do with each."""

from netmorph.kinds.table import VIEWS, View, check_kind, figures, shown, told, write

__all__ = ["VIEWS", "View", "check_kind", "figures", "shown", "told", "write"]
