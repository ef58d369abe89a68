"""Layers in closed form: heads by ridge regression, hidden layers by projected targets, layers that nobody trains."""

from netmorph.solve.drawn import Mirrored, TwoSided, random_convolution, random_features
from netmorph.solve.heads import SolvedHead, solve_head
from netmorph.solve.inverse import INVERSES, Required, required_input
from netmorph.solve.linear import Head, as_linear, ridge, squared_error
from netmorph.solve.moments import Moments, SolveError, one_hot
from netmorph.solve.patches import patch_features
from netmorph.solve.penalties import PENALTIES, choose_penalty, generalized, held_out, leave_one_out, squared, wrong
from netmorph.solve.projection import project_forward
from netmorph.solve.recursive import Recursive
from netmorph.solve.squares import class_squares

__all__ = [
    "INVERSES",
    "PENALTIES",
    "Head",
    "Mirrored",
    "Moments",
    "Recursive",
    "Required",
    "SolveError",
    "SolvedHead",
    "TwoSided",
    "as_linear",
    "choose_penalty",
    "class_squares",
    "generalized",
    "held_out",
    "leave_one_out",
    "one_hot",
    "patch_features",
    "project_forward",
    "random_convolution",
    "random_features",
    "required_input",
    "ridge",
    "solve_head",
    "squared",
    "squared_error",
    "wrong",
]
