"""What to change next, and how fast to learn then.

Mutation by exact edits, selection by Pareto rank, widths for a given cost, learning rates after growth.
"""

from netmorph.policy.learning_rate import POLICIES, Pace, divide, keep, parameter_ratio, warm_up
from netmorph.policy.mutation import Mutation, mutate
from netmorph.policy.selection import select

__all__ = ["POLICIES", "Mutation", "Pace", "divide", "keep", "mutate", "parameter_ratio", "select", "warm_up"]
