"""Populations of networks that evolve."""

from netmorph.search.evolution import Progress, evolve

__all__ = ["Progress", "evolve"]
