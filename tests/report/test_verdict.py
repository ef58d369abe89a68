import pytest

from netmorph.report.verdict import verdict
from netmorph.run.result import ArmResult, NetworkResult, Result
from netmorph.tasks import Criterion
from netmorph.tasks.criterion import ACCURACY

ERROR = Criterion("rmse")


def network(id: int, validation: float, test: float | None, name: str = "accuracy") -> NetworkResult:
    return NetworkResult(id, {name: test}, {name: validation}, parameters=1, flops=1)


def result(arm: str, best: NetworkResult, evolved: NetworkResult, **baselines: NetworkResult) -> Result:
    others = {name: ArmResult(found, 1) for name, found in baselines.items()}
    return Result(best, arm, evolved, None, (), others, 1, 1.0, ())


EVOLVED, ALONE, RANDOM = network(7, 0.9, 0.9), network(3, 0.8, 0.8), network(5, 0.7, 0.7)


@pytest.mark.parametrize(
    ("arm", "evolved", "alone", "random", "expected"),
    [
        (
            "evolve", EVOLVED, ALONE, RANDOM,
            "The evolution found the best network (network 7, validation accuracy 90.00%, against 80.00% of the start "
            "network trained on alone and 70.00% of random search without inheritance).",
        ),
        (
            "alone", EVOLVED, network(3, 0.95, 0.93), RANDOM,
            "The start network trained on alone was better than the evolution (network 3, validation accuracy 95.00%, "
            "against 90.00%): more search does not pay here.",
        ),
        (
            "random", EVOLVED, ALONE, network(5, 0.95, 0.93),
            "Random search without inheritance was better than the evolution (network 5, validation accuracy 95.00%, "
            "against 90.00%): inheriting weights does not pay here.",
        ),
        (
            "evolve", EVOLVED, network(3, 0.9, 0.9), RANDOM,
            "The evolution found nothing better than the start network trained on alone (network 7, validation "
            "accuracy 90.00%, as there): more search does not pay here.",
        ),
        (
            "evolve", EVOLVED, EVOLVED, RANDOM,
            "Nothing was better than the start network as first trained (network 7, validation accuracy 90.00%): more "
            "search does not pay here.",
        ),
        (
            "evolve", EVOLVED, network(3, 0.8, 0.95), RANDOM,
            "The evolution found the best network (network 7, validation accuracy 90.00%, against 80.00% of the start "
            "network trained on alone and 70.00% of random search without inheritance); on the test set it is the "
            "other way round, 90.00% against 95.00%, so the difference means little.",
        ),
        (
            "evolve", network(7, 0.9, None), network(3, 0.8, None), network(5, 0.7, None),
            "So far the evolution found the best network (network 7, validation accuracy 90.00%, against 80.00% of the "
            "start network trained on alone and 70.00% of random search without inheritance).",
        ),
    ],
)  # fmt: skip
def test_one_sentence_says_what_searching_was_worth(
    arm: str, evolved: NetworkResult, alone: NetworkResult, random: NetworkResult, expected: str
) -> None:
    best = {"evolve": evolved, "alone": alone, "random": random}[arm]
    assert verdict(result(arm, best, evolved, alone=alone, random=random), ACCURACY) == expected


def test_it_says_so_where_the_number_that_is_told_is_not_what_chose() -> None:
    told = verdict(result("evolve", EVOLVED, EVOLVED, random=network(5, 0.91, 0.7)), ACCURACY)

    assert told == (
        "The evolution found the best network (network 7, validation accuracy 90.00%, against 91.00% of random search "
        "without inheritance; on so few samples networks are compared by how probable the right answers are)."
    )


def test_lower_may_be_better() -> None:
    evolved, alone = network(1, 5.0, 5.0, "rmse"), network(2, 4.0, 6.0, "rmse")
    assert verdict(result("alone", alone, evolved, alone=alone), ERROR) == (
        "The start network trained on alone was better than the evolution (network 2, validation rmse 4, against 5); "
        "on the test set it is the other way round, 6 against 5, so the difference means little: more search does not "
        "pay here."
    )


def test_where_nothing_was_compared_there_is_none() -> None:
    assert verdict(result("evolve", EVOLVED, EVOLVED), ACCURACY) is None
    assert verdict(Result(None, None, None, None, (), {}, 0, None, ()), ACCURACY) is None
