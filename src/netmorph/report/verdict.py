"""What a run says about searching, in one sentence."""

from __future__ import annotations

from netmorph.report.arms import look
from netmorph.run.names import ArmName
from netmorph.run.result import NetworkResult, Result
from netmorph.tasks import Criterion

# What an arm that beats the evolution says of it.
LESSONS: dict[str, str] = {
    ArmName.ALONE: "more search does not pay here",
    ArmName.RANDOM: "inheriting weights does not pay here",
    ArmName.LOCAL: "a population does not pay here",
    ArmName.DESIGNED: "more search does not pay here",
}


def verdict(found: Result, criterion: Criterion) -> str | None:
    """Which arm has the best network, by how much, and what that says; None where nothing was compared.

    Arms are compared by what chooses on the validation set, as networks are. Where the test set says the opposite, the
    sentence says so.
    """
    best, evolved, arm = found.best, found.evolved, found.arm
    if best is None or evolved is None or arm is None or not found.baselines:
        return None

    def value(entry: NetworkResult) -> str:
        return criterion.text(entry.validation.get(criterion.name))

    others = {look(name).phrase: baseline.best for name, baseline in found.baselines.items()}
    network = f"network {best.id}, validation {criterion.name} {value(best)}"
    equal = [phrase for phrase, other in others.items() if value(other) == value(evolved)]
    if any(baseline.best.id == best.id for name, baseline in found.baselines.items() if name != arm):
        text = f"nothing was better than the start network as first trained ({network}): more search does not pay here"
    elif equal and value(evolved) == value(best):
        names = " and ".join(equal)
        text = f"the evolution found nothing better than {names} ({network}, as there): more search does not pay here"
    elif arm != ArmName.EVOLVE:
        lesson = LESSONS.get(arm, "this search does not pay here")
        smoothed = _smoothed(best, [evolved], criterion)
        found_by = f"{look(arm).phrase} was better than the evolution ({network}, against {value(evolved)}{smoothed})"
        text = f"{found_by}{_but_tested(best, [evolved], criterion)}: {lesson}"
    else:
        beaten = " and ".join(f"{value(other)} of {phrase}" for phrase, other in others.items())
        smoothed, tested = (say(best, [*others.values()], criterion) for say in (_smoothed, _but_tested))
        text = f"the evolution found the best network ({network}, against {beaten}{smoothed}){tested}"
    if all(number is None for number in best.test.values()):
        return f"So far {text}."
    return f"{text[:1].upper()}{text[1:]}."


def _smoothed(best: NetworkResult, others: list[NetworkResult], criterion: Criterion) -> str:
    """By what networks were compared, where that is not the number that is told: see `EvolveConfig.smooth`."""
    own = best.validation.get(criterion.name)
    rivals = [value for other in others if (value := other.validation.get(criterion.name)) is not None]
    if own is None or all(criterion.score(rival) <= criterion.score(own) for rival in rivals):
        return ""
    return "; on so few samples networks are compared by how probable the right answers are"


def _but_tested(best: NetworkResult, others: list[NetworkResult], criterion: Criterion) -> str:
    """What the test set says, if it says the opposite."""
    own = best.test.get(criterion.name)
    tested = [value for other in others if (value := other.test.get(criterion.name)) is not None]
    if own is None or not tested:
        return ""
    rival = max(tested, key=criterion.score)
    if criterion.score(rival) <= criterion.score(own):
        return ""
    found = f"{criterion.text(own)} against {criterion.text(rival)}"
    return f"; on the test set it is the other way round, {found}, so the difference means little"
