"""What a shrinking leaves behind, round by round, and how it goes on from there."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from netmorph.edit.journal import Base, load_onto, save
from netmorph.edit.snapshot import tensors_of
from netmorph.files import remove_unfinished, write_text
from netmorph.graph.journal import Journal
from netmorph.shrink.ranks import ShrinkError
from netmorph.train.history import Epoch
from netmorph.typed import check_fields

FILE = "rounds.json"
FORMAT = 1


@dataclass(frozen=True)
class Round:
    """One network of a shrinking.

    Attributes:
        number: 0 is the network as it was given, trained if that was asked for.
        kept: its number that chooses did not fall too far; else the next round goes back to the one before.
        widths: of all groups that may change, by name.
        ranks: of the network before it, from which its widths follow, by group; empty in round 0, and where widths do
            not follow from ranks.
        parameters: how many.
        flops: of one sample's forward pass.
        untrained: the task's numbers on the validation part, rebuilt and not trained yet.
        numbers: likewise after the training, of its best epoch or the network before it, whichever is better.
        score: the number that chooses of these, so turned that more is better.
        epochs: of its training.
        training_flops: of its training.
        seconds: what it took.
    """

    number: int
    kept: bool
    widths: dict[str, int]
    ranks: dict[str, float]
    parameters: int
    flops: int
    untrained: dict[str, float]
    numbers: dict[str, float]
    score: float
    epochs: tuple[Epoch, ...]
    training_flops: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"epochs": [epoch.as_json() for epoch in self.epochs]}

    @staticmethod
    def from_json(told: dict[str, Any]) -> Round:
        """The round that `as_json` told of.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: none is told like this.
        """
        made = Round(**told | {"epochs": tuple(Epoch.all_from_json(told["epochs"]))})
        check_fields(made)
        return made


class Progress:
    """The rounds so far, in a folder or in memory alone.

    Attributes:
        rounds: oldest first.

    Raises:
        ShrinkError: the folder holds the rounds of another network, or something else.
    """

    def __init__(self, folder: Path | None, model: nn.Module, journal: Journal, base: Base | None) -> None:
        """Read what the folder holds, if it does."""
        self.rounds: list[Round] = []
        self._folder, self._model, self._journal, self._base = folder, model, journal, base
        self._start = _fingerprint(model, journal)
        if folder is not None and (folder / FILE).exists():
            remove_unfinished(folder)
            self.rounds = list(read_rounds(folder, self._start))

    def add(self, told: Round, model: nn.Module, journal: Journal) -> None:
        """Keep a round, and its network if that is kept."""
        if self._folder is not None and told.kept:
            save(network_file(self._folder, told.number), model, journal, self._base)
        self.rounds.append(told)
        if self._folder is not None:
            rows = [each.as_json() for each in self.rounds]
            write_text(self._folder / FILE, json.dumps({"format": FORMAT, "start": self._start, "rounds": rows}))
            for left in self._folder.glob(f"round-{told.number}.checkpoint*"):
                left.unlink()

    def checkpoint(self, number: int) -> Path | None:
        """Where the training of a round keeps its state; None where nothing is kept."""
        return None if self._folder is None else self._folder / f"round-{number}.checkpoint"

    @property
    def latest(self) -> int:
        """The number of the latest round that is kept."""
        return max(told.number for told in self.rounds if told.kept)

    def network(self, number: int) -> tuple[nn.Module, Journal]:
        """A copy of the network that was given, become that of a round that is kept.

        Raises:
            LoadError: its file is missing or damaged.
        """
        if self._folder is None:
            raise ShrinkError("no network is kept in memory; give a folder")
        model = copy.deepcopy(self._model)
        return model, load_onto(network_file(self._folder, number), model, self._journal)


def network_file(folder: Path, number: int) -> Path:
    """The file of a round's network, for `netmorph.load`."""
    return folder / f"round-{number}.safetensors"


def read_rounds(folder: Path, start: str | None = None) -> Sequence[Round]:
    """The rounds that a folder holds.

    Args:
        start: the fingerprint of the network that they have to start from; None takes any.

    Raises:
        ShrinkError: there are none, or of another network.
    """
    path = folder / FILE
    try:
        told = json.loads(path.read_text("utf-8"))
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']}, and {FORMAT} is known")
        rounds = [Round.from_json(row) for row in told["rounds"]]
    except FileNotFoundError:
        raise ShrinkError(f"{folder} holds no shrinking: there is no {FILE}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ShrinkError(f"{path} is damaged, or was not written by netmorph: {error}") from error
    if start is not None and told["start"] != start:
        raise ShrinkError(f"{folder} holds the rounds of another network; give that one, or another folder")
    return rounds


def _fingerprint(model: nn.Module, journal: Journal) -> str:
    """Of names, shapes and edits: weights may be trained in round 0, and are not looked at."""
    shapes = {name: list(tensor.shape) for name, tensor in tensors_of(model).items()}
    told = json.dumps([shapes, [entry.as_json() for entry in journal]], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
