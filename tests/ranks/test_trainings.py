import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from netmorph.data import Dataset, Split
from netmorph.errors import MissingExtra
from netmorph.ranks import StudyConfig, StudyError, answers, config_of, read, study, write
from netmorph.ranks.architectures import Architecture
from netmorph.ranks.rows import trained, write_rows
from netmorph.ranks.trainings import conditions, groups, saturated, together
from netmorph.run.config import DataConfig
from netmorph.run.lock import RunInUse, RunLock
from netmorph.train.history import Epoch, History
from tests.ranks.written import PLAIN, row
from tests.train.small import dataset

SMALL = StudyConfig(
    DataConfig("digits", train_size=60), networks=6, repeated=3, widths=(4, 8), depths=(2, 3), epochs=2, every=1,
    stacked=False,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _data_of_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataConfig, "load", lambda self: dataset(train=60))


def ignore(line: str) -> None:
    """What a study tells."""


def without_time(folder: Path) -> list[object]:
    return [replace(each, seconds=0.0) for each in read(folder)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole study."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataConfig, "load", lambda self: dataset(train=60))
        study(folder, SMALL, command="netmorph ranks study", tell=ignore)
    return folder


def test_a_study_trains_every_network_under_every_condition(finished: Path) -> None:
    rows = read(finished)

    for name in ("true", "small", "shuffled"):
        assert [each.network for each in rows if each.condition == name] == list(range(6))
    assert [each.network for each in trained(rows, "again")] == [0, 1, 2]
    for each in rows:
        assert [look.epoch for look in each.looks] == [0, 1, 2]
        assert len(each.hidden) == len(each.architecture.widths)
        assert all(look.values for look in each.looks)  # epochs 0, 1 and 2 are doubled ones
    by_name = {name: trained(rows, name)[0] for name in ("true", "again", "shuffled")}
    assert by_name["true"].first.weights == by_name["shuffled"].first.weights
    assert by_name["true"].first.weights != by_name["again"].first.weights


def test_the_last_look_is_at_the_weights_of_the_last_epoch_not_the_best() -> None:
    """At such a rate the first epoch is the best, and the weights move on."""
    shape = replace(PLAIN, widths=(6, 6), learning_rate=0.3)
    data = dataset(train=60)

    short, long = (
        together({0: shape}, "true", data, replace(SMALL, epochs=epochs, every=epochs))[0] for epochs in (3, 9)
    )
    again = together({0: shape}, "true", data, replace(SMALL, epochs=9, every=3))[0]

    assert again.looks[1].weights == short.last.weights
    assert again.last.weights == long.last.weights


def test_a_study_that_was_stopped_goes_on_and_ends_with_the_same(finished: Path, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        told.append(line)
        if len(told) == 4:
            raise KeyboardInterrupt

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path, SMALL, tell=stop)
    assert len(read(tmp_path)) == 4

    study(tmp_path, SMALL, tell=told.append)

    assert len(told) == 21
    assert without_time(tmp_path) == without_time(finished)
    study(tmp_path, SMALL, tell=told.append)
    assert len(told) == 21, "nothing is trained twice"


def test_stacked_networks_are_kept_by_groups(tmp_path: Path, finished: Path) -> None:
    rows = study(tmp_path, replace(SMALL, stacked=True), tell=ignore)

    alone = read(finished)
    assert [(each.condition, each.network) for each in rows] == [(each.condition, each.network) for each in alone]
    for ours, theirs in zip(rows, alone, strict=True):
        assert ours.last.train["loss"] == pytest.approx(theirs.last.train["loss"], rel=1e-3)
        assert ours.last.weights["head"]["stable_rank"] == pytest.approx(
            theirs.last.weights["head"]["stable_rank"], rel=1e-2
        )


@pytest.mark.parametrize("stacked", [True, False])
def test_a_network_that_diverges_is_told_and_left_out(stacked: bool) -> None:
    shapes = [replace(PLAIN, widths=(4, 4), learning_rate=rate) for rate in (0.01, 1e30, 0.02)]
    group = dict(zip((3, 5, 8), shapes, strict=True))

    rows = together(group, "true", dataset(train=60), replace(SMALL, stacked=stacked))

    assert {each.network: each.failure is None for each in rows} == {3: True, 5: False, 8: True}
    failed = next(each for each in rows if each.network == 5)
    assert "the loss" in str(failed.failure)
    assert failed.looks == ()


def test_failed_networks_are_kept_like_others(tmp_path: Path) -> None:
    kept = [row(0, (4.0,)), replace(row(1, (4.0,)), looks=(), test={}, failure="diverged")]
    write_rows(tmp_path / "rows" / "true-0000.jsonl", kept)

    assert read(tmp_path) == kept
    assert trained(kept) == kept[:1]


def test_conditions_differ_in_labels_and_samples_alone() -> None:
    data = dataset(train=60)
    found = conditions(data, SMALL)
    train = {name: each.train for name, each in found.items()}

    assert torch.equal(train["shuffled"].inputs, train["true"].inputs)
    assert not torch.equal(train["shuffled"].targets, train["true"].targets)
    assert torch.equal(train["shuffled"].targets.sort().values, train["true"].targets.sort().values)
    assert len(train["small"]) == 60
    assert len(train["small"].inputs.flatten(1).unique(dim=0)) == 6
    again = conditions(data, SMALL)
    assert all(torch.equal(each.train.targets, again[name].train.targets) for name, each in found.items())


def constant(inputs: bool) -> Dataset:
    data = dataset(train=20)
    train = data.train
    assert isinstance(train, Split)
    same = Split(train.inputs[:1].expand_as(train.inputs), train.targets)
    return replace(data, train=same if inputs else Split(train.inputs, torch.zeros_like(train.targets)))


@pytest.mark.parametrize("inputs", [True, False])
def test_constant_data_is_refused_and_leaves_no_study(
    inputs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataConfig, "load", lambda self: constant(inputs))

    with pytest.raises(StudyError, match="columns is constant"):
        study(tmp_path, SMALL, tell=ignore)

    assert not (tmp_path / "study.json").exists()


def test_data_without_classes_is_refused() -> None:
    with pytest.raises(StudyError, match="has no classes"):
        conditions(replace(dataset(), classes=()), SMALL)


def test_the_folder_of_another_study_is_left_alone(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"holds another study .* --resume"):
        study(finished, replace(SMALL, epochs=3), tell=ignore)
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(StudyError, match="not empty, and holds no study"):
        study(tmp_path, SMALL, tell=ignore)
    with RunLock(finished), pytest.raises(RunInUse, match="in use by process"):
        study(finished, SMALL, tell=ignore)


def test_what_a_folder_holds_is_told(finished: Path, tmp_path: Path) -> None:
    assert config_of(finished) == SMALL
    with pytest.raises(StudyError, match="holds no run of netmorph ranks study"):
        config_of(tmp_path)
    (tmp_path / "study.json").write_text('{"config": {"networks": "many"}}')
    with pytest.raises(StudyError, match=r"study\.json is damaged"):
        config_of(tmp_path)
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "true-0000.jsonl").write_text('{"network": 0')
    with pytest.raises(StudyError, match=r"true-0000\.jsonl is damaged .* remove it"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"networks": 4}, "networks must be at least 5"),
        ({"widths": (8, 4)}, "widths are the smallest and the largest"),
        ({"depths": (0, 4)}, "depths are the smallest and the largest"),
        ({"repeated": 1}, "repeated=1"),
        ({"small": 1.0}, r"small=1\.0"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_what_makes_no_study_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)  # type: ignore[arg-type]


def history(losses: list[float]) -> History:
    numbers = [{"loss": loss, "accuracy": 0.5} for loss in losses]
    return History(Epoch(place, each, each, 0.5, 0.1, 1.0) for place, each in enumerate(numbers, start=1))


def test_a_loss_is_flat_where_it_falls_no_more() -> None:
    falling = [2.3 * 0.97**number for number in range(60)]
    waiting = [2.3] * 20

    assert not saturated(history(falling))
    assert saturated(history(falling + [falling[-1]] * 8))
    assert not saturated(history(waiting)), "shuffled labels take their time"
    assert saturated(history(waiting * 2))
    assert saturated(history([1.0 * 0.8**number for number in range(40)])), "as good as zero"


def test_networks_of_a_kind_are_trained_together() -> None:
    other = replace(PLAIN, optimizer="adamw")
    wider = Architecture((30, 9), False, 16, 0.5, 0.1, "sgd")

    assert groups([PLAIN, other, wider], apart=False) == [[0, 2], [1]]
    assert groups([PLAIN, other, wider], apart=True) == [[0], [1], [2]]


def test_the_page_tells_of_a_finished_study(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "ROUNDS", 20)

    text = write(finished).read_text()

    assert "netmorph ranks study" in text
    for title in ("Did ranks settle?", "What the converged rank goes with", "Memorizing", "All networks"):
        assert title in text
    assert {"courses.png", "gradients.png", "noise.png", "spectra-true.png", "width.png"} <= {
        file.name for file in (finished / "figures").iterdir()
    }


def test_too_few_networks_make_no_page(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"config": {}, "command": "", "machine": {}, "versions": {}}))
    write_rows(tmp_path / "rows" / "true-0000.jsonl", [row(number, (4.0,)) for number in range(4)])

    with pytest.raises(StudyError, match="has 4 networks that were trained"):
        write(tmp_path)


def test_the_extra_that_draws_is_named(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(MissingExtra, match=r"netmorph\[report\]"):
        write(finished)
