"""What is told of a part of the data: means over its samples, added up without waiting for an accelerator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.tasks import LOSS, Task, TaskError
from netmorph.train.parallel import ONE_PROCESS, World, total
from netmorph.wording import listed


@dataclass(frozen=True)
class Metrics:
    """The numbers that a task tells of `count` samples; `metrics["accuracy"]` is one of them."""

    numbers: Mapping[str, float]
    count: int

    def __getitem__(self, name: str) -> float:
        return self.numbers[name]

    @property
    def loss(self) -> float:
        """The mean loss, which every task tells."""
        return self.numbers[LOSS]


class Means:
    """Means over batches, weighted by their samples; the values stay where they were computed until they are told."""

    def __init__(self, values: Mapping[str, Tensor] | None = None, counts: Iterable[int] = ()) -> None:
        """None yet, or those of batches that `values` and `counts` told of."""
        self._values: dict[str, list[Tensor]] = {name: list(told.unbind()) for name, told in (values or {}).items()}
        self._counts: list[int] = list(counts)

    @property
    def values(self) -> dict[str, Tensor]:
        """Of each name, the numbers of all batches so far, [batches] (or [batches, N])."""
        return {name: _stacked(found) for name, found in self._values.items()}

    @property
    def counts(self) -> tuple[int, ...]:
        """The samples of each batch so far."""
        return tuple(self._counts)

    def add(self, count: int, loss: Tensor, numbers: Mapping[str, Tensor]) -> None:
        """The means over a batch of `count` samples: scalars, or one for each of several networks [N].

        Raises:
            TaskError: earlier batches told other numbers.
        """
        if self._counts and self._values.keys() != {LOSS, *numbers}:
            raise TaskError(
                f"the task tells {listed([LOSS, *numbers])} of a batch, and told {listed([*self._values])} of those "
                "before; tell the same of all"
            )
        for name, value in ((LOSS, loss), *numbers.items()):
            self._values.setdefault(name, []).append(value)
        self._counts.append(count)

    def losses(self) -> Tensor:
        """The mean loss so far, float64, on the CPU: a scalar, or one for each of several networks [N]."""
        counts = torch.tensor(self._counts, dtype=torch.float64)
        return torch.einsum("b,b...->...", counts, _stacked(self._values[LOSS]).cpu().double()) / counts.sum()

    def told(self, task: Task, world: World = ONE_PROCESS) -> Metrics:
        """What the task tells of all batches, those of all processes together."""
        (metrics,) = self.told_of_each(task, world)
        return metrics

    def told_of_each(self, task: Task, world: World = ONE_PROCESS) -> list[Metrics]:
        """The same of each of several networks."""
        # On the CPU, because not every accelerator has numbers this wide.
        counts = torch.tensor(self._counts, dtype=torch.float64)
        values = (_stacked(found).cpu().double().view(len(counts), -1) for found in self._values.values())
        sums = torch.stack([counts @ of_one_name for of_one_name in values])
        *flat, seen = total(torch.cat((sums.flatten(), counts.sum()[None])), world).tolist()
        each = sums.shape[1]  # the networks
        means = [
            {name: flat[row * each + number] / seen for row, name in enumerate(self._values)} for number in range(each)
        ]
        return [Metrics(dict(task.told(of_one)), int(seen)) for of_one in means]


def _stacked(numbers: list[Tensor]) -> Tensor:
    """On their device; on the CPU where they lie on several, as those of a checkpoint and of a task of its own may."""
    several = len({number.device for number in numbers}) > 1
    return torch.stack([number.cpu() for number in numbers] if several else numbers)
