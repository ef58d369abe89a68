"""Tables of networks that nobody trained: accuracy adds up over the places."""

from itertools import product
from types import FunctionType

import numpy as np

from netmorph.policy.table import Table, edits_of_blocks

CODE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])


def additive(places: int = 3, noise: float = 0.0) -> Table:
    """Each place has an optimum of its own; a choice costs its number at each place."""
    generator = np.random.default_rng(7)
    worth = generator.uniform(0, 10, (places, 3))
    rows = [*product(range(3), repeat=places)]
    means = {row: 50 + sum(worth[place, choice] for place, choice in enumerate(row)) for row in rows}
    trainings = {row: tuple(mean + noise * generator.standard_normal(3)) for row, mean in means.items()}
    return Table(trainings, {row: 1.0 + sum(row) for row in rows}, edits_of_blocks, CODE, floor=50.0)


def named(policy: object) -> str:
    """The name of a policy for a test's id: the same in every process, as a `repr` with an address is not."""
    return policy.__name__ if isinstance(policy, FunctionType) else type(policy).__name__
