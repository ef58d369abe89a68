"""What to change next, and how fast to learn then.

Mutation by weighted proposals (exact edits where none are added), selection by Pareto rank, widths for a given cost,
when a network grows while it trains, and how; learning rates after growth. Policies that decide which network is tried
next, on networks that are trained and on tables of trained ones alike.
"""

from netmorph.policy.embedding import Cloud, Embedded, Learnt, uphill
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
from netmorph.policy.guides import Guide
from netmorph.policy.learning_rate import POLICIES, divide, freeze, parameter_ratio, rise, unchanged, warm_up
from netmorph.policy.menus import Menu
from netmorph.policy.mutation import Mutation, mutate
from netmorph.policy.network_space import Network, Networks
from netmorph.policy.proposals import Proposal, Weighted, exact, shrinking
from netmorph.policy.searches import Ageing, Bandit, Best, Mutate, Selected, at_random, front, local_search
from netmorph.policy.selection import by_cover, by_rank, by_score, by_volume, select
from netmorph.policy.spaces import Judge, Judged, Move, Policy, Space, explore
from netmorph.policy.surrogate import Surrogate, best_gain, front_gain, smoothed
from netmorph.policy.table import Table, cells, macro
from netmorph.policy.wiring import Wiring, of_blocks, of_cells, of_network

__all__ = [
    "POLICIES",
    "WAYS",
    "Ageing",
    "Bandit",
    "Best",
    "Cloud",
    "Embedded",
    "Grow",
    "Growth",
    "Guide",
    "Judge",
    "Judged",
    "Learnt",
    "Menu",
    "Move",
    "Mutate",
    "Mutation",
    "Network",
    "Networks",
    "Plateau",
    "Policy",
    "Proposal",
    "Selected",
    "Space",
    "Surrogate",
    "Table",
    "Way",
    "Weighted",
    "Wiring",
    "at_random",
    "best_gain",
    "by_cover",
    "by_gradient",
    "by_rank",
    "by_score",
    "by_volume",
    "by_width",
    "cells",
    "divide",
    "drawn",
    "exact",
    "explore",
    "freeze",
    "front",
    "front_gain",
    "growing",
    "interleaved",
    "local_search",
    "macro",
    "mutate",
    "of_blocks",
    "of_cells",
    "of_network",
    "parameter_ratio",
    "parse",
    "rehearse",
    "rise",
    "select",
    "shrinking",
    "smoothed",
    "stacked",
    "to_depth",
    "together",
    "unchanged",
    "uphill",
    "warm_up",
]
