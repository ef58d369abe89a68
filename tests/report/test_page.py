import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic import (
    CLASSES,
    OWN,
    START,
    TEXT,
    VALUES,
    Kind,
    Run,
    classified,
    ensemble,
    entry,
    epoch_record,
    regressed,
    write_run,
)

from netmorph.errors import NetmorphError
from netmorph.measure.classification import classification_report
from netmorph.report import write, write_figures
from netmorph.run.database import RecordsError
from netmorph.run.records import Records
from netmorph.run.rows import EditRecord, NetworkRecord

OF_SEARCHES = ["tradeoff", "lineage", "curves", "spending", "edits", "ensemble"]
SECTIONS = [*OF_SEARCHES, "confusion", "calibration"]


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def figures(page: str) -> dict[str, ElementTree.Element]:
    sections = re.findall(r'<section id="(\w+)">(.*?)</section>', page, flags=re.DOTALL)
    found = {name: re.search(r"<svg .*</svg>", body, flags=re.DOTALL) for name, body in sections}
    return {name: ElementTree.fromstring(match.group()) for name, match in found.items() if match}


def write_networks(folder: Path, networks: list[NetworkRecord], meta: dict[str, Any] | None = None) -> Path:
    with Records.create(folder) as records:
        for network in networks:
            records.put_network(network)
        for key, value in (meta or {"status": "running", "round": 1}).items():
            records.set_meta(key, value)
    return folder


@pytest.fixture(scope="module")
def page(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(finished_run, tmp_path_factory.mktemp("page") / "page.html").read_text("utf-8")


def test_the_page_has_every_section_and_figure(page: str) -> None:
    ids = [attributes.get("id") for _, attributes in Elements(page).found]
    assert {"result", *SECTIONS, "classes", "networks", "making"} <= set(ids)
    assert list(figures(page)) == SECTIONS
    assert "Nothing to show yet" not in page


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    for tag, attributes in Elements(page).found:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img"}
        for name, value in attributes.items():
            if name in {"src", "href", "xlink:href", "data", "action"}:
                assert (value or "").startswith(("#", "data:image/png;base64,")), f"<{tag} {name}={value}>"
            assert not name.startswith("on"), f"<{tag} {name}>"
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_ids_are_unique_and_references_lead_somewhere(page: str) -> None:
    elements = Elements(page).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = re.findall(r"url\(#([^)]*)\)", page) + re.findall(r'href="#([^"]*)"', page)
    assert set(wanted) <= set(ids)


def test_figures_are_described_and_nodes_have_tooltips(page: str) -> None:
    space = "{http://www.w3.org/2000/svg}"
    for name, figure in figures(page).items():
        title = figure.find(f"{space}title")
        assert figure.get("role") == "img"
        assert title is not None
        assert figure.get("aria-labelledby") == title.get("id") == f"{name}-title"
        assert title.text
    tree = figures(page)["lineage"]
    tooltips = [title.text or "" for group in tree.iter(f"{space}g") for title in group.findall(f"{space}title")]
    assert len(tooltips) == 49
    assert any(tooltip.startswith("Network 12, round 2\n") for tooltip in tooltips)


def test_the_headline_and_the_table_hold_the_result(finished_run: Path, page: str) -> None:
    with Records.open(finished_run) as records:
        result = records.meta("result")
    head, numbers = page.split('id="result"')[0], page.split('id="result"')[1].split("</table>")[0]
    baselines = result["baselines"]
    for tested in (result["best"], result["ensemble"], baselines["alone"], baselines["random"]["ensemble"]):
        text = f"{100 * tested['test_accuracy']:.2f}%"
        assert text in head
        assert text in numbers


def test_the_same_run_gives_the_same_page(finished_run: Path, page: str, tmp_path: Path) -> None:
    assert write(finished_run, tmp_path / "again.html").read_text("utf-8") == page


def test_the_page_lies_in_the_run_by_default(tmp_path: Path) -> None:
    folder = write_networks(tmp_path / "run", [])
    assert write(folder) == folder / "report.html"
    assert "No network is trained yet." in (folder / "report.html").read_text("utf-8")


def test_a_running_run_shows_what_there_is(running_run: Path, tmp_path: Path) -> None:
    page = write(running_run, tmp_path / "page.html").read_text("utf-8")
    assert '<span class="status">running</span>' in page
    assert "17 networks trained so far" in page
    assert list(figures(page)) == OF_SEARCHES[:-1]
    assert page.count("Nothing to show yet") == 2


def test_a_single_network(tmp_path: Path) -> None:
    folder = write_networks(tmp_path, [replace(START, score=1.0, training_flops=100)])
    with Records.resume(folder) as records:
        records.add_epochs([epoch_record(0, 0, 0.1, 1.0, 0.1, 1.0, 0.1, 1.0)])
    page = write(folder).read_text("utf-8")
    assert list(figures(page)) == ["tradeoff", "lineage", "curves", "spending"]


def test_failed_and_planned_networks_and_losses_that_are_nan(tmp_path: Path) -> None:
    nan, run = float("nan"), Run()
    start = run.train(START, 0.3, 0.8)
    failed = replace(start, id=1, parent=0, round=1, state="failed", score=None, numbers={}, failure="loss is nan")
    planned = replace(failed, id=2, state="planned", failure=None)
    edits = (EditRecord("narrow score", "fc", 8, 4, 0.0, nan, nan),)
    folder = write_networks(tmp_path, [start, failed, planned, replace(start, id=3, parent=0, round=1, edits=edits)])
    with Records.resume(folder) as records:
        records.add_epochs([*run.epochs, epoch_record(3, 0, nan, 0.1, nan, nan, 0.1, 1.0)])
    page = write(folder).read_text("utf-8")
    assert "loss is nan" in page
    assert {"lineage", "curves", "edits"} <= figures(page).keys()


def test_nothing_but_failures(tmp_path: Path) -> None:
    page = write(write_networks(tmp_path, [replace(START, state="failed", failure="out of memory")])).read_text("utf-8")
    assert figures(page) == {}
    assert "out of memory" in page


def test_names_are_shown_and_never_run(tmp_path: Path) -> None:
    name = "<script>alert('&')</script>$x_{$"
    edit = EditRecord(f"widen {name}", f"features.{name}", 8, 12, 0.2, 1e-7, 0.0)
    start = replace(START, score=0.5, training_flops=10)
    child = replace(start, id=1, parent=0, round=1, edits=(edit,), failure=name)
    meta = {
        "status": name,
        "round": 1,
        "command": name,
        "title": name,
        "config": {"data": name, "model": name, name: [name]},
    }
    folder = write_networks(tmp_path, [start, child], meta)
    with Records.resume(folder) as records:
        records.add_epochs([epoch_record(id, 0, 0.1, 0.5, 0.1, 0.5, 0.1, 1.0) for id in (0, 1)])
    page = write(folder).read_text("utf-8")
    assert not any(tag == "script" for tag, _ in Elements(page).found)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 8
    assert {"lineage", "curves", "edits"} <= figures(page).keys()


def test_a_result_without_baselines(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rounds=2)
    with Records.resume(folder) as records:
        result = records.meta("result")
        records.set_meta("result", result | {"baselines": {"alone": None, "random": None}})
    page = write(folder).read_text("utf-8")
    assert list(figures(page)) == SECTIONS
    assert "For about the same training FLOPs" not in page


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(RecordsError, match="no run in"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


# -- the training of one network ---------------------------------------------------------------------------------------


def write_training(folder: Path, classes: int = 10, kind: Kind | None = None) -> Path:
    """`kind`: of the task; without one a run of before there were others than images in classes."""
    network, run = replace(START, survivor=True), Run()
    network = run.train(network, 0.3, 0.9, epochs=12)
    tested = entry(network, kind or CLASSES)
    result = {
        "best": tested,
        "ensemble": ensemble([network], kind or CLASSES),
        "members": [tested],
        "baselines": {},
        "training_flops": network.training_flops,
        "seconds": 8.0,
        "front": [network.id],
        **(kind.shown if kind else {"classification": classified(classes, samples=30 * classes)}),
    }
    meta = {"status": "finished", "round": 0, "config": {"task": "train"}, "result": result}
    return run.save(folder, [network.id], meta, kind)


def test_a_training_shows_its_curves_and_its_classes_and_nothing_of_a_search(tmp_path: Path) -> None:
    page = write(write_training(tmp_path / "run")).read_text("utf-8")
    assert list(figures(page)) == ["learning", "confusion"]
    assert "netmorph train" in page
    for word in ("nsemble", "evolution", "All 1 networks", "Nothing to show yet"):
        assert word not in page
    rows = page.split('id="classes"')[1].split("</table>")[0]
    assert [f"<td>class {label}</td>" in rows for label in range(10)] == [True] * 10
    assert "mean of the classes" in rows


def test_a_thousand_classes_stay_readable(tmp_path: Path) -> None:
    page = write(write_training(tmp_path / "run", classes=1000)).read_text("utf-8")
    first, everything, _ = page.split('id="classes"')[1].split("<details>")
    assert first.count("<td>class ") == 10
    assert everything.count("<td>class ") == 1000
    matrix = "".join(figures(page)["confusion"].itertext())
    assert "25 of 1000 classes" in matrix
    assert len(set(re.findall(r"class \d+", matrix))) <= 25 + 2 * 15


def test_a_training_that_has_not_begun_has_a_page(tmp_path: Path) -> None:
    folder = Run().save(tmp_path / "run", [], {"status": "interrupted", "round": 0, "config": {"task": "train"}})
    assert write(folder).read_text("utf-8").count("Nothing to show yet") == 2


def test_figures_are_written_as_files(finished_run: Path, tmp_path: Path) -> None:
    run = write_training(tmp_path / "run")
    assert write_figures(run) == [run / "figures" / "learning.png", run / "figures" / "confusion.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (run / "figures").iterdir())
    (tree, *_) = write_figures(finished_run, ".svg", tmp_path / "elsewhere")
    assert tree == tmp_path / "elsewhere" / "tradeoff.svg"
    assert ElementTree.parse(tree).getroot().tag.endswith("svg")


def test_a_kind_of_figure_that_nobody_draws_is_refused(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(NetmorphError, match=r"png.*svg.*got 'doc'"):
        write_figures(finished_run, "doc", tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_perfect_predictions_are_drawn(tmp_path: Path) -> None:
    folder = write_training(tmp_path / "run")
    with Records.resume(folder) as records:
        labels = torch.arange(300) % 30
        report = classification_report(labels, labels, [f"class {label}" for label in range(30)])
        records.set_meta("result", records.meta("result") | {"classification": report})
    assert "No errors" in "".join(figures(write(folder).read_text("utf-8"))["confusion"].itertext())


# -- other tasks than classes ------------------------------------------------------------------------------------------


def numbers_of(page: str) -> list[list[str]]:
    """The table of all numbers of the test, row by row, without the one that names the columns."""
    table = page.split('id="numbers"')[1].split("</table>")[0]
    return [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", table)[1:]]


def test_all_numbers_of_the_test_stand_beside_those_of_a_constant_answer(tmp_path: Path) -> None:
    page = write(write_training(tmp_path / "run", kind=VALUES)).read_text("utf-8")
    assert "rmse chooses" not in page.split('id="numbers"')[0]
    assert re.findall(r"<th scope=\"col\">(\w+)</th>", page.split('id="numbers"')[1])[:4] == [
        "rmse",
        "loss",
        "mae",
        "r2",
    ]
    best, constant = numbers_of(page)
    with Records.open(tmp_path / "run") as records:
        tested = records.meta("result")["best"]
    assert best == ["Best network", *(f"{tested[f'test_{name}']:.4g}" for name in ("rmse", "loss", "mae", "r2"))]
    assert constant == ["The mean", "77.25", "1", "65.5", "-0.25"]
    assert "the mean would reach 77.25" in page


@pytest.mark.parametrize(
    ("kind", "last"),
    [(VALUES, ["values"]), (TEXT, ["positions"]), (OWN, []), (CLASSES, ["confusion", "calibration"])],
)
def test_each_task_shows_what_suits_it(kind: Kind, last: list[str], tmp_path: Path) -> None:
    trained = write(write_training(tmp_path / "training", kind=kind)).read_text("utf-8")
    evolved = write(write_run(tmp_path / "run", rounds=2, kind=kind)).read_text("utf-8")
    assert list(figures(trained)) == ["learning", *last]
    assert list(figures(evolved)) == [*OF_SEARCHES, *last]
    for page in (trained, evolved):
        assert "Nothing to show yet" not in page
        assert ("accuracy" in page) == (kind in (CLASSES, TEXT))
        assert ("%" in page.split("<body>")[1]) == (kind is CLASSES)
        assert ('id="classes"' in page) == (kind is CLASSES)


def test_a_text_is_shown_and_never_run(tmp_path: Path) -> None:
    page = write(write_training(tmp_path / "run", kind=TEXT)).read_text("utf-8")
    assert "<pre><span>To be &lt;b&gt;</span>, or not &amp; to</pre>" in page
    assert "temperature of 0.8" in page
    assert list(figures(page)["learning"].itertext()).count("loss") == 1  # the number that chooses is not drawn twice


def test_tokens_that_nothing_decodes_have_no_text_to_show(tmp_path: Path) -> None:
    folder = write_training(tmp_path / "run", kind=TEXT)
    with Records.resume(folder) as records:
        result = records.meta("result")
        told = {name: result["text"][name] for name in ("positions", "losses")}
        records.set_meta("result", result | {"text": told})
    page = write(folder).read_text("utf-8")
    assert 'id="sample"' not in page
    assert "positions" in figures(page)


def test_every_column_of_the_target_has_its_panels(tmp_path: Path) -> None:
    kind = replace(VALUES, shown={"values": regressed(columns=3)})
    page = write(write_training(tmp_path / "run", kind=kind)).read_text("utf-8")
    shown = "".join(figures(page)["values"].itertext())
    assert [f"true value (column {number} of the target)" in shown for number in (1, 2, 3, 4)] == [True] * 3 + [False]
    assert "1000 of 2000 samples are drawn" in page


def test_predictions_that_are_not_finite_leave_an_empty_figure(tmp_path: Path) -> None:
    report = {"samples": 5, "columns": [{"true": [], "predicted": [], "edges": [], "counts": []}]}
    folder = write_training(tmp_path / "run", kind=replace(VALUES, shown={"values": report}))
    assert "values" in figures(write(folder).read_text("utf-8"))


def test_a_result_of_before_its_task_had_something_to_show(tmp_path: Path) -> None:
    page = write(write_training(tmp_path / "run", kind=replace(TEXT, shown={}))).read_text("utf-8")
    assert list(figures(page)) == ["learning"]
    assert page.count("Nothing to show yet") == 1
    assert len(numbers_of(page)) == 1


def test_rounding_of_exact_edits_does_not_fill_the_axis(tmp_path: Path) -> None:
    edit = EditRecord("widen r2r", "fc", 8, 12, 0.2, 1e-7, 1e-9)
    start = replace(START, score=0.5, training_flops=10)
    folder = write_networks(tmp_path, [start, replace(start, id=1, parent=0, round=1, edits=(edit,))])
    shown = "".join(figures(write(folder).read_text("utf-8"))["edits"].itertext())
    assert "0.1" in shown
    assert "1e−" not in shown
