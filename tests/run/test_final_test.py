from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from netmorph.data import Dataset, load, tensors
from netmorph.edit import Base
from netmorph.measure import calibration_report
from netmorph.run.final_test import WRITTEN, FinalTest
from netmorph.run.findings import result_of
from netmorph.run.names import Stage
from netmorph.run.records import Records
from netmorph.run.result import EnsembleResult, Exhibits, NetworkResult, Result
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.tasks import Task
from netmorph.train import generate
from netmorph.train.recipe import Recipe
from tests.train.small import CLASSES, dataset

DATA = dataset()
BASE = Base("mlp", {"input_shape": [1, 6, 6], "classes": len(CLASSES), "hidden": []})
ARMS = ((1, "evolve", True), (2, "evolve", True), (3, "evolve", False), (4, "alone", False), (5, "random", True))


def record(id: int, arm: str, survivor: bool) -> NetworkRecord:
    return NetworkRecord(
        id=id,
        arm=arm,
        round=0 if id == 1 else 1,
        parent=1 if id in (2, 3, 4) else None,
        seed=0,
        state="trained",
        parameters=10 * id,
        flops=100 * id,
        training_flops=1000 * id,
        seconds=0.0,
        score=0.5 + id / 100,
        numbers={"loss": 1.0, "accuracy": 0.5 + id / 100},
        survivor=survivor,
        edits=(),
        failure=None,
    )


@pytest.fixture
def run(tmp_path: Path) -> tuple[Records, NetworkStore, dict[int, nn.Module]]:
    """Five untrained networks, as if two rounds had made them."""
    store, models = NetworkStore(tmp_path, BASE, Recipe()), {}
    with Records.create(tmp_path) as records:
        for id, arm, survivor in ARMS:
            torch.manual_seed(id)
            models[id] = BASE.build()
            store.put(id, Stage.TRAINED, models[id], (), None)
            records.put_network(record(id, arm, survivor))
        yield records, store, models


@torch.no_grad()
def probabilities(model: nn.Module) -> Tensor:
    images = (DATA.test.inputs.float() / 255 - DATA.preparation.mean[0]) / DATA.preparation.std[0]
    return model.eval()(images).softmax(1)


def accuracy(*models: nn.Module) -> float:
    mean = sum(probabilities(model) for model in models)
    return (mean.argmax(1) == DATA.test.targets).double().mean().item()


def concluded(records: Records, store: NetworkStore, views: int = 1) -> Result:
    records.set_meta("round", 1)
    return result_of(records, FinalTest(store, DATA, views), seconds=12.5)


def test_networks_and_ensembles_are_tested_as_by_hand(run) -> None:
    records, store, models = run
    found = concluded(records, store)
    numbers = {"loss": 1.0, "accuracy": 0.52}
    assert found.evolved == NetworkResult(2, found.evolved.test, numbers, parameters=20, flops=200)
    assert found.evolved.test["accuracy"] == accuracy(models[2])
    assert (found.best.id, found.arm) == (5, "random"), "the best of all arms"
    assert found.best.test["accuracy"] == accuracy(models[5])
    assert [member.id for member in found.members] == [2, 1]
    assert found.ensemble == EnsembleResult(found.ensemble.test, parameters=30, flops=300, members=(2, 1))
    assert found.ensemble.test["accuracy"] == accuracy(models[1], models[2])
    assert found.training_flops == 6000
    assert found.seconds == 12.5
    assert found.front == (1, 2, 3)
    classes = found.exhibits.classification
    assert classes["accuracy"] == found.ensemble.test["accuracy"]
    assert [entry["name"] for entry in classes["classes"]] == list(CLASSES)
    assert sum(count for *_, count in classes["confusion"]) == len(DATA.test)
    sure = found.exhibits.calibration
    own = calibration_report(probabilities(models[5]), DATA.test.targets)
    assert sure["best"]["ece"] == pytest.approx(own["ece"], rel=1e-5)
    assert sure["ensemble"]["nll"] == pytest.approx(found.ensemble.test["loss"], rel=1e-5)
    most_frequent = DATA.train.targets.bincount().argmax()
    assert found.constant.name == "the most frequent class"
    assert found.constant.test["accuracy"] == (DATA.test.targets == most_frequent).double().mean().item()
    alone, random = found.baselines["alone"], found.baselines["random"]
    assert (alone.best.id, alone.best.test["accuracy"], alone.training_flops) == (4, accuracy(models[4]), 5000)
    assert (random.best.id, random.networks, random.training_flops) == (5, 1, 5000)
    assert random.ensemble.test["accuracy"] == accuracy(models[5])


def test_with_two_views_the_test_asks_mirror_images_too(run) -> None:
    records, store, models = run
    images = (DATA.test.inputs.float() / 255 - DATA.preparation.mean[0]) / DATA.preparation.std[0]
    with torch.no_grad():
        logits = models[2].eval()(images) + models[2](images.flip(3))
    expected = (logits.argmax(1) == DATA.test.targets).double().mean().item()
    assert concluded(records, store, views=2).evolved.test["accuracy"] == expected


def test_the_start_network_may_be_the_best_of_its_own_chain(run) -> None:
    records, store, _ = run
    records.put_network(replace(record(4, "alone", False), score=0.1))
    assert concluded(records, store).baselines["alone"].best.id == 1


def test_a_beaten_network_is_not_on_the_front_and_a_failed_one_nowhere(run) -> None:
    records, store, _ = run
    records.put_network(replace(record(3, "evolve", False), score=0.5, flops=150))
    records.put_network(replace(record(2, "evolve", True), score=None, numbers={}, state="failed"))
    found = concluded(records, store)
    assert found.front == (1,)
    assert [member.id for member in found.members] == [1]


def test_arms_that_made_nothing_are_left_out(tmp_path: Path) -> None:
    store = NetworkStore(tmp_path, BASE, Recipe())
    store.put(1, Stage.TRAINED, BASE.build(), (), None)
    with Records.create(tmp_path) as records:
        records.put_network(record(1, "evolve", True))
        assert concluded(records, store).baselines == {}


# -- what is shown of other tasks --------------------------------------------------------------------------------------


def finally_tested(folder: Path, data: Dataset, base: Base, count: int = 2) -> tuple[Result, list[nn.Module]]:
    """What is found of untrained networks, all survivors."""
    store, models = NetworkStore(folder, base, Recipe()), []
    with Records.create(folder) as records:
        records.set_meta("round", 0)
        for id in range(1, count + 1):
            torch.manual_seed(id)
            models.append(base.build().eval())
            store.put(id, Stage.TRAINED, models[-1], (), None)
            records.put_network(replace(record(id, "evolve", True), round=0))
        found = result_of(records, FinalTest(store, data), 0.0)
        records.set_meta("result", found.as_json())
        assert Result.from_json(records.meta("result")) == found  # and it is JSON
    return found, models


def test_values_stand_beside_true_ones_and_the_mean_of_the_train_targets(tmp_path: Path) -> None:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    data = tensors(x, 50 + 10 * x[:, :1] - 4 * x[:, 1:2])
    base = Base("mlp", {"input_shape": [3], "classes": 1, "hidden": [4]})
    found, models = finally_tested(tmp_path, data, base)

    targets, train = data.test.targets, data.train.targets.double()
    (column,) = found.exhibits.values["columns"]
    assert column["true"] == targets[:, 0].tolist()
    with torch.no_grad():
        inputs = data.preparation(data.test.inputs, torch.empty(0))
        outputs = torch.stack([model(inputs) for model in models]).mean(0)
    expected = outputs * train.std(correction=0) + train.mean()
    torch.testing.assert_close(torch.tensor(column["predicted"]), expected[:, 0].float())
    assert sum(column["counts"]) == len(targets)
    assert found.exhibits.classification is None
    assert found.constant.test["rmse"] == pytest.approx((targets - train.mean()).square().mean().sqrt().item())
    assert found.constant.test["r2"] <= 0


def test_a_text_is_continued_and_compared_with_unigrams(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("the cat sat on the mat, and the dog on the log. " * 100)
    data = load(tmp_path / "text.txt", task="text", window=9)
    base = Base("gpt", {"input_shape": [9], "classes": data.outputs, "channels": 8, "heads": 2, "depth": 1})
    (tmp_path / "run").mkdir()
    found, models = finally_tested(tmp_path / "run", data, base)

    text = found.exhibits.text
    assert text["positions"] == list(range(1, 10))
    assert sum(text["losses"]) / 9 == pytest.approx(found.ensemble.test["loss"], rel=1e-5)
    assert text["start"] == data.encoder.decode(data.test.head(1)[0])
    again = generate(models, data.test.head(1)[0], data, count=WRITTEN, temperature=text["temperature"])
    assert text["continued"] == data.encoder.decode(again)
    counts = torch.bincount(data.train.targets.flatten(), minlength=data.outputs) + 1
    shares = counts.double() / counts.sum()
    loss = -shares[data.test.targets.flatten().long()].log().mean()
    assert found.constant.test["loss"] == pytest.approx(loss.item(), rel=1e-6)
    assert found.constant.test["perplexity"] == pytest.approx(loss.exp().item(), rel=1e-6)


def test_long_windows_are_shown_at_a_few_positions(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a rose is " * 500)
    data = replace(load(tmp_path / "text.txt", task="text", window=130), encoder=None)
    base = Base("gpt", {"input_shape": [130], "classes": data.outputs, "channels": 4, "heads": 1, "depth": 1})
    (tmp_path / "run").mkdir()
    found, _ = finally_tested(tmp_path / "run", data, base, count=1)
    assert found.exhibits.text.keys() == {"positions", "losses"}  # nothing decodes these tokens
    assert len(found.exhibits.text["losses"]) == len(found.exhibits.text["positions"]) == 64
    assert found.exhibits.text["positions"][0] == 2  # the mean of 1, 2 and 3


def test_a_task_of_ones_own_tells_its_numbers_alone(tmp_path: Path) -> None:
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    data = tensors(x, x[:, :1], task=Task("mine", torch.nn.functional.l1_loss), outputs=1)
    base = Base("mlp", {"input_shape": [3], "classes": 1, "hidden": [4]})
    found, _ = finally_tested(tmp_path, data, base)
    assert found.exhibits == Exhibits()
    assert found.constant is None
    assert found.best.test.keys() == {"loss"}


def test_a_head_wider_than_the_classes_is_told_of(tmp_path: Path) -> None:
    base = Base("mlp", {"input_shape": [1, 6, 6], "classes": len(CLASSES) + 2, "hidden": []})
    store, model = NetworkStore(tmp_path, base, Recipe()), base.build()
    with torch.no_grad():
        model.fc1.weight.zero_()
        model.fc1.bias.copy_(torch.arange(len(CLASSES) + 2.0))
    store.put(1, Stage.TRAINED, model, (), None)
    only = record(1, "evolve", True)
    report = FinalTest(store, DATA).exhibits([only], only).classification
    names = [*CLASSES, f"output {len(CLASSES)}", f"output {len(CLASSES) + 1}"]
    assert [entry["name"] for entry in report["classes"]] == names
    assert {predicted for _, predicted, _ in report["confusion"]} == {len(CLASSES) + 1}
    assert report["accuracy"] == 0
