"""What a training run recorded, epoch by epoch."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from netmorph.graph.journal import Edits, Journal
from netmorph.showing import Shows, View
from netmorph.tasks import LOSS, Numbers
from netmorph.typed import check_fields


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data and the validation that followed.

    Attributes:
        epoch: number, from 1.
        train: the task's numbers over the epoch's batches, in train mode, while the weights moved; its loss is what
            training made small, label smoothing included.
        validation: the task's numbers on the validation split, in eval mode.
        score: the validation number that chooses, so turned that more is better.
        learning_rate: at the epoch's last step.
        seconds: wall time of both phases; left out when epochs are compared.
    """

    epoch: int
    train: Numbers
    validation: Numbers
    score: float
    learning_rate: float
    seconds: float = field(compare=False)

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is not finite has no place in JSON, and is None there."""
        numbers = {part: {name: _if_finite(value) for name, value in told.items()} for part, told in self._parts()}
        return asdict(self) | numbers | {"score": _if_finite(self.score)}

    @staticmethod
    def from_json(told: dict[str, Any]) -> "Epoch":
        """The epoch that `as_json` told of."""
        numbers = {
            part: {name: math.nan if value is None else value for name, value in told[part].items()}
            for part in ("train", "validation")
        }
        return Epoch(**(told | numbers | {"score": -math.inf if told["score"] is None else told["score"]}))

    @staticmethod
    def all_from_json(told: Iterable[dict[str, Any]]) -> list["Epoch"]:
        """The epochs of a run from its first.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: no run tells them like this; a file may come from anyone.
        """
        epochs = [Epoch.from_json(epoch) for epoch in told]
        for number, epoch in enumerate(epochs, start=1):
            check_fields(epoch)
            if epoch.epoch != number or LOSS not in epoch.validation:
                raise ValueError(f"epoch {epoch.epoch} in the place of {number}")
        return epochs

    def _parts(self) -> tuple[tuple[str, Numbers], ...]:
        return ("train", self.train), ("validation", self.validation)


def _if_finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


class History(Shows, tuple[Epoch, ...]):
    """The epochs of a run, in order.

    Attributes:
        journal: the edits that made the network of the best epoch, if its structure was edited.
        done: the training steps that are done when `edit` is asked, those of a begun epoch with them; 0 elsewhere.
        steps: all steps of the training, of so many epochs as the recipe says; 0 elsewhere.
    """

    journal: Journal
    done: int
    steps: int

    def __new__(cls, epochs: Iterable[Epoch] = (), journal: Journal = (), done: int = 0, steps: int = 0) -> "History":
        """Histories are equal if their epochs are."""
        made = super().__new__(cls, epochs)
        made.journal, made.done, made.steps = Edits(journal), done, steps
        return made

    @property
    def progress(self) -> float:
        """The share of all steps that are done when `edit` is asked, from 0 to 1."""
        return self.done / self.steps if self.steps else 0.0

    def view(self) -> View:
        """A row for each epoch, the best one in bold."""
        if not self:
            return View("History of no epoch")
        names = [*self[0].train, *(name for name in self[0].validation if name not in self[0].train)]
        parts = [(part, name) for part in ("train", "validation") for name in names if name in getattr(self[0], part)]
        told = ", ".join(f"{name} {value:.4g}" for name, value in self.best.validation.items())
        return View(
            f"History of {len(self)} epochs, the best {self.best.epoch}: validation {told}",
            ("epoch", *(f"{part} {name}" for part, name in parts), "learning rate", "seconds"),
            (
                (
                    epoch.epoch,
                    *(getattr(epoch, part).get(name) for part, name in parts),
                    epoch.learning_rate,
                    epoch.seconds,
                )
                for epoch in self
            ),
            strong=frozenset([self.index(self.best)]),
        )

    @property
    def best(self) -> Epoch:
        """The epoch with the highest score; among equals, the first of the lowest validation loss."""
        return max(self, key=lambda epoch: (epoch.score, -epoch.validation[LOSS]))
