"""Edits of which one is to be made, and what is known of each before it is."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from netmorph.edit import Edit
from netmorph.edit.copies import graph_of
from netmorph.edit.replace import make
from netmorph.errors import EditError
from netmorph.graph.journal import Description
from netmorph.graph.running import no_fused_attention, run, untouched
from netmorph.measure.cost import forward_flops
from netmorph.observe.samples import Samples, run_batch


@dataclass(frozen=True)
class Slope:
    """How the loss of a network lies.

    Attributes:
        loss: the mean over the batches.
        steepness: the squared norm of its gradient with respect to all weights.
        parameters: over which that is summed.
    """

    loss: float
    steepness: float
    parameters: int


@dataclass(frozen=True, eq=False)
class Menu:
    """Edits of which one is to be made.

    Attributes:
        samples: the network as it is, with batches and a loss, for guides that look at data.
        edits: what proposals drew. Each fits its network as far as a plan can tell; `netmorph.apply` says whether the
            forward follows it.
    """

    samples: Samples
    edits: Sequence[Edit]

    @cached_property
    def told(self) -> list[Description]:
        """What each edit is."""
        return [edit.describe() for edit in self.edits]

    @cached_property
    def children(self) -> list[nn.Module | None]:
        """Copies of the network, each with one of the edits, not trained; None where the forward does not follow."""
        return [self._child(edit) for edit in self.edits]

    def _child(self, edit: Edit) -> nn.Module | None:
        graph = self.samples.graph
        try:
            with torch.inference_mode(False), torch.no_grad():
                model = copy.deepcopy(graph.model)
                make(model, edit.plan(graph_of(graph, model)), [])
                run(model, graph.inputs, kept=graph.recording.kept)
        except Exception:  # a user's forward can raise anything at another width
            return None
        return model

    def size(self, model: nn.Module) -> tuple[int, int]:
        """The parameters of a network, and the FLOPs of its forward pass for a sample."""
        inputs = self.samples.graph.inputs
        return sum(weight.numel() for weight in model.parameters()), forward_flops(model, inputs)

    def slope(self, model: nn.Module) -> Slope:
        """How the loss of a network lies on the batches, in eval mode.

        Raises:
            EditError: the samples have no loss, or no batches.
        """
        if self.samples.loss is None:
            raise EditError("a guide that asks for gradients needs a loss: Samples(graph, batches, loss=...)")
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        totals, loss, count = [torch.zeros_like(weight) for weight in weights], 0.0, 0
        with untouched(model), no_fused_attention(), torch.inference_mode(False), torch.enable_grad():
            model.eval()
            for batch in self.samples.batches:
                value = run_batch(model, batch, self.samples.loss)
                gradients = torch.autograd.grad(value, weights, allow_unused=True)
                for total, gradient in zip(totals, gradients, strict=True):
                    total += 0 if gradient is None else gradient
                loss, count = loss + float(value.detach()), count + 1
        if not count:
            raise EditError("there are no batches to look at; pass batches (a list)")
        steepness = math.fsum(float((total / count).square().sum()) for total in totals)
        return Slope(loss / count, steepness, sum(weight.numel() for weight in weights))

    def kind_by_kind(self, turns: Iterable[int], values: Sequence[float]) -> list[int]:
        """The numbers of all edits: of each kind the highest values first, the kinds in the order of their turns.

        What edits of different kinds promise cannot always be compared; which kind is made is drawn then.

        Args:
            turns: the numbers of all edits, in random order.
            values: of each edit.
        """
        kinds = dict.fromkeys(self.told[number].kind for number in turns)
        best_first = sorted(range(len(values)), key=lambda number: -values[number])
        return [number for kind in kinds for number in best_first if self.told[number].kind == kind]
