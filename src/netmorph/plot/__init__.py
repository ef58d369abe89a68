"""Curves of runs as pictures for papers: compared by tag, repetitions as a mean and a band; and as tables."""

from netmorph.plot.charts import Chart, Panel, chart, described
from netmorph.plot.grouping import Grouping, by_seed, by_settings
from netmorph.plot.lines import BANDS, Band, Line
from netmorph.plot.looks import COLUMN, PAGE, SIZES, Size
from netmorph.plot.reading import read
from netmorph.plot.tables import save_table
from netmorph.plot.values import AXES, Curve, Mark, PlotError, Run, tags_of

__all__ = [
    "AXES",
    "BANDS",
    "COLUMN",
    "PAGE",
    "SIZES",
    "Band",
    "Chart",
    "Curve",
    "Grouping",
    "Line",
    "Mark",
    "Panel",
    "PlotError",
    "Run",
    "Size",
    "by_seed",
    "by_settings",
    "chart",
    "described",
    "read",
    "save_table",
    "tags_of",
]
