"""What to change next, and how fast to learn then.

Mutation by weighted proposals (exact edits where none are added), selection by Pareto rank, widths for a given cost,
when a network grows while it trains, and how; learning rates after growth.
"""

from netmorph.policy.growth import Grow, Growth, Plateau, growing, rehearse
from netmorph.policy.growth_text import parse
from netmorph.policy.growth_ways import (
    WAYS,
    Way,
    by_gradient,
    by_width,
    drawn,
    interleaved,
    stacked,
    to_depth,
    together,
)
from netmorph.policy.learning_rate import POLICIES, divide, freeze, parameter_ratio, rise, unchanged, warm_up
from netmorph.policy.mutation import Mutation, mutate
from netmorph.policy.proposals import Proposal, Weighted, exact
from netmorph.policy.selection import select

__all__ = [
    "POLICIES",
    "WAYS",
    "Grow",
    "Growth",
    "Mutation",
    "Plateau",
    "Proposal",
    "Way",
    "Weighted",
    "by_gradient",
    "by_width",
    "divide",
    "drawn",
    "exact",
    "freeze",
    "growing",
    "interleaved",
    "mutate",
    "parameter_ratio",
    "parse",
    "rehearse",
    "rise",
    "select",
    "stacked",
    "to_depth",
    "together",
    "unchanged",
    "warm_up",
]
