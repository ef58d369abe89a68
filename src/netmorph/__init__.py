"""netmorph: networks whose structure changes while they learn.

Gradients move the weights; edits move the network. Start with `trace`, make an edit with `widen`, `narrow`,
`residual`, `identity` or `shallow`, and `apply` it; `save` and `load` keep the edited network. The verbs of surgery are
here, the rest is one level below: `netmorph.widenings.r2r`, `netmorph.train.Recipe`, `netmorph.data.load`.

Nothing is imported before it is asked for, so that a program that only parses its arguments does not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` finds, for type checkers and editors
    from netmorph import (
        bank,
        chain,
        data,
        draw,
        draws,
        edit,
        ensemble,
        export,
        graph,
        integrations,
        look,
        measure,
        neighbours,
        plot,
        policy,
        report,
        reproduce,
        run,
        scores,
        search,
        sharing,
        shrink,
        solve,
        tasks,
        testing,
        train,
        watch,
        widenings,
        workers,
        zoo,
    )
    from netmorph.edit.apply import apply
    from netmorph.edit.depth import identity, residual
    from netmorph.edit.journal import LoadError, save
    from netmorph.edit.rank import factorize, merge
    from netmorph.edit.reconstruct import recalibrate, reconstruct
    from netmorph.edit.refit import kept_outputs, refit
    from netmorph.edit.shallow import shallow
    from netmorph.edit.undo import undo
    from netmorph.edit.width import narrow, widen
    from netmorph.errors import EditError, MissingExtra, NetmorphError
    from netmorph.graph import Allow, Graph, Group, TraceError, UnknownGroup, UnknownOp, rule, trace
    from netmorph.observe.samples import Samples
    from netmorph.policy.narrowing import narrow_to
    from netmorph.run.opening import load
    from netmorph.widenings import WidthError

__version__ = "0.2.0"

__all__ = [
    "Allow",
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
    "bank",
    "chain",
    "data",
    "draw",
    "draws",
    "edit",
    "ensemble",
    "export",
    "factorize",
    "graph",
    "identity",
    "integrations",
    "kept_outputs",
    "load",
    "look",
    "measure",
    "merge",
    "narrow",
    "narrow_to",
    "neighbours",
    "plot",
    "policy",
    "recalibrate",
    "reconstruct",
    "refit",
    "report",
    "reproduce",
    "residual",
    "rule",
    "run",
    "save",
    "scores",
    "search",
    "shallow",
    "sharing",
    "shrink",
    "solve",
    "tasks",
    "testing",
    "trace",
    "train",
    "undo",
    "watch",
    "widen",
    "widenings",
    "workers",
    "zoo",
]

# The modules of the names above that are not modules themselves.
_HOMES = {
    "netmorph.edit.apply": ("apply",),
    "netmorph.edit.depth": ("identity", "residual"),
    "netmorph.edit.journal": ("LoadError", "save"),
    "netmorph.edit.rank": ("factorize", "merge"),
    "netmorph.edit.reconstruct": ("recalibrate", "reconstruct"),
    "netmorph.edit.refit": ("kept_outputs", "refit"),
    "netmorph.edit.shallow": ("shallow",),
    "netmorph.edit.undo": ("undo",),
    "netmorph.edit.width": ("narrow", "widen"),
    "netmorph.errors": ("EditError", "MissingExtra", "NetmorphError"),
    "netmorph.graph": ("Allow", "Graph", "Group", "TraceError", "UnknownGroup", "UnknownOp", "rule", "trace"),
    "netmorph.observe.samples": ("Samples",),
    "netmorph.policy.narrowing": ("narrow_to",),
    "netmorph.run.opening": ("load",),
    "netmorph.widenings": ("WidthError",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # else no misspelt name would be an error to a type checker

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name not in _HOME:
            return import_module(f"{__name__}.{name}")
        found = globals()[name] = getattr(import_module(_HOME[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
