"""Populations of networks that evolve, and what they are compared with."""

from netmorph.search.arms import ARMS, Arm, NewArm
from netmorph.search.baselines import LocalSearch, designed
from netmorph.search.births import Birth
from netmorph.search.choosing import Choosing, Selection
from netmorph.search.descent import Evolution
from netmorph.search.evolution import evolve
from netmorph.search.executors import Place, inline, on_ray, processes
from netmorph.search.jobs import Training
from netmorph.search.planning import Planner, Round
from netmorph.search.progress import Progress
from netmorph.search.weights import Fresh, Inherited

__all__ = [
    "ARMS",
    "Arm",
    "Birth",
    "Choosing",
    "Evolution",
    "Fresh",
    "Inherited",
    "LocalSearch",
    "NewArm",
    "Place",
    "Planner",
    "Progress",
    "Round",
    "Selection",
    "Training",
    "designed",
    "evolve",
    "inline",
    "on_ray",
    "processes",
]
