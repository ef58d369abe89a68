from dataclasses import replace

import pytest

from netmorph.report.noise import noise, standard_error
from netmorph.run.rows import NetworkRecord
from netmorph.tasks.criterion import ACCURACY, BY_LOSS

ONE = NetworkRecord(1, "evolve", 0, None, 0, "trained", 1, 1, 1, 0.0, 0.9, {"loss": 1.0}, False, (), None)  # type: ignore[arg-type]
NETWORKS = [replace(ONE, id=1 + number, score=score) for number, score in enumerate((0.9, 0.88, 0.869, None))]


def test_how_many_networks_the_validation_set_cannot_tell_from_the_best() -> None:
    assert standard_error(0.9, 100) == pytest.approx(0.03)
    assert noise(NETWORKS, ACCURACY, 100) == (
        "Validation has 100 samples: one is 1.00%, and 90.00% is known to about ±3.00%. "
        "Within that of the best: 1 of the other 2 networks."
    )


@pytest.mark.parametrize(
    ("networks", "criterion", "samples"),
    [(NETWORKS, BY_LOSS, 100), (NETWORKS, ACCURACY, None), (NETWORKS[:1], ACCURACY, 100), ([], ACCURACY, 100)],
)
def test_nothing_is_said_of_what_is_not_known(networks: list, criterion: object, samples: int | None) -> None:
    assert noise(networks, criterion, samples) is None
