"""The table of op rules: how each ATen operator couples axes, and which changes of width pass.

Importing this package fills `netmorph.graph.rules.RULES`. Whole families share one function; `tests/contract` tries
every family on a model that uses it. See `rules.py` for what a rule may state.
"""

from netmorph.graph.ops import (
    cuts,
    distances,
    elementwise,
    gradients,
    indices,
    norms,
    order,
    products,
    quantized,
    recurrent,
    reductions,
    shapes,
    space,
    spectra,
    sums,
)

__all__ = [
    "cuts",
    "distances",
    "elementwise",
    "gradients",
    "indices",
    "norms",
    "order",
    "products",
    "quantized",
    "recurrent",
    "reductions",
    "shapes",
    "space",
    "spectra",
    "sums",
]
