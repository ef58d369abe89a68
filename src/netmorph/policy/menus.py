"""Edits of which one is to be made, and what is known of each before it is."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from netmorph.edit import Edit
from netmorph.edit.copies import graph_of
from netmorph.edit.replace import make
from netmorph.errors import EditError
from netmorph.graph.axis import Atom
from netmorph.graph.journal import Description
from netmorph.graph.running import no_fused_attention, run, untouched
from netmorph.measure.cost import forward_flops, samples_of
from netmorph.measure.prediction import predict_flops, predict_parameters
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
    def sizes(self) -> list[tuple[int, int] | None]:
        """Parameters, and FLOPs of the forward pass for a sample, of the network with each edit.

        What changes widths alone is predicted; other edits are made on a copy. None where its forward does not follow.
        """
        return [self._predicted(edit) or self._counted(number) for number, edit in enumerate(self.edits)]

    def child(self, number: int) -> nn.Module | None:
        """A copy of the network with one of the edits, not trained; None where its forward does not follow."""
        graph = self.samples.graph
        try:
            with torch.inference_mode(False), torch.no_grad():
                model = copy.deepcopy(graph.model)
                make(model, self.edits[number].plan(graph_of(graph, model)), [])
                run(model, graph.inputs, kept=graph.recording.kept)
        except Exception:  # a user's forward can raise anything at another width
            return None
        return model

    def _predicted(self, edit: Edit) -> tuple[int, int] | None:
        graph, sizes = self.samples.graph, dict[Atom, int]()
        with contextlib.suppress(EditError), torch.no_grad():
            sizes = edit.plan(graph).sizes
        if not sizes:
            return None
        parameters, flops = (predict(graph).at(sizes) for predict in (predict_parameters, predict_flops))
        return parameters, flops // samples_of(graph.inputs)

    def _counted(self, number: int) -> tuple[int, int] | None:
        model, inputs = self.child(number), self.samples.graph.inputs
        if model is None:
            return None
        parameters = sum(weight.numel() for weight in model.parameters())
        return parameters, forward_flops(model, inputs) // samples_of(inputs)

    def slope(self, model: nn.Module) -> Slope:
        """How the loss of a network lies on the batches, in eval mode.

        Raises:
            EditError: the samples have no loss, or no batches.
        """
        loss, gradients = self._gradients(model)
        steepness = math.fsum(float(gradient.square().sum()) for gradient in gradients.values())
        return Slope(loss, steepness, sum(gradient.numel() for gradient in gradients.values()))

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """By name, of the weights that are trained: the gradient of the mean loss of the network as it is.

        Raises:
            EditError: see `slope`.
        """
        return self._gradients(self.samples.graph.model)[1]

    def _gradients(self, model: nn.Module) -> tuple[float, dict[str, Tensor]]:
        if self.samples.loss is None:
            raise EditError("a guide that asks for gradients needs a loss: Samples(graph, batches, loss=...)")
        weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        totals, loss, count = [torch.zeros_like(weight) for weight in weights.values()], 0.0, 0
        with untouched(model), no_fused_attention(), torch.inference_mode(False), torch.enable_grad():
            model.eval()
            for batch in self.samples.batches:
                value = run_batch(model, batch, self.samples.loss)
                found = torch.autograd.grad(value, [*weights.values()], allow_unused=True)
                for total, gradient in zip(totals, found, strict=True):
                    total += 0 if gradient is None else gradient
                loss, count = loss + float(value.detach()), count + 1
        if not count:
            raise EditError("there are no batches to look at; pass batches (a list)")
        return loss / count, {name: total / count for name, total in zip(weights, totals, strict=True)}

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
