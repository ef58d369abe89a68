"""What to change next: mutation by exact edits, and selection by Pareto rank."""

from netmorph.policy.mutation import Mutation, mutate
from netmorph.policy.selection import select

__all__ = ["Mutation", "mutate", "select"]
