"""Records -> tables, figures and one self-contained page."""

from netmorph.report.page import write
from netmorph.report.summary import table

__all__ = ["table", "write"]
