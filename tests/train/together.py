"""Trainings by the processes that `torchrun` starts; `test_parallel` has it run this file.

`torchrun --nproc-per-node 2 -m tests.train.together FOLDER CASE...`: each process leaves its weights and history in
FOLDER.
"""

import os
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import distributed, nn

from netmorph.policy import warm_up
from netmorph.train import checkpoint
from netmorph.train.history import Epoch
from netmorph.train.loop import train
from netmorph.train.parallel import World, joined
from netmorph.train.recipe import Recipe
from tests.train.growing import by_epoch
from tests.train.small import dataset, deep, network

# What a process draws on its own (crops, dropout) would make two of them differ from one.
SGD = {"epochs": 2, "batch_size": 16, "optimizer": "sgd", "learning_rate": 0.05}
RECIPES = {
    "plain": Recipe(**SGD),
    "weighted": Recipe(**SGD, class_weights=(0.5, 1.0, 4.0), label_smoothing=0.1),
    "parts": Recipe(**SGD, accumulate=3, clip_norm=0.5),
    "average": Recipe(**SGD, ema=0.9),
}
LONG = Recipe(epochs=6, batch_size=16, learning_rate=0.02, pad=1, flip=True, ema=0.9)
KILLED_AFTER = (1, 4)


def plain_network(seed: int = 0) -> nn.Module:
    """Without batch normalization, which sees a part of each batch, and in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
        return nn.Sequential(*layers).double()


def alike(folder: Path, world: World) -> None:
    for name, recipe in RECIPES.items():
        run(plain_network(seed=world.rank), recipe, folder, name, world)


def normalized(folder: Path, world: World) -> None:
    run(network(seed=world.rank), LONG, folder, "normalized", world)


def edited(folder: Path, world: World) -> None:
    """Once through, and once more from the checkpoint of its third epoch."""
    path, kept = folder / "edited", folder / "kept"
    follows = {"edit": by_epoch, "after_edit": warm_up(5)}

    def keep(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            shutil.copy(path, kept)

    often = {"checkpoint": path, "checkpoint_seconds": 0}  # several processes write after whole epochs only
    run(deep(seed=world.rank), LONG, folder, "whole", world, on_epoch=keep, **often, **follows)
    distributed.barrier()
    run(deep(seed=world.rank), LONG, folder, "resumed", world, checkpoint=kept, resume=True, **follows)


def killed(folder: Path, world: World) -> None:
    """All processes are killed after the next epoch of `KILLED_AFTER`."""
    pids = [None] * world.size
    distributed.all_gather_object(pids, os.getpid())

    def kill(epoch: Epoch) -> None:
        if epoch.epoch in KILLED_AFTER:
            for pid in sorted(pids, key=os.getpid().__eq__):  # itself last
                os.kill(pid, signal.SIGKILL)

    goes_on = {"checkpoint": folder / "state", "resume": True, "on_epoch": kill}
    run(network(seed=world.rank), LONG, folder, "killed", world, **goes_on)


def failing(folder: Path, world: World) -> None:
    """Only the last process fails, while the others compute."""
    model = network()
    if world.rank == world.size - 1:
        model[3].register_forward_hook(lambda module, inputs, output: output * float("nan"))
    run(model, LONG, folder, "failing", world)


def run(model: nn.Module, recipe: Recipe, folder: Path, name: str, world: World, **more: object) -> None:
    history = train(model, dataset(), recipe, world=world, **more)
    told = {"history": [{**asdict(epoch), "seconds": 0} for epoch in history]}
    told["journal"] = [entry.edit.as_json() for entry in history.journal]
    checkpoint.save(folder / f"{name}-{world.rank}", model.state_dict(), told)


CASES = {case.__name__: case for case in (alike, normalized, edited, killed, failing)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as together:
        for case in sys.argv[2:]:
            CASES[case](Path(sys.argv[1]), together)
