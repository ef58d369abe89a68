"""What the driver holds in memory is what the records would tell."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from netmorph.run.names import State
from netmorph.run.ranking import spent
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.search.networks import Networks
from tests.run.test_records import network


def assert_told_by(networks: Networks, records: Records) -> None:
    everything = records.networks()
    assert len(networks) == len(everything)
    assert networks.next_id == max((one.id for one in everything), default=0) + 1
    assert networks.planned() == [one for one in everything if one.state == "planned"]
    assert networks.latest_round == max((one.round for one in everything), default=-1)
    for arm in ("evolve", "mine"):
        own, totals = records.networks(arm), networks.totals(arm)
        assert networks.of(arm) == own
        assert totals.count == len(own)
        assert totals.spent == spent(own)
        assert totals.flops == {state: spent(one for one in own if one.state == state) for state in State}
        trained = [one for one in own if one.state == "trained"]
        assert totals.last_trained == (trained[-1].id if trained else None)
        assert totals.best == max((one.score or 0.0 for one in trained), default=None)
        for number in range(4):
            assert networks.in_round(arm, number) == [one for one in own if one.round == number]
        survivors = networks.survivors(arm)
        assert sorted(one.id for one in survivors) == [one.id for one in own if one.survivor]
        assert survivors == sorted(survivors, key=lambda one: -(one.score or 0.0))
    by_id = {one.id: one for one in everything}
    for one in everything:
        family = one
        while family.parent is not None:
            family = by_id[family.parent]
        assert networks.family(one.id) == family.id


def changed(one: NetworkRecord, draw: Random) -> NetworkRecord:
    if draw.random() < 0.2:
        return replace(one, state=State.FAILED, failure="no luck")
    return replace(
        one, state=State.TRAINED, score=draw.random(), numbers={"loss": 1.0}, training_flops=draw.randrange(99)
    )


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_put_the_answers_are_those_of_the_records(tmp_path: Path, seed: int) -> None:
    draw = Random(seed)
    with Records.create(tmp_path) as records:
        networks = Networks(records)
        assert_told_by(networks, records)
        for number in range(4):
            for _ in range(4):
                arm = draw.choice(("evolve", "mine"))
                parents = [one.id for one in networks.of(arm) if one.state == "trained"]
                parent = draw.choice([None, *parents])
                # Runs of before have gaps between ids.
                planned = network(
                    networks.next_id + draw.randrange(2), parent, arm=arm, round=number, state=State.PLANNED
                )
                networks.put(replace(planned, score=None, numbers={}, training_flops=draw.randrange(99)))
            assert_told_by(networks, records)
            for one in networks.planned():
                networks.put(changed(one, draw))
            for arm in ("evolve", "mine"):
                trained = [one.id for one in networks.of(arm) if one.state == "trained"]
                networks.set_survivors(arm, draw.sample(trained, min(2, len(trained))))
            assert_told_by(networks, records)
        assert_told_by(Networks(records), records)
