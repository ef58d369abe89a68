"""What to change next, and how fast to learn then.

Mutation by weighted proposals (exact edits where none are added), selection by Pareto rank, widths for a given cost,
learning rates after growth.
"""

from netmorph.policy.learning_rate import POLICIES, divide, freeze, parameter_ratio, unchanged, warm_up
from netmorph.policy.mutation import Mutation, mutate
from netmorph.policy.proposals import Proposal, Weighted, exact
from netmorph.policy.selection import select

__all__ = [
    "POLICIES",
    "Mutation",
    "Proposal",
    "Weighted",
    "divide",
    "exact",
    "freeze",
    "mutate",
    "parameter_ratio",
    "select",
    "unchanged",
    "warm_up",
]
