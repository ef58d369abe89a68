import pytest

from benchmarks.guides import MOST, ROWS, names, volume
from netmorph.run.names import Guidance


def test_every_guide_has_a_row_and_the_first_one_leads() -> None:
    assert {*Guidance} < ROWS.keys()
    assert names(["rank", "recipe"]) == {"rank": "evolve", "recipe": "recipe"}


def test_volumes_are_shares_of_what_could_be_dominated() -> None:
    assert volume([(1.0, 0.25)], 0.8) == pytest.approx(1)
    assert volume([(0.9, 0.25), (0.7, 0.25)], 0.8) == pytest.approx(0.5)
    assert volume([(1.0, 4.0)], 0.8) == pytest.approx(0.5)
    assert volume([(1.0, MOST)], 0.8) == pytest.approx(0)
