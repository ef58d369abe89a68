"""What to change next: mutation by exact edits, selection by Pareto rank, widths for a given cost."""

from netmorph.policy.mutation import Mutation, mutate
from netmorph.policy.narrowing import narrow_to
from netmorph.policy.selection import select

__all__ = ["Mutation", "mutate", "narrow_to", "select"]
