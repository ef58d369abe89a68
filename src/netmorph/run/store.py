"""The networks of a run on disk: weights with their journal, and the optimizer's state beside them."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from netmorph.edit import Base, Journal
from netmorph.edit.journal import load, save, told_base
from netmorph.files import atomic_write, remove_unfinished
from netmorph.run.names import Stage
from netmorph.tensor_files import read_sealed, write_sealed
from netmorph.train import checkpoint
from netmorph.train.optimizer_state import pack_optimizer, unpack_optimizer
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe

ANSWERS = "answers.safetensors"


def network_file(run: Path, network: int, stage: Stage = Stage.TRAINED) -> Path:
    """Where a run keeps a network."""
    return run / "networks" / f"{network}.{stage}.safetensors"


class NetworkStore:
    """Folder `RUN/networks`: `<id>.<stage>.safetensors`, and `<id>.<stage>.optimizer` where one goes with it;
    `<id>.answers.safetensors` where networks are chosen by their answers.

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
        self,
        network: int,
        stage: Stage,
        model: nn.Module,
        journal: Journal,
        optimizer: torch.optim.Optimizer | None,
        base: Base | None = None,
    ) -> None:
        """Write a network. The optimizer goes first, so that a network that is there is complete.

        What lay under this id and stage (a birth of a plan that was given up) is replaced, its optimizer too.

        Args:
            base: what it was built from, if that is not the run's start network.

        Raises:
            SaveError: a file could not be written.
        """
        self._optimizer(network, stage).unlink(missing_ok=True)
        if optimizer is not None:
            tensors, meta = pack_optimizer(optimizer, model)
            self.drop_optimizer(network, stage)  # of an earlier try; no spare of it is wanted
            checkpoint.save(self._optimizer(network, stage), tensors, meta)
        save(self.path(network, stage), model, journal, base or self.base)

    def take(self, network: int, stage: Stage = Stage.TRAINED) -> tuple[nn.Module, Journal, torch.optim.Optimizer]:
        """Read a network; its optimizer is new where none was put beside it.

        A network that was not built as the start network is may be of the same constructor, or of `netmorph.zoo`.

        Raises:
            LoadError, CheckpointError: a file is missing or damaged.
        """
        model, journal = load(self.path(network, stage), self._builder(network, stage))
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

    def put_answers(self, network: int, answers: Mapping[str, Tensor]) -> None:
        """Keep what a network answers to each example of the validation set, see `netmorph.train.evaluation.answers`.

        Raises:
            SaveError: the file could not be written.
        """
        atomic_write(self._answers(network), lambda temporary: write_sealed(answers, temporary, None))

    def answers(self, network: int) -> dict[str, Tensor] | None:
        """What was kept; None where nothing was.

        Raises:
            FileError: the file is damaged.
        """
        file = self._answers(network)
        return read_sealed(file)[0] if file.exists() else None

    def keep_answers(self, networks: Collection[int]) -> None:
        """Forget the answers of all other networks."""
        for file in self.folder.glob(f"*.{ANSWERS}"):
            if int(file.name.partition(".")[0]) not in networks:
                file.unlink()

    def clear(self) -> None:
        """Remove births that no network came of, and what a killed process had not finished writing."""
        remove_unfinished(self.folder)
        for file in self.folder.glob(f"*.{Stage.BORN}.*"):
            file.unlink()

    def base_of(self, network: int, stage: Stage = Stage.TRAINED) -> Base:
        """What a network was built from.

        Raises:
            LoadError: its file is missing or damaged.
        """
        return told_base(self.path(network, stage)) or self.base

    def _builder(self, network: int, stage: Stage) -> Callable[[], nn.Module] | None:
        """A user's own function is called only if it is the run's, never because a file names it."""
        told = self.base_of(network, stage)
        return told.build if told.name == self.base.name else None

    def _answers(self, network: int) -> Path:
        return self.folder / f"{network}.{ANSWERS}"

    def _optimizer(self, network: int, stage: Stage) -> Path:
        return self.folder / f"{network}.{stage}.optimizer"
