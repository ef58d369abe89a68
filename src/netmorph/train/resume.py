"""Where a training run stands: what its checkpoint holds, and how a run goes on from there."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.data import Dataset
from netmorph.edit.journal import LoadError
from netmorph.edit.snapshot import tensors_of
from netmorph.graph.journal import Entry, Journal
from netmorph.train.average import MovingAverage
from netmorph.train.checkpoint import CheckpointError, load, save
from netmorph.train.editing import Editing
from netmorph.train.history import Epoch, History
from netmorph.train.inputs import reference
from netmorph.train.optimizer_state import OptimizerStateError, pack_optimizer, unpack_optimizer
from netmorph.train.parallel import World, from_first
from netmorph.train.position import START, Position, below
from netmorph.train.recipe import Recipe
from netmorph.typed import fits
from netmorph.wording import listed


@dataclass(frozen=True)
class Snapshot:
    """Copies of a model's parameters and buffers and of its optimizer's state, all of one moment.

    Attributes:
        journal: the edits that had made the model by then.
    """

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    optimizer_meta: dict[str, Any]
    journal: Journal = ()

    @classmethod
    def take(
        cls,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        editing: Editing | None,
        of: nn.Module | None = None,
    ) -> "Snapshot":
        """Copy the present state.

        Args:
            editing: what edits the model, if it is edited.
            of: the model whose parameters the optimizer holds, if `model` is its moving average.
        """
        copies = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
        return cls(copies, *pack_optimizer(optimizer, of or model), () if editing is None else editing.journal)

    def put_back(self, model: nn.Module, optimizer: torch.optim.Optimizer, editing: Editing | None) -> None:
        """Give a model and its optimizer the state, and the structure, if it was edited."""
        if editing is not None:
            editing.become(self.journal)
        unpack_optimizer(optimizer, model, self.optimizer, self.optimizer_meta)
        _fill(model, self.model)


def run_identity(dataset: Dataset, recipe: Recipe, seed: int, world: World) -> dict[str, Any]:
    """What must be the same when a run goes on, as JSON gives it back."""
    told = {
        "recipe": asdict(recipe),
        "seed": seed,
        "data": dataset.fingerprint,
        "split of the data": [part.digest() for part in (dataset.train, dataset.validation)],
        "preparation of the inputs": dataset.preparation.describe(),
        "processes": world.size,
    }
    return dict(json.loads(json.dumps(told)))


def save_progress(
    path: Path,
    known: dict[str, Any],
    history: History,
    last: Snapshot,
    best: Snapshot,
    average: MovingAverage | None,
    position: Position,
) -> None:
    """Write a checkpoint of where a training stands.

    Args:
        known: the run's `identity`.
        history: the finished epochs.
        last: the state now.
        best: the state after the best epoch; stored once if it is the same object as `last`.
        average: of the weights until now, if there is one.
        position: how much of the next epoch is learnt.

    Raises:
        SaveError: the file cannot be written; the checkpoint before is still there.
    """
    snapshots = {"last": last} if best is last else {"last": last, "best": best}
    tensors = {
        f"{moment}/{part}/{name}": tensor
        for moment, snapshot in snapshots.items()
        for part, members in (("model", snapshot.model), ("optimizer", snapshot.optimizer))
        for name, tensor in members.items()
    }
    if average is not None:
        tensors |= {f"average/{name}": tensor for name, tensor in tensors_of(average.model).items()}
    at, told = position.packed()
    tensors |= {f"position/{name}": tensor for name, tensor in at.items()}
    meta = {
        "position": told,
        "average steps": 0 if average is None else average.steps,
        "identity": known,
        "history": [epoch.as_json() for epoch in history],
        "optimizer": {moment: snapshot.optimizer_meta for moment, snapshot in snapshots.items()},
        "journal": {moment: [entry.as_json() for entry in snapshot.journal] for moment, snapshot in snapshots.items()},
    }
    save(path, tensors, meta)


def load_progress(
    path: Path,
    known: dict[str, Any],
    steps: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None,
    editing: Editing | None,
    world: World,
) -> tuple[History, Snapshot, Position]:
    """Put a checkpoint's last state into model, optimizer and average; give history, best state and position.

    Where training edits, the model is given as before the first edit, and gets the structure of the last state.
    The first process reads the checkpoint for all.

    Args:
        known: the run's `identity`.
        steps: of an epoch.

    Raises:
        CheckpointError: the checkpoint is damaged, belongs to another recipe, seed, data set or model, or was written
            within an epoch on another kind of device.
        OptimizerStateError: it belongs to another optimizer; the model is as it was.
    """
    tensors, meta = from_first(lambda: load(path), world)
    if "identity" not in meta:
        raise CheckpointError(f"{path} is no checkpoint of a training run; choose another file")
    stored = {**known, "recipe": {}, **meta["identity"]} if isinstance(meta["identity"], dict) else {}
    if not isinstance(stored.get("recipe"), dict) or not isinstance(stored["data"], str):
        raise CheckpointError(f"{path} is no checkpoint of a training run; choose another file")
    _check_data(path, stored, known)
    # What was written before a hyper-parameter was known did without it.
    recipes = {**asdict(Recipe()), **stored["recipe"]}, known["recipe"]
    different = [*_differences(*recipes), *_differences({**stored, "recipe": ""}, {**known, "recipe": ""})]
    if different:
        raise CheckpointError(
            f"{path} belongs to another run: {listed(different, '; ')}. Give the same values, or another file"
        )
    try:
        history, snapshots, averaged = _progress(tensors, meta)
        device = reference(model).device
        # Absent in what was written when checkpoints were those of whole epochs.
        at = meta.get("position")
        position = START if at is None else Position.unpacked(below(tensors, "position/"), at, steps, device)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds what no training writes: {error!r}; choose another file") from error
    if position.device not in (None, device.type):
        raise CheckpointError(
            f"{path} was written within epoch {len(history) + 1} on {position.device!r}, which drew the order of its "
            f"samples; {device.type!r} draws another. Go on with device={position.device!r}"
        )
    last = snapshots["last"]
    if editing is not None:
        _rebuild(path, editing, last.journal)
    different = _differences(_signature(last.model), _signature(tensors_of(model)))
    mean = {} if average is None else below(tensors, "average/")
    if average is not None:
        different += _differences(_signature(mean), _signature(tensors_of(average.model)))
    if different:
        if editing is not None:
            editing.become(editing.start)
        raise CheckpointError(
            f"{path} belongs to another network: {listed(different, '; ')}. "
            "Build the same network, or give another file"
        )
    try:
        last.put_back(model, optimizer, editing)
    except OptimizerStateError:
        if editing is not None:
            editing.become(editing.start)
        raise
    if average is not None:
        _fill(average.model, mean)
        average.steps = averaged
    best = snapshots.get("best", last)
    return History(history, best.journal if history else ()), best, position  # the first epoch is told at its end


def _progress(tensors: dict[str, Tensor], meta: dict[str, Any]) -> tuple[list[Epoch], dict[str, Snapshot], int]:
    """What a checkpoint tells: epochs, snapshots by moment, and the steps of the average."""
    journals = meta.get("journal", {})  # absent in what was written before training could edit
    snapshots = {
        moment: Snapshot(
            below(tensors, f"{moment}/model/"),
            below(tensors, f"{moment}/optimizer/"),
            optimizer_meta,
            tuple(map(Entry.from_json, journals.get(moment, ()))),
        )
        for moment, optimizer_meta in meta["optimizer"].items()
    }
    if not {"last"} <= snapshots.keys() <= {"last", "best"}:
        raise ValueError(f"states of {sorted(snapshots)}")
    history = Epoch.all_from_json(meta["history"])
    steps = meta["average steps"]
    if not fits(steps, int):
        raise TypeError(f"{steps!r} steps of the average")
    return history, snapshots, steps


def _rebuild(path: Path, editing: Editing, journal: Journal) -> None:
    try:
        editing.become(journal)
    except LoadError as error:
        raise CheckpointError(
            f"{path} belongs to another network, or to the same after edits: {error}. Give the network that training "
            "started from, or another file"
        ) from error


def _fill(model: nn.Module, values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in tensors_of(model).items():
            tensor.copy_(values[name])


def _check_data(path: Path, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Say of data that changed what happened, where a list of differing checksums would not."""
    if stored["data"] != given["data"]:
        raise CheckpointError(
            f"the data set has changed since {path} was written: its checksum was {stored['data'][:12]}, now it is "
            f"{given['data'][:12]}. Put the files back as they were, or start a new run"
        )
    if stored["split of the data"] != given["split of the data"]:
        raise CheckpointError(
            f"the samples of the data set are divided otherwise than when {path} was written; give the same seed, "
            "validation share and number of training samples, or start a new run"
        )


def _signature(tensors: dict[str, Tensor]) -> dict[str, str]:
    return {name: f"{tuple(tensor.shape)} {tensor.dtype}" for name, tensor in tensors.items()}


def _differences(stored: dict[str, Any], given: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {stored.get(name, 'absent')} there, {given.get(name, 'absent')} here"
        for name in {**given, **stored}
        if stored.get(name) != given.get(name)
    ]
