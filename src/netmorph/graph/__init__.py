"""A model and example inputs -> channel groups: the recorder, the table of op rules, the groups."""

from netmorph.graph.axis import Allow, Atom, Axis, size
from netmorph.graph.contraction import Contraction
from netmorph.graph.couple import UnknownOp
from netmorph.graph.group import Group, Site
from netmorph.graph.ops.passing import along
from netmorph.graph.rules import RULES, Coupling, rule
from netmorph.graph.running import TraceError
from netmorph.graph.tracing import Graph, UnknownGroup, trace
from netmorph.graph.uses import Attribute, Fill, Role, Use
from netmorph.graph.value import Value

__all__ = [
    "RULES",
    "Allow",
    "Atom",
    "Attribute",
    "Axis",
    "Contraction",
    "Coupling",
    "Fill",
    "Graph",
    "Group",
    "Role",
    "Site",
    "TraceError",
    "UnknownGroup",
    "UnknownOp",
    "Use",
    "Value",
    "along",
    "rule",
    "size",
    "trace",
]
