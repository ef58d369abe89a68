"""Shrink and perturb: what is old moves back towards a fresh start, so that it learns on as new weights do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.draws import fresh_like
from netmorph.edit.plan import Described, Plan
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.journal import Description
from netmorph.seeds import generator_of


@dataclass(frozen=True, repr=False)
class PerturbEdit(Described):
    """Parameters become `shrink * w + perturb * noise`.

    Attributes:
        names: of the parameters.
        shrink, perturb: the factors.
        seed: draws the noise.
    """

    names: tuple[str, ...]
    shrink: float
    perturb: float
    seed: int = 0

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        generator = generator_of(self.seed)
        weights = {name: graph.model.get_parameter(name).detach() for name in self.names}
        return Plan(
            exact=False,
            tensors={
                name: self.shrink * weight + self.perturb * fresh_like(weight, 0, len(weight), generator)
                for name, weight in weights.items()
            },
            moments=dict.fromkeys(weights, _without_direction),
        )

    def describe(self) -> Description:
        """See `Edit`."""
        first, *others = self.names
        layer = f"{first} and {len(others)} more" if others else first
        return Description("perturb", "shrink_and_perturb", layer, len(self.names), len(self.names))


def shrink_and_perturb(
    graph: Graph, shrink: float = 0.4, perturb: float = 0.1, names: Iterable[str] | None = None, seed: int = 0
) -> PerturbEdit:
    """An edit that shrinks weights and adds noise (Ash & Adams, arXiv 1910.08475): `w <- shrink * w + perturb * noise`.

    Networks that go on from learnt weights can end worse than fresh ones; shrunk ones keep most of what they have
    learnt and regain the gradients of a fresh start. The paper's noise are the weights of a newly built network. Here
    each tensor's noise has its own spread (uniform, and of biases and gains around their mean), because an edited
    network has no constructor. Not exact: the journal tells the error.

    Optimizers go on with their second moments; first ones start at zero, as they were collected elsewhere.

    Args:
        shrink: from 0 to 1.
        perturb: 0 or more.
        names: of the parameters; all that are trained, if None, as in the paper.
        seed: draws the noise.

    Raises:
        EditError: a factor or a name makes no sense.
    """
    if not 0 <= shrink <= 1 or not 0 <= perturb < float("inf"):
        raise EditError(f"shrink is a number from 0 to 1, perturb one of 0 or more; got {shrink!r} and {perturb!r}")
    known = {name: p for name, p in graph.model.named_parameters() if p.is_floating_point() and p.dim() > 0}
    chosen = [name for name, p in known.items() if p.requires_grad] if names is None else list(names)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        what = f"{unknown[0]!r} is none" if unknown else "there are none"
        raise EditError(f"shrink_and_perturb takes names of the model's parameters, and {what}; see named_parameters()")
    return PerturbEdit(tuple(chosen), shrink, perturb, seed)


def _without_direction(moment: Tensor, power: int) -> Tensor:
    return torch.zeros_like(moment) if power == 1 else moment
