"""What to change next, and how fast to learn then.

Mutation by weighted proposals (exact edits where none are added), selection by Pareto rank, widths for a given cost,
learning rates after growth.
"""

from netmorph.policy.learning_rate import POLICIES, divide, parameter_ratio, rise, unchanged, warm_up
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
    "mutate",
    "parameter_ratio",
    "rise",
    "select",
    "unchanged",
    "warm_up",
]
