"""The networks of a run on disk: weights with their journal, and the optimizer's state beside them."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from netmorph.edit import Base, Journal
from netmorph.edit.journal import base_in, header_of, load, loaded, save, told_base
from netmorph.files import atomic_write, remove_unfinished
from netmorph.run.names import Stage
from netmorph.sharing import Pool, founded, joined, of_these
from netmorph.sharing.files import Own, load_pool, network_in, networks_in, save_pool
from netmorph.tensor_files import read_sealed, write_sealed
from netmorph.train import checkpoint
from netmorph.train.optimizer_state import pack_optimizer, unpack_optimizer
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe

ANSWERS = "answers.safetensors"


def network_file(run: Path, network: int, stage: Stage = Stage.TRAINED) -> Path:
    """Where a run keeps a network."""
    return run / "networks" / f"{network}.{stage}.safetensors"


def whole_file(run: Path, network: int) -> Path:
    """The file of a trained network; of one that shares its weights with others, it is written now.

    Raises:
        PoolError: the pool that it is in is damaged.
        SaveError: the file could not be written.
    """
    path = network_file(run, network)
    pool = None if path.exists() else pool_with(run, network)
    if pool is not None:
        header, tensors = network_in(pool, network)
        atomic_write(path, lambda file: write_sealed(tensors, file, header))
    return path


def pool_file(run: Path, first: int) -> Path:
    """Where a run keeps the weights that networks share which were trained together.

    Args:
        first: the lowest id of these.
    """
    return run / "networks" / f"{first}.pool.safetensors"


def pool_with(run: Path, network: int) -> Path | None:
    """The pool that a trained network is in; None of one that has weights of its own."""
    firsts = (int(file.name.partition(".")[0]) for file in (run / "networks").glob("*.pool.safetensors"))
    files = (pool_file(run, first) for first in sorted(firsts, reverse=True) if first <= network)
    return next((file for file in files if network in networks_in(file)), None)


class NetworkStore:
    """Folder `RUN/networks`: `<id>.<stage>.safetensors`, and `<id>.<stage>.optimizer` where one goes with it;
    `<id>.answers.safetensors` where networks are chosen by their answers.

    A network is on the store in up to two stages, as born and as trained: a training that is cut short starts again
    from the same birth. Networks that share their weights lie together in a pool, `<first id>.pool.safetensors`, with
    what an optimizer keeps of these; `<id>.born.kept` tells what such a network shares when it is born.
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
        """The files that tell of a network, in the store's folder: its own, and the pool that it is in."""
        files = [self.path(network, stage), self._optimizer(network, stage)]
        if stage == Stage.BORN:
            files.append(self.kept(network))
        elif (pool := pool_with(self.run, network)) is not None:
            files.append(pool)
        return [file for file in files if file.exists()]

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
        path = self.path(network, stage)
        pool = self._pool_of(network, stage)
        if pool is None:
            model, journal = load(path, self._builder(told_base(path)))
        else:
            header, tensors = network_in(pool, network)
            model, journal = loaded(pool, header, tensors, self._builder(base_in(header)))
        optimizer = build_optimizer(model, self.recipe)
        if self._optimizer(network, stage).exists():
            unpack_optimizer(optimizer, model, *checkpoint.load(self._optimizer(network, stage)))
        return model, journal, optimizer

    def pool(self, networks: Collection[int]) -> Pool:
        """Trained networks as one pool, with what optimizers keep: those that share weights, and others beside them.

        Raises:
            LoadError, PoolError, CheckpointError: a file is missing or damaged.
        """
        pools: dict[Path, Pool] = {}
        alone = Pool()
        for id in networks:
            path = pool_with(self.run, id)
            if path is not None:
                if path not in pools:
                    pools[path] = load_pool(path)[0]
                continue
            model, _, optimizer = self.take(id)
            named = dict(model.named_parameters())
            alone = founded(alone, id, named, {name: optimizer.state.get(one, {}) for name, one in named.items()})
        return joined([alone, *(of_these(pool, pool.networks.keys() & networks) for pool in pools.values())])

    def put_pool(self, pool: Pool, networks: Mapping[int, tuple[nn.Module, Journal]]) -> None:
        """Write networks that were trained together.

        Raises:
            SaveError: the file could not be written.
        """
        own = {
            id: Own(header_of(journal, self.base_of(id, Stage.BORN)), dict(model.named_buffers()))
            for id, (model, journal) in networks.items()
        }
        save_pool(pool_file(self.run, min(networks)), pool, own)

    def drop(self, network: int, stage: Stage) -> None:
        """Remove the files of one stage, if they are there."""
        self.path(network, stage).unlink(missing_ok=True)
        if stage == Stage.BORN:
            self.kept(network).unlink(missing_ok=True)
        self.drop_optimizer(network, stage)

    def drop_optimizer(self, network: int, stage: Stage = Stage.TRAINED) -> None:
        """Forget the optimizer of a network that will not be trained on."""
        file = self._optimizer(network, stage)
        file.unlink(missing_ok=True)
        checkpoint.previous(file).unlink(missing_ok=True)

    def with_optimizers(self) -> set[int]:
        """The trained networks that an optimizer lies beside, or its spare."""
        # What a killed process had not finished writing begins with a dot; it may lie here until `clear`.
        return {int(file.name.partition(".")[0]) for file in self.folder.glob(f"[0-9]*.{Stage.TRAINED}.optimizer*")}

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

    def kept(self, network: int) -> Path:
        """What a network shares of its parent when it is born."""
        return self.folder / f"{network}.{Stage.BORN}.kept"

    def base_of(self, network: int, stage: Stage = Stage.TRAINED) -> Base:
        """What a network was built from.

        Raises:
            LoadError: its file is missing or damaged.
        """
        pool = self._pool_of(network, stage)
        return (
            told_base(self.path(network, stage)) if pool is None else base_in(network_in(pool, network)[0])
        ) or self.base

    def _pool_of(self, network: int, stage: Stage) -> Path | None:
        """Where a network is to be read that has no file of its own."""
        return pool_with(self.run, network) if stage == Stage.TRAINED and not self.path(network).exists() else None

    def _builder(self, told: Base | None) -> Callable[[], nn.Module] | None:
        """A user's own function is called only if it is the run's, never because a file names it."""
        told = told or self.base
        return told.build if told.name == self.base.name else None

    def _answers(self, network: int) -> Path:
        return self.folder / f"{network}.{ANSWERS}"

    def _optimizer(self, network: int, stage: Stage) -> Path:
        return self.folder / f"{network}.{stage}.optimizer"
