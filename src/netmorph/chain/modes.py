"""When the layers of chains learn: never, while a chain is searched for, or once it is chosen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn

from netmorph.chain.assembling import Link
from netmorph.chain.detached import DetachedLayers
from netmorph.chain.lessons import LESSON, Steps, teaching
from netmorph.chain.trials import Study, no_study
from netmorph.data import Dataset
from netmorph.measure.cost import training_flops
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe

TUNED = Recipe(epochs=2, batch_size=64, learning_rate=3e-4, schedule="linear")
FITTED = Recipe(epochs=2, batch_size=64, learning_rate=1e-3, schedule="linear")  # few weights take larger steps

# Of the network of a chain, and where its layers are from: the modules that learn.
Pupils = Callable[[nn.Sequential, Sequence[Link]], list[nn.Module]]


def everything(network: nn.Sequential, links: Sequence[Link]) -> list[nn.Module]:
    """All weights."""
    return [network]


def stitches_and_head(network: nn.Sequential, links: Sequence[Link]) -> list[nn.Module]:
    """What was fitted to these data: stitches and the head. The layers of the bank stay as they are."""
    stitches = [network.get_submodule(f"{link.name}.0") for link in links if link.is_stitched]
    return [*stitches, network.get_submodule("head")]


@dataclass(frozen=True)
class Mode:
    """When layers learn.

    Attributes:
        lessons: of the search; the layers of good chains learn, see `netmorph.chain.lessons.teaching`.
        steps: of each lesson.
        pupils: what learns once the chain is chosen; None for nothing.
        recipe: of that training.
    """

    lessons: int = 0
    steps: Steps = LESSON
    pupils: Pupils | None = None
    recipe: Recipe = TUNED

    def study(self, problem: DetachedLayers) -> Study:
        """What a search does beside searching."""
        return teaching(problem, self.lessons, self.steps) if self.lessons else no_study

    def empty(self, longest: int) -> int:
        """How many empty places a problem needs for the layers that come."""
        return self.lessons * longest

    def finish(self, network: nn.Sequential, links: Sequence[Link], dataset: Dataset, seed: int = 0) -> int:
        """Train what learns of the network of a chosen chain, in place.

        Returns:
            FLOPs of its steps.

        Raises:
            NetmorphError: see `netmorph.train.train`.
        """
        if self.pupils is None:
            return 0
        flops = self.flops(network, links, dataset)
        with _alone(network, self.pupils(network, links)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "in eval mode while the rest trains")  # as is meant
            train(network, dataset, self.recipe, seed=seed)
        return flops

    def flops(self, network: nn.Sequential, links: Sequence[Link], dataset: Dataset) -> int:
        """Of the steps that `finish` would make."""
        if self.pupils is None:
            return 0
        batch = examples(dataset, network, 2)
        with _alone(network, self.pupils(network, links)):
            step = training_flops(network, batch)
        return self.recipe.epochs * len(dataset.train) * step // len(batch)


@contextmanager
def _alone(network: nn.Sequential, pupils: Sequence[nn.Module]) -> Iterator[None]:
    """These modules alone are in train mode and require gradients; afterwards all do, in eval mode."""
    network.requires_grad_(False).eval()
    for module in pupils:
        module.requires_grad_(True).train()
    network.training = True
    try:
        yield
    finally:
        network.requires_grad_(True).eval()


MODES = {
    "never": Mode(),
    "after": Mode(pupils=everything),
    "after-stitches": Mode(pupils=stitches_and_head, recipe=FITTED),
    "searching": Mode(lessons=3),
}
