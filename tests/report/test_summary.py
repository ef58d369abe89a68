import json
import re
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console, RenderableType
from synthetic import START, TEXT, VALUES, classified, write_run

from netmorph.measure.classification import classification_report
from netmorph.report.listing import ancestry
from netmorph.report.summary import class_rows, class_table, summary, table, view
from netmorph.run.ranking import best, front
from netmorph.run.records import Records


def test_a_finished_run_gives_its_result(finished_run: Path) -> None:
    with Records.open(finished_run) as records:
        found, result = summary(records), records.meta("result")
        assert found["status"] == "finished"
        assert found["round"] == 6
        assert {key: found[key] for key in result} == result
        assert [network["id"] for network in found["networks"]] == [network.id for network in records.networks()]
    assert json.loads(json.dumps(found)) == found


def test_a_running_run_has_the_keys_of_a_finished_one(finished_run: Path, running_run: Path) -> None:
    with Records.open(finished_run) as records:
        finished = summary(records)
    with Records.open(running_run) as records:
        running = summary(records)
        networks = records.networks()
    assert running["status"] == "running"
    assert running.keys() == finished.keys()
    for key in ("best", "ensemble"):
        assert running[key].keys() == finished[key].keys()
        assert running[key]["test_accuracy"] is None
    assert running["best"]["validation_accuracy"] == max(network.score or 0 for network in networks)
    assert sorted(running["ensemble"]["members"]) == [network.id for network in networks if network.survivor]
    assert running["training_flops"] == sum(network.training_flops for network in networks)
    assert running["baselines"] == {}


def test_baselines_of_a_running_run(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        records.put_network(replace(START, score=0.8, training_flops=5))
        records.put_network(replace(START, id=1, arm="alone", parent=0, score=0.9, training_flops=7))
        records.put_network(replace(START, id=2, arm="random", score=0.6, training_flops=8))
        records.put_network(replace(START, id=3, arm="random", score=0.7, training_flops=9, survivor=True))
        baselines = summary(records)["baselines"]
    assert (baselines["alone"]["id"], baselines["alone"]["training_flops"]) == (1, 12)
    random = baselines["random"]
    assert (random["best"]["id"], random["training_flops"], random["networks"]) == (3, 17, 2)
    assert random["ensemble"]["members"] == [3]


def test_summary_of_an_empty_run(tmp_path: Path) -> None:
    with Records.create(tmp_path) as records:
        found = summary(records)
        assert (found["best"], found["ensemble"], found["members"], found["front"]) == (None, None, [], [])
        assert table(records).row_count == 0


def test_table_names_every_line(finished_run: Path) -> None:
    console = Console(width=160)
    with Records.open(finished_run) as records, console.capture() as capture:
        console.print(table(records))
        result = records.meta("result")
    text = capture.get()
    for name in (
        "Ensemble of the survivors",
        "Best network",
        "Start network trained on alone",
        "Random search",
    ):
        assert name in text
    assert f"{100 * result['ensemble']['test_accuracy']:.2f}%" in text
    for member in result["members"]:
        assert re.search(rf"Member +{member['id']} ", text)


def printed(what: RenderableType) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def test_the_view_of_a_tested_run_has_its_classes(finished_run: Path, running_run: Path) -> None:
    with Records.open(finished_run) as records:
        text = printed(view(records))
        report = records.meta("result")["classification"]
    assert "Ensemble of the survivors" in text
    assert text.index("All numbers on the test set") < text.index("Classes on the test set")
    row = next(line for line in text.splitlines() if line.startswith("│ class 7 "))
    assert f"{100 * report['classes'][7]['f1']:.2f}%" in row
    with Records.open(running_run) as records:
        assert "mean of the classes" not in printed(view(records))


def test_of_many_classes_the_worst_are_shown() -> None:
    report = classified(classes=200, samples=6000)
    text = printed(class_table(report))
    names = re.findall(r"^│ (class \d+) ", text, re.MULTILINE)
    assert names == [entry["name"] for entry in sorted(report["classes"], key=lambda entry: entry["f1"])[:10]]
    assert "The 10 worst of 200 classes" in text
    assert "6000" in text


def test_what_a_class_is_taken_for_is_its_most_frequent_error() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 2, 2])
    predictions = torch.tensor([1, 2, 2, 0, 1, 2, 2])
    rows = class_rows(classification_report(labels, predictions, ("[red]", "b", "c")))
    assert [row["taken_for"] for row in rows] == ["c (2)", "", ""]
    assert "[red]" in printed(class_table(classification_report(labels, predictions, ("[red]", "b", "c"))))


def test_a_result_of_before_there_were_classes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=2)
    with Records.resume(folder) as records:
        result = records.meta("result")
        del result["classification"]
        records.set_meta("result", result)
        assert "Best network" in printed(view(records))


def test_front_keeps_what_no_cheaper_network_beats() -> None:
    points = [(10, 0.5), (20, 0.4), (20, 0.7), (30, 0.7), (40, 0.9), (50, None), (5, None)]
    networks = [replace(START, id=i, flops=flops, score=accuracy) for i, (flops, accuracy) in enumerate(points)]
    assert [network.id for network in front(networks)] == [0, 2, 4]
    assert front(networks[-2:]) == []


def test_best_prefers_fewer_flops_among_equals() -> None:
    networks = [replace(START, id=i, flops=flops, score=0.9) for i, flops in enumerate((30, 10, 20))]
    champion = best(networks)
    assert champion is not None
    assert champion.id == 1
    assert best([]) is None


def test_ancestry_is_oldest_first_across_arms_and_ends_where_a_parent_is_missing() -> None:
    networks = [replace(START, id=4, parent=1), replace(START, id=7, parent=4, arm="alone")]
    assert [network.id for network in ancestry(networks, 7)] == [4, 7]
    assert ancestry(networks, 99) == []


def test_a_task_without_classes_shows_all_numbers_of_its_test(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=2, kind=TEXT)
    with Records.open(folder) as records:
        text, tested = printed(view(records)), records.meta("result")["ensemble"]
    assert "All numbers on the test set" in text
    assert "The unigrams" in text
    for name in ("loss", "accuracy", "perplexity"):
        assert name in text
        assert f"{tested[f'test_{name}']:.4g}" in text


def test_numbers_that_are_not_known_yet_have_no_table(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=2, finished=False, kind=VALUES)
    with Records.open(folder) as records:
        assert "All numbers" not in printed(view(records))
        assert "rmse" in printed(view(records))
