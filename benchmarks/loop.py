"""The training loop beside a bare loop over one tensor: what history, seeds and checks cost for each step."""

import math
from collections.abc import Callable
from time import perf_counter

import torch
from torch import nn
from torch.nn import functional

from netmorph.data import Dataset, Pixels, Split, images_in_classes, load, normalize
from netmorph.train.loop import train
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe

EPOCHS = 4
# Whatever else the machine does can only make a run slower: the best of some runs is the fairest.
RUNS = 5


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, best of {RUNS} alternating runs")
    print(f"{'':<28}{'bare':>12}{'netmorph':>12}{'more':>12}{'ratio':>8}")
    cases = [
        ("MLP 64-64-10 on digits", load("digits", seed=0), mlp),
        ("LeNet-5 on random 28x28", noise(), lenet5),
    ]
    for name, dataset, build in cases:
        recipe = Recipe(epochs=EPOCHS, batch_size=64, schedule="constant")
        steps = EPOCHS * math.ceil(len(dataset.train) / recipe.batch_size)
        bare, ours = [], []
        for _ in range(RUNS):
            bare.append(seconds(bare_loop, build(), dataset, recipe) / steps * 1000)
            ours.append(seconds(train, build(), dataset, recipe) / steps * 1000)
        low, high = min(bare), min(ours)
        print(f"{name:<28}{low:>9.3f} ms{high:>9.3f} ms{high - low:>9.3f} ms{high / low:>8.2f}")


def seconds(loop: Callable[[nn.Module, Dataset, Recipe], object], *arguments: object) -> float:
    started = perf_counter()
    loop(*arguments)
    return perf_counter() - started


def bare_loop(model: nn.Module, dataset: Dataset, recipe: Recipe) -> None:
    """Slices of one tensor of ready inputs, and one loss over the validation split an epoch."""
    images, validation = (
        normalize(split.inputs, dataset.preparation.mean, dataset.preparation.std)
        for split in (dataset.train, dataset.validation)
    )
    labels = dataset.train.targets
    optimizer = build_optimizer(model, recipe)
    for _ in range(recipe.epochs):
        for chosen in torch.randperm(len(labels)).split(recipe.batch_size):
            loss = functional.cross_entropy(model(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            functional.cross_entropy(model(validation), dataset.validation.targets).item()


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def noise() -> Dataset:
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(256, (count, 1, 28, 28), generator=generator).to(torch.uint8)
        return Split(images, torch.randint(10, (count,), generator=generator))

    classes = tuple("0123456789")
    return images_in_classes("noise", (split(4096), split(512), split(512)), classes, Pixels((0.5,), (0.29,)), "noise")
