"""netmorph: networks whose structure changes while they learn.

Gradients move the weights; edits move the network. Start with `trace`, make an edit with `widen`, `narrow`,
`residual`, `identity` or `shallow`, and `apply` it; `save` and `load` keep the edited network.
"""

from netmorph.edit import Base, copy_block, forget, gradmax, linearize, narrow_all, places, stack, widen_all
from netmorph.edit.apply import apply
from netmorph.edit.depth import identity, residual
from netmorph.edit.journal import LoadError, load, save
from netmorph.edit.rank import factorize, merge
from netmorph.edit.reconstruct import recalibrate, reconstruct
from netmorph.edit.shallow import shallow
from netmorph.edit.undo import undo
from netmorph.edit.width import narrow, widen
from netmorph.errors import EditError, MissingExtra, NetmorphError
from netmorph.graph import Allow, Graph, Group, TraceError, UnknownGroup, UnknownOp, rule, trace
from netmorph.observe.samples import Samples
from netmorph.policy.narrowing import narrow_to
from netmorph.widenings import WidthError, net2net, r2r, random_pad, unequal_split, zero

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
    "UnknownGroup",
    "UnknownOp",
    "WidthError",
    "apply",
    "copy_block",
    "factorize",
    "forget",
    "gradmax",
    "identity",
    "linearize",
    "load",
    "merge",
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
    "stack",
    "trace",
    "undo",
    "unequal_split",
    "widen",
    "widen_all",
    "zero",
]
