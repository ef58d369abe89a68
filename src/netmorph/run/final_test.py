"""The end of a run: how its networks do on the held-out test set, which is used once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from netmorph.data import Dataset, Vocabulary
from netmorph.measure.calibration import calibration_report
from netmorph.measure.classification import classification_report
from netmorph.measure.values import value_report
from netmorph.run.result import ConstantResult, Exhibits
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.tasks import Exhibit, Numbers
from netmorph.tasks.tokens import loss_by_position
from netmorph.train.evaluation import evaluate, evaluate_constant, predict
from netmorph.train.generation import generate

# Of a longer window, neighbouring positions share a point in the report.
POSITIONS = 64
# Tokens that a network writes for the report, and how boldly: at 1, a small one misspells much.
WRITTEN, TEMPERATURE = 400, 0.8


@dataclass
class FinalTest:
    """Scores for `netmorph.run.findings.result_of`; the same networks are asked once.

    Attributes:
        views: see `netmorph.train.evaluate`.
    """

    store: NetworkStore
    dataset: Dataset
    views: int = 1
    _known: dict[tuple[int, ...], Numbers] = field(default_factory=dict)

    def numbers(self, networks: Sequence[NetworkRecord]) -> Numbers:
        """What the task tells of the networks together."""
        asked = tuple(network.id for network in networks)
        if asked not in self._known:
            found = evaluate(self._models(networks), self.dataset.test, self.dataset, views=self.views)
            self._known[asked] = found.numbers
        return self._known[asked]

    def exhibits(self, networks: Sequence[NetworkRecord], best: NetworkRecord) -> Exhibits:
        """What the task has to show of the networks together, and how sure the best network is beside them."""
        models = self._models(networks)
        match self.dataset.task.exhibit:
            case Exhibit.CLASSES if self.dataset.classes:
                answers = self._answers(models)
                # A head may be wider than there are classes; what it answers beyond them is wrong, and has a row too.
                others = [f"output {number}" for number in range(len(self.dataset.classes), answers.shape[1])]
                report = classification_report(
                    self.dataset.test.targets, answers.argmax(1), [*self.dataset.classes, *others]
                )
                alone = [network.id for network in networks] == [best.id]
                sure = {"best": answers if alone else self._answers(self._models([best]))}
                if len(networks) > 1:
                    sure["ensemble"] = answers
                told = {
                    name: calibration_report(each, self.dataset.test.targets)
                    for name, each in sure.items()
                    if each.isfinite().all()  # those of a network that overflows on the test set alone
                }
                return Exhibits(report, told or None)
            case Exhibit.VALUES:
                return Exhibits(values=value_report(self.dataset.test.targets, self._answers(models)))
            case Exhibit.TOKENS:
                return Exhibits(text=text_exhibit(models, self.dataset))
        return Exhibits()

    def constant(self) -> ConstantResult | None:
        """The answer that looks at no input."""
        data, constant = self.dataset, self.dataset.task.constant
        if constant is None:
            return None
        output = constant.output(data.train.targets, data.outputs)
        return ConstantResult(constant.name, evaluate_constant(output, data.test, data.task).numbers)

    def _answers(self, models: Sequence[nn.Module]) -> Tensor:
        return predict(models, self.dataset.test, self.dataset, views=self.views)

    def _models(self, networks: Sequence[NetworkRecord]) -> list[nn.Module]:
        return [self.store.take(network.id)[0] for network in networks]


def text_exhibit(models: Sequence[nn.Module], dataset: Dataset) -> dict[str, object]:
    """`Exhibits.text` of networks that were trained on a text."""
    (window,) = dataset.input_shape
    places = torch.arange(window).tensor_split(min(window, POSITIONS))

    def numbers(outputs: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
        losses = loss_by_position(outputs, targets).tensor_split(len(places))
        return {str(index): loss.mean() for index, loss in enumerate(losses)}

    task = replace(dataset.task, numbers=numbers)
    told = evaluate(models, dataset.test, replace(dataset, task=task)).numbers
    shown: dict[str, object] = {
        "positions": [1 + place.double().mean().item() for place in places],
        "losses": [told[str(index)] for index in range(len(places))],
    }
    if not isinstance(dataset.encoder, Vocabulary):
        return shown
    start = dataset.test.head(1)[0]
    written = generate(models, start, dataset, count=WRITTEN, temperature=TEMPERATURE)
    return {
        **shown,
        "start": dataset.encoder.decode(start),
        "continued": dataset.encoder.decode(written),
        "temperature": TEMPERATURE,
    }
