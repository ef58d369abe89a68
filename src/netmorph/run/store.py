"""The networks of a run on disk: weights with their journal, and the optimizer's state beside them."""

from pathlib import Path

import torch
from torch import nn

from netmorph.edit import Base, Journal
from netmorph.edit.journal import load, save
from netmorph.files import remove_unfinished
from netmorph.run.names import Stage
from netmorph.train import checkpoint
from netmorph.train.optimizer_state import pack_optimizer, unpack_optimizer
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe


def network_file(run: Path, network: int, stage: Stage = Stage.TRAINED) -> Path:
    """Where a run keeps a network."""
    return run / "networks" / f"{network}.{stage}.safetensors"


class NetworkStore:
    """Folder `RUN/networks`: `<id>.<stage>.safetensors`, and `<id>.<stage>.optimizer` where one goes with it.

    A network is on the store in up to two stages, as born and as trained: a training that is cut short starts again
    from the same birth.
    """

    def __init__(self, run: Path, base: Base, recipe: Recipe) -> None:
        self.run = run
        self.folder = run / "networks"
        self.base = base
        self.recipe = recipe

    def path(self, network: int, stage: Stage = Stage.TRAINED) -> Path:
        """The file of a network."""
        return network_file(self.run, network, stage)

    def files(self, network: int, stage: Stage = Stage.TRAINED) -> list[Path]:
        """The files that `take` reads, in the store's folder."""
        return [file for file in (self.path(network, stage), self._optimizer(network, stage)) if file.exists()]

    def put(
        self, network: int, stage: Stage, model: nn.Module, journal: Journal, optimizer: torch.optim.Optimizer | None
    ) -> None:
        """Write a network. The optimizer goes first, so that a network that is there is complete.

        What lay under this id and stage (a birth of a plan that was given up) is replaced, its optimizer too.

        Raises:
            SaveError: a file could not be written.
        """
        self._optimizer(network, stage).unlink(missing_ok=True)
        if optimizer is not None:
            tensors, meta = pack_optimizer(optimizer, model)
            self.drop_optimizer(network, stage)  # of an earlier try; no spare of it is wanted
            checkpoint.save(self._optimizer(network, stage), tensors, meta)
        save(self.path(network, stage), model, journal, self.base)

    def take(self, network: int, stage: Stage = Stage.TRAINED) -> tuple[nn.Module, Journal, torch.optim.Optimizer]:
        """Read a network; its optimizer is new where none was put beside it.

        Raises:
            LoadError, CheckpointError: a file is missing or damaged.
        """
        model, journal = load(self.path(network, stage), self.base.build)
        optimizer = build_optimizer(model, self.recipe)
        if self._optimizer(network, stage).exists():
            unpack_optimizer(optimizer, model, *checkpoint.load(self._optimizer(network, stage)))
        return model, journal, optimizer

    def drop(self, network: int, stage: Stage) -> None:
        """Remove the files of one stage, if they are there."""
        self.path(network, stage).unlink(missing_ok=True)
        self.drop_optimizer(network, stage)

    def drop_optimizer(self, network: int, stage: Stage = Stage.TRAINED) -> None:
        """Forget the optimizer of a network that will not be trained on."""
        file = self._optimizer(network, stage)
        file.unlink(missing_ok=True)
        checkpoint.previous(file).unlink(missing_ok=True)

    def with_optimizers(self) -> set[int]:
        """The trained networks that an optimizer lies beside, or its spare."""
        return {int(file.name.partition(".")[0]) for file in self.folder.glob(f"*.{Stage.TRAINED}.optimizer*")}

    def clear(self) -> None:
        """Remove births that no network came of, and what a killed process had not finished writing."""
        remove_unfinished(self.folder)
        for file in self.folder.glob(f"*.{Stage.BORN}.*"):
            file.unlink()

    def _optimizer(self, network: int, stage: Stage) -> Path:
        return self.folder / f"{network}.{stage}.optimizer"
