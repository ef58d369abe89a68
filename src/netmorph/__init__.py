"""netmorph: networks whose structure changes while they learn.

Gradients move the weights; edits move the network. Start with `trace`, make an edit with `widen`, `narrow`,
`residual`, `identity` or `shallow`, and `apply` it; `save` and `load` keep the edited network.
"""

from netmorph.edit import (
    Base,
    EditError,
    LoadError,
    Samples,
    apply,
    identity,
    load,
    narrow,
    narrow_all,
    net2net,
    places,
    r2r,
    random_pad,
    recalibrate,
    reconstruct,
    residual,
    save,
    shallow,
    unequal_split,
    widen,
    widen_all,
    zero,
)
from netmorph.errors import MissingExtra, NetmorphError
from netmorph.graph import Allow, Graph, Group, TraceError, UnknownOp, rule, trace
from netmorph.policy import narrow_to

__version__ = "0.1.0"

__all__ = [
    "Allow",
    "Base",
    "EditError",
    "Graph",
    "Group",
    "LoadError",
    "MissingExtra",
    "NetmorphError",
    "Samples",
    "TraceError",
    "UnknownOp",
    "apply",
    "identity",
    "load",
    "narrow",
    "narrow_all",
    "narrow_to",
    "net2net",
    "places",
    "r2r",
    "random_pad",
    "recalibrate",
    "reconstruct",
    "residual",
    "rule",
    "save",
    "shallow",
    "trace",
    "unequal_split",
    "widen",
    "widen_all",
    "zero",
]
