"""A head over what several networks see: they lend their features, and one layer on top is solved or trained."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from netmorph.data import Dataset, Part, batches
from netmorph.ensemble.answering import outputs_of
from netmorph.ensemble.selection import EnsembleError
from netmorph.graph import Graph
from netmorph.measure.calibration import temperature
from netmorph.solve import Moments, as_linear, choose_penalty, one_hot, ridge
from netmorph.solve.heads import last_linear
from netmorph.tasks import Task
from netmorph.train.evaluation import CPU_BATCH
from netmorph.train.inputs import prepare, reference
from netmorph.train.modes import mode

Join = Callable[[Sequence[Tensor]], Tensor]  # features [B, ..., d] of each member -> those that the head reads


def concatenated(features: Sequence[Tensor]) -> Tensor:
    """One behind the other, `[B, ..., sum of d]`: for networks that have nothing to do with each other."""
    return torch.cat(list(features), -1)


def summed(features: Sequence[Tensor]) -> Tensor:
    """Their sum `[B, ..., d]`: for relatives, whose features mean the same channel by channel."""
    if len({each.shape for each in features}) > 1:
        raise EnsembleError(
            f"only features of equal shapes are summed; got {[tuple(each.shape) for each in features]}: use "
            "concatenated"
        )
    return torch.stack(list(features)).sum(0)


class Combiner(nn.Module):
    """Members without their last layers, and a layer that reads the features of all.

    It is a network like any other: `netmorph.train.train` tunes all of it. To train the head alone, freeze the members
    first: `combiner.members.requires_grad_(False).eval()`.

    Attributes:
        members: what each gives is features.
        head: reads them, joined.
    """

    def __init__(self, members: Sequence[nn.Module], head: nn.Linear, join: Join = concatenated) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.head = head
        self._join = join

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs as the members' own."""
        return self.head(self.features(inputs))  # type: ignore[no-any-return]

    def features(self, inputs: Tensor) -> Tensor:
        """What the head reads, `[B, ..., d]`."""
        return self._join([member(inputs) for member in self.members])


def headless(graph: Graph) -> nn.Module:
    """A copy of a network that gives what its last linear layer reads.

    Raises:
        SolveError: something else than an `nn.Linear` gives the network's output.
    """
    path = last_linear(graph)
    if not path:
        return nn.Identity()
    body = copy.deepcopy(graph.model)
    body.set_submodule(path, nn.Identity())
    return body


def combine(
    graphs: Sequence[Graph],
    dataset: Dataset,
    *,
    part: Part | None = None,
    join: Join = concatenated,
    penalty: float | None = None,
) -> Combiner:
    """One network of several: their features, and a head that is solved by ridge regression; the networks stay.

    Classes and tokens are fitted as 0 and 1; how steep the answers are is then fitted on the validation part by a
    temperature, so that they are probabilities. `d^3 / 3` multiply-adds for `d` features, and with no `penalty` some
    ten times that.

    Args:
        graphs: of trained networks whose output an `nn.Linear` gives.
        part: the samples to solve it from; the training part by default. Networks that know their training samples by
            heart have telling features there and nowhere else: samples that they did not learn from serve better.
        join: the head reads what it makes of the features: `concatenated`, `summed`, or a function of one's own.
        penalty: see `netmorph.solve.ridge`; None chooses it by generalized cross-validation.

    Raises:
        EnsembleError: no networks, or features that cannot be joined.
        SolveError: see `headless`, or `netmorph.solve.ridge`.
    """
    if not graphs:
        raise EnsembleError("there is no network whose features could be combined; give several")
    bodies = [headless(graph) for graph in graphs]
    like = reference(graphs[0].model)
    combiner = Combiner(bodies, nn.Linear(1, 1), join)
    with mode(combiner, training=False), torch.no_grad():
        moments = Moments.of(_pairs(combiner, dataset.train if part is None else part, dataset, like))
    head = ridge(moments, choose_penalty(moments) if penalty is None else penalty)
    combiner.head = as_linear(head, like.dtype).to(like.device)
    if not dataset.validation.targets.is_floating_point():
        outputs = outputs_of(combiner, dataset.validation, dataset)
        warmth = temperature(outputs.flatten(0, -2), dataset.validation.targets.flatten())
        with torch.no_grad():
            for parameter in combiner.head.parameters():
                parameter.div_(warmth)
    return combiner


def _pairs(combiner: Combiner, part: Part, dataset: Dataset, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features [positions, d] and what is to be answered [positions, k], batch by batch."""
    for inputs, targets in batches(part, CPU_BATCH):
        features = combiner.features(prepare(inputs, dataset, like)).flatten(0, -2)
        yield features, wanted(targets, dataset.task, dataset.outputs).to(features.device)


def wanted(targets: Tensor, task: Task, outputs: int) -> Tensor:
    """What least squares should answer: 0 and 1 for classes and tokens, values on the scale of the outputs."""
    if not targets.is_floating_point():
        return one_hot(targets.flatten(), outputs)
    zero, one = (task.answers(torch.full((1, outputs), value, dtype=torch.float64)) for value in (0.0, 1.0))
    return ((targets - zero) / (one - zero)).flatten(0, -2)
