"""Records -> tables, figures and one self-contained page; logs while a training runs."""

from netmorph.report.page import write, write_figures
from netmorph.report.summary import table, view

__all__ = ["table", "view", "write", "write_figures"]
