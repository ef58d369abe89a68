"""What a run has found, as values and as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from netmorph.run.database import RecordsError
from netmorph.run.names import ArmName
from netmorph.run.views import of_result
from netmorph.showing import Shows, View
from netmorph.tasks import Numbers
from netmorph.typed import check_fields

Value = TypeVar("Value")


# What a task tells of the test set, by the names of its numbers; None each until the run is finished.
Tested = Mapping[str, float | None]


@dataclass(frozen=True)
class NetworkResult:
    """One network.

    FLOPs are those of an answer in all views that the recipe asks for; until the run is finished, of one view.
    """

    id: int
    test: Tested
    validation: Numbers
    parameters: int
    flops: int

    def as_json(self) -> dict[str, Any]:
        """Plain values: "test_accuracy", "validation_accuracy" and so on, by the names of the task's numbers."""
        numbers = _named("test", self.test) | _named("validation", self.validation)
        return {"id": self.id, **numbers, "parameters": self.parameters, "flops": self.flops}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> NetworkResult:
        """The network that `as_json` told of."""
        test, validation = _of("test", told), _of("validation", told)
        return NetworkResult(told["id"], test, validation, told["parameters"], told["flops"])


@dataclass(frozen=True)
class EnsembleResult:
    """Networks that answer together, see `netmorph.tasks.Task.combined`."""

    test: Tested
    parameters: int
    flops: int
    members: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, numbers as in `NetworkResult.as_json`."""
        told = {"parameters": self.parameters, "flops": self.flops, "members": list(self.members)}
        return _named("test", self.test) | told

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> EnsembleResult:
        """The ensemble that `as_json` told of."""
        return EnsembleResult(_of("test", told), told["parameters"], told["flops"], tuple(told["members"]))


@dataclass(frozen=True)
class ArmResult:
    """What an arm beside the evolution has found.

    Attributes:
        best: its best network.
        training_flops: what all its networks took; of a chain, the start network's own as well.
        ensemble: of its survivors, if it has any.
        networks: how many were trained; None for a chain, an arm that trains the start network on.
    """

    best: NetworkResult
    training_flops: int
    ensemble: EnsembleResult | None = None
    networks: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values: of a chain those of its best network, beside the training FLOPs."""
        if self.networks is None:
            return {**self.best.as_json(), "training_flops": self.training_flops}
        return {
            "best": self.best.as_json(),
            "ensemble": self.ensemble and self.ensemble.as_json(),
            "training_flops": self.training_flops,
            "networks": self.networks,
        }

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> ArmResult:
        """The baseline that `as_json` told of."""
        if "best" in told:
            ensemble = _if_any(EnsembleResult.from_json, told["ensemble"])
            return ArmResult(NetworkResult.from_json(told["best"]), told["training_flops"], ensemble, told["networks"])
        return ArmResult(NetworkResult.from_json(told), told["training_flops"])


@dataclass(frozen=True)
class Exhibits:
    """What is shown of the test of the survivors together, as plain values: that which suits the task, see
    `netmorph.tasks.Exhibit`; nothing until the run is finished.

    Attributes:
        classification: see `netmorph.measure.classification_report`.
        calibration: of the best network ("best") and, where there are several, of the survivors together ("ensemble"),
            see `netmorph.measure.calibration_report`.
        values: see `netmorph.measure.value_report`.
        text: "positions" and "losses", the mean loss by the position in a window, in nats; and, where tokens can be
            decoded, "start", a piece of the test text, "continued", what the networks write next, and the
            "temperature" of the draws.
    """

    classification: Mapping[str, Any] | None = None
    calibration: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    text: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ConstantResult:
    """The answer that looks at no input, see `netmorph.tasks.Constant`."""

    name: str
    test: Numbers

    def as_json(self) -> dict[str, Any]:
        """Plain values, numbers as in `NetworkResult.as_json`."""
        return {"name": self.name, **_named("test", self.test)}

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> ConstantResult:
        """What `as_json` told of."""
        return ConstantResult(told["name"], _of("test", told))


@dataclass(frozen=True, repr=False)
class Result(Shows):
    """What a run has found.

    Attributes:
        best: the best network of all arms by what chooses on the validation set, of those too that the running round
            has trained; None before any is.
        arm: whose network that is.
        evolved: the best network of the evolution, likewise.
        ensemble: the survivors of the evolution together.
        members: each of them, the best first.
        baselines: by the name of their arm, those that have found something.
        training_flops: of the evolution, planned ones included.
        seconds: wall time.
        front: ids of the evolution's Pareto front, from few FLOPs to many.
        exhibits: what is shown of the test.
        constant: what networks have to beat on the test set; None until the run is finished, and for tasks without.
    """

    best: NetworkResult | None
    arm: str | None
    evolved: NetworkResult | None
    ensemble: EnsembleResult | None
    members: tuple[NetworkResult, ...]
    baselines: Mapping[str, ArmResult]
    training_flops: int
    seconds: float | None
    front: tuple[int, ...]
    exhibits: Exhibits = field(default_factory=Exhibits)
    constant: ConstantResult | None = None

    def view(self) -> View:
        """The best network, then what each arm has found."""
        return of_result(self)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as the records keep them and `netmorph show --json` tells them."""
        told = {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.name != "exhibits"}
        return told | {
            "best": self.best and self.best.as_json(),
            "evolved": self.evolved and self.evolved.as_json(),
            "ensemble": self.ensemble and self.ensemble.as_json(),
            "members": [member.as_json() for member in self.members],
            "baselines": {name: baseline.as_json() for name, baseline in self.baselines.items()},
            "front": list(self.front),
            **asdict(self.exhibits),
            "constant": self.constant and self.constant.as_json(),
        }

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Result:
        """The result that `as_json` told of, or an older one with less to show, whose best is the evolution's.

        Raises:
            RecordsError: no result is told like this.
        """
        try:
            result = Result._from_json(told)
            parts = [
                result.best,
                result.evolved,
                result.ensemble,
                result.constant,
                *result.members,
                *result.baselines.values(),
            ]
            for part in (result, *filter(None, parts), *(arm.best for arm in result.baselines.values())):
                check_fields(part)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RecordsError(f"the result of the run is none that netmorph writes: {error!r}") from error
        return result

    @staticmethod
    def _from_json(told: Mapping[str, Any]) -> Result:
        best = _if_any(NetworkResult.from_json, told["best"])
        return Result(
            best,
            told.get("arm", best and str(ArmName.EVOLVE)),
            _if_any(NetworkResult.from_json, told["evolved"]) if "evolved" in told else best,
            _if_any(EnsembleResult.from_json, told["ensemble"]),
            tuple(map(NetworkResult.from_json, told["members"])),
            {name: ArmResult.from_json(baseline) for name, baseline in told["baselines"].items() if baseline},
            told["training_flops"],
            told["seconds"],
            tuple(told["front"]),
            Exhibits(**{entry.name: told.get(entry.name) for entry in fields(Exhibits)}),
            _if_any(ConstantResult.from_json, told.get("constant")),
        )


def _named(part: str, numbers: Tested) -> dict[str, float | None]:
    """Of a part of the data: "test_loss" and so on; what is no number has no place in JSON."""
    return {f"{part}_{name}": None if value is None or math.isnan(value) else value for name, value in numbers.items()}


def _of(part: str, told: Mapping[str, Any]) -> dict[str, Any]:
    prefix = f"{part}_"
    return {name.removeprefix(prefix): value for name, value in told.items() if name.startswith(prefix)}


def _if_any(read: Callable[[Mapping[str, Any]], Value], told: Mapping[str, Any] | None) -> Value | None:
    return None if told is None else read(told)
