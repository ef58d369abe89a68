"""What a network, or several together, answer to a part of the data, and how good that is; nothing is trained."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import vmap

from netmorph.data import Dataset, Part, batches
from netmorph.errors import NetmorphError
from netmorph.memory import out_of_memory
from netmorph.tasks import LOSS, Task, TaskError
from netmorph.train.inputs import autocast, prepare, reference
from netmorph.train.means import Means, Metrics
from netmorph.train.modes import mode
from netmorph.train.parallel import ONE_PROCESS, World
from netmorph.train.views import mean_answer, views_of

# Samples of a batch. On a CPU, larger ones leave its caches: 1024 took twice as long for a ResNet.
CPU_BATCH, BATCH = 128, 1024

Networks = nn.Module | Sequence[nn.Module]
Found = TypeVar("Found")


def evaluate(
    model: Networks,
    part: Part,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    bf16: bool = False,
    views: int = 1,
    world: World = ONE_PROCESS,
) -> Metrics:
    """Measure a model in eval mode, on the device where it is; its mode is as before afterwards.

    Args:
        model: takes prepared inputs, see `Dataset.preparation`, and gives outputs that fit the data set's task. Several
            models are measured as an ensemble.
        part: any samples of the data set, for instance `dataset.test`.
        dataset: says how inputs are prepared, and what is told of the outputs.
        batch_size: samples asked about at once; None chooses by the device. Where memory does not suffice, it is
            halved.
        views: answer by the mean of the outputs for so many views of an image (test-time augmentation), see
            `netmorph.train.views`.
        world: the processes that measure it together, each its share of the samples.

    Returns:
        The numbers of the data set's task.

    Raises:
        NetmorphError: the part is empty, or a target or the output does not fit.
    """

    def measured(size: int) -> Metrics:
        means = Means()
        asked.each_batch(
            size,
            lambda outputs, targets: means.add(
                len(targets), dataset.task.loss(outputs, targets), dataset.task.numbers(outputs, targets)
            ),
        )
        return means.told(dataset.task, world)

    asked = _Asked.of(model, part, dataset, bf16, views, world)
    with torch.no_grad():
        return as_memory_allows(measured, asked.size(batch_size))


def predict(
    model: Networks,
    part: Part,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    bf16: bool = False,
    views: int = 1,
) -> Tensor:
    """Answers [N, ...] on the CPU, in float32 or wider: probabilities of classes or tokens, values in their units.

    Arguments and errors are those of `evaluate`.
    """

    def answered(size: int) -> Tensor:
        answers: list[Tensor] = []
        asked.each_batch(size, lambda outputs, targets: answers.append(dataset.task.answers(outputs).cpu()))
        return torch.cat(answers)

    asked = _Asked.of(model, part, dataset, bf16, views, ONE_PROCESS)
    with torch.no_grad():
        return as_memory_allows(answered, asked.size(batch_size))


def answers(model: nn.Module, part: Part, dataset: Dataset, *, batch_size: int | None = None) -> dict[str, Tensor]:
    """How well a network answers each sample of a part, in eval mode: `[N]` on the CPU in float32, by name.

    "loss", and whatever else the data set's task tells of a batch, "accuracy" say: 1 or 0 for a sample.

    Arguments and errors are those of `evaluate`.
    """

    def measured(size: int) -> dict[str, Tensor]:
        found = defaultdict[str, list[Tensor]](list)

        def take(outputs: Tensor, targets: Tensor) -> None:
            each = outputs.unsqueeze(1), targets.unsqueeze(1)  # batches of one sample
            for name, values in {LOSS: vmap(task.loss)(*each), **vmap(task.numbers)(*each)}.items():
                found[name].append(values.float().cpu())

        asked.each_batch(size, take)
        return {name: torch.cat(values) for name, values in found.items()}

    asked, task = _Asked.of(model, part, dataset, False, 1, ONE_PROCESS), dataset.task
    with torch.no_grad():
        return as_memory_allows(measured, asked.size(batch_size))


def as_memory_allows(work: Callable[[int], Found], size: int) -> Found:
    """What `work` finds with batches of this size, or of half, a quarter, ... of it where memory does not suffice."""
    while True:
        try:
            return work(size)
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not out_of_memory(error):
                raise
        size //= 2  # here, where nothing holds what the attempt took any more


def evaluate_constant(output: Tensor, part: Part, task: Task) -> Metrics:
    """Measure one answer to all samples, whose inputs are not even read.

    Args:
        output: for any sample, without the dimension of the batch.
    """
    means = Means()
    for targets in part.targets.split(CPU_BATCH):
        outputs = output.expand(len(targets), *output.shape)
        means.add(len(targets), task.loss(outputs, targets), task.numbers(outputs, targets))
    return means.told(task)


def check_part(part: Part, name: str) -> None:
    """Refuse a part without samples.

    Raises:
        NetmorphError: there is no sample.
    """
    if len(part) == 0:
        raise NetmorphError(f"the {name} split is empty; take more samples, or another share for the split")


def checked_outputs(outputs: object, targets: Tensor, model: nn.Module, task: Task) -> Tensor:
    """A model's outputs, in float32 or wider.

    Raises:
        NetmorphError: they are no tensor, or do not fit the targets (of any samples).
    """
    if not isinstance(outputs, Tensor):
        raise NetmorphError(f"{type(model).__name__} gives {type(outputs).__name__}; one tensor was expected")
    outputs = widened(outputs)
    try:
        task.check(outputs, targets)
    except TaskError as error:
        raise TaskError(f"{type(model).__name__}: {error}") from error
    return outputs


def widened(outputs: Tensor) -> Tensor:
    """In float32 or wider, as tasks take outputs."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))


@dataclass(frozen=True)
class _Asked:
    """Which networks are asked about which samples, and how."""

    models: Sequence[nn.Module]
    part: Part
    dataset: Dataset
    bf16: bool
    views: int
    world: World

    @classmethod
    def of(cls, model: Networks, part: Part, dataset: Dataset, bf16: bool, views: int, world: World) -> "_Asked":
        check_part(part, "given")
        models = [model] if isinstance(model, nn.Module) else list(model)
        if not models:
            raise NetmorphError("there is no network to ask; give one, or several")
        return cls(models, part, dataset, bf16, views, world)

    def size(self, given: int | None) -> int:
        """Samples asked about at once: so many as were given, else by the device."""
        return given or (CPU_BATCH if reference(self.models[0]).device.type == "cpu" else BATCH)

    def each_batch(self, size: int, take: Callable[[Tensor, Tensor], None]) -> None:
        """Give outputs in float32 or wider and targets, on the models' device, batch by batch to `take`."""
        task, like = self.dataset.task, reference(self.models[0])
        asked = 0
        with ExitStack() as entered:
            for model in self.models:
                entered.enter_context(mode(model, training=False))
            for inputs, targets in batches(self.part, size * self.world.size, share=self.world.share):
                shown = views_of(prepare(inputs, self.dataset, like), self.views)
                with autocast(like.device, self.bf16):
                    answers = [[model(view) for view in shown] for model in self.models]
                if not asked:  # once: comparing values would hold an accelerator up
                    for model, (first, *_) in zip(self.models, answers, strict=True):
                        checked_outputs(first, self.part.targets, model, task)
                take(
                    task.combined([mean_answer(of_one) for of_one in answers]),
                    targets.to(like.device, non_blocking=True),
                )
                asked += len(targets)
        if not asked:
            raise NetmorphError(
                f"the share of process {self.world.rank} of {len(self.part)} samples is empty; start fewer processes"
            )
