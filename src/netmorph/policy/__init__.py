"""What to change next, and how fast to learn then.

Mutation by exact edits, selection by Pareto rank, widths for a given cost, learning rates after growth.
"""

from netmorph.policy.learning_rate import POLICIES, Pace, divide, parameter_ratio, unchanged, warm_up
from netmorph.policy.mutation import Mutation, mutate
from netmorph.policy.selection import select

__all__ = ["POLICIES", "Mutation", "Pace", "divide", "mutate", "parameter_ratio", "select", "unchanged", "warm_up"]
