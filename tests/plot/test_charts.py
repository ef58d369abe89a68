"""Charts: what is compared, said and written."""

import csv
import io
from pathlib import Path
from xml.etree import ElementTree

import pytest

from netmorph.errors import MissingExtra
from netmorph.plot import BANDS, COLUMN, PAGE, Size, chart, described, read
from netmorph.plot.drawing import _style, figure_of
from netmorph.plot.values import Curve, Mark, PlotError, Run
from tests.plot.made_runs import training

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Run]:
    """Two optimizers with three seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        training(folder / f"adamw-{seed}", seed, "adamw")
        training(folder / f"sgd-{seed}", seed, "sgd", speed=1.5)
    return read(folder)


def made(values, axis="step", **more):
    return Run("p/a", {}, None, {"loss": Curve({axis: range(1, len(values) + 1)}, values, **more)})


def test_methods_with_seeds_are_means_with_bands_and_the_caption_says_so(runs):
    shown = chart(runs, ["accuracy/validation"], axis="flops")

    assert [(line.label, line.runs) for line in shown.lines] == [("optimizer adamw", 3), ("optimizer sgd", 3)]
    assert shown.caption() == (
        "validation accuracy by training FLOPs: optimizer adamw, optimizer sgd. Lines: mean of 3 runs; bands: 95% "
        "interval of the mean (Student's t, point by point)."
    )
    assert "lowest to highest run" in chart(runs, ["loss/train"], band=BANDS["range"]).caption()
    assert "bands" not in chart(runs, ["loss/train"], band=None).caption()
    assert "weight 0.5" in chart(runs, ["loss/train"], smooth=0.5).caption()


def test_panels(runs):
    titles = [panel.title for panel in chart(runs).panels]
    assert titles == ["validation loss", "validation accuracy"]
    alone = chart(runs[:1])
    assert [[line.label for line in panel.lines] for panel in alone.panels] == [["train", "validation"]] * 2
    joined = chart(runs, ["loss/*", "learning_rate"])
    assert [panel.title for panel in joined.panels] == ["loss", "learning rate"]
    assert [line.label for line in joined.panels[0].lines][:2] == [
        "optimizer adamw, train",
        "optimizer adamw, validation",
    ]


def test_the_data_stands_beside_and_is_read_back(runs, tmp_path):
    shown = chart(runs, ["accuracy/validation"])
    picture, data = shown.save(tmp_path / "figure.svg")

    rows = list(csv.DictReader(io.StringIO(data.read_text())))
    line = shown.lines[0]
    assert [float(row["y"]) for row in rows[:6]] == line.y.tolist()
    assert [float(row["low"]) for row in rows[:6]] == line.low.tolist()
    assert {row["line"] for row in rows} == {"optimizer adamw", "optimizer sgd"}
    tree = ElementTree.fromstring(picture.read_text())
    assert tree.attrib["role"] == "img"
    assert tree.find(f"{SVG}title").text == shown.title()
    assert tree.find(f"{SVG}desc").text == shown.text()
    assert "validation accuracy, optimizer sgd: " in shown.text()
    assert tree.attrib["width"] == f"{72 * 3.25:g}pt"
    shown.save(tmp_path / "again.svg")
    assert (tmp_path / "again.svg").read_bytes() == picture.read_bytes()


def test_pictures_in_pixels_and_for_print_say_what_they_show(runs, tmp_path):
    from PIL import Image

    shown = chart(runs[:1], ["loss/train"])
    shown.save(tmp_path / "f.png", PAGE)
    shown.save(tmp_path / "f.pdf")

    with Image.open(tmp_path / "f.png") as picture:
        assert picture.size[0] == 300 * 6.75
        assert picture.info["Description"] == shown.text()
    content = (tmp_path / "f.pdf").read_bytes()
    assert b"/Subtype /Type3" not in content, "journals refuse such fonts"
    assert b"/Subject" in content


@pytest.mark.parametrize("count", [2, 7])
def test_the_legend_covers_nothing_and_fits(count, tmp_path):
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    runs = [
        Run(f"p/a run whose name is long {n}", {}, None, {"loss": Curve({"step": [1, 2]}, [n, n + 1.0])})
        for n in range(count)
    ]
    with rc_context(_style(COLUMN)):
        figure = figure_of(chart(runs), COLUMN)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        legend = figure.legends[0].get_window_extent(canvas.get_renderer())
        (axes,) = figure.axes
        assert not legend.overlaps(axes.get_tightbbox(canvas.get_renderer()))
        assert legend.x1 <= figure.bbox.x1
        assert legend.y1 <= figure.bbox.y1
        assert axes.get_window_extent().height > 1.3 * figure.dpi


def test_what_happened_is_told_in_words_and_ticks(tmp_path):
    shown = chart([made([3.0, 2.0, 1.0], marks=(Mark(0.5, "grew"), Mark(1, "grew $again_")))])
    shown.save(tmp_path / "f.svg")

    assert "grew $again_" in (tmp_path / "f.svg").read_text()
    assert "Ticks on a line" in shown.caption()
    assert "changed at 1.5 (grew), 2 (grew $again_)" in shown.text()


def test_logarithmic_axes(tmp_path):
    shown = chart([made([1000.0, 0.0, 1e-5])], log_x=True, log_y=True)
    shown.save(tmp_path / "f.svg")

    assert "10⁻⁵" in (tmp_path / "f.svg").read_text()
    with pytest.raises(PlotError, match="loss has no loss above 0, which a logarithmic axis could show"):
        chart([made([0.0, -1.0])], log_y=True)


def test_what_the_reader_has_to_know_is_noted(runs):
    short = [*runs[:2], Run("p/short", runs[0].settings, 2, {"loss/train": Curve({"epoch": [1, 2]}, [1.0, 2.0])})]
    (note,) = chart(short, ["loss/train"]).notes
    assert note.endswith("the mean ends at epoch 2, with the shortest run; the longest goes to 6")
    assert any("has no accuracy/train" in note for note in chart(short, ["accuracy/train"]).notes)
    assert any("seed 0 is there more than once" in note for note in chart([runs[0], runs[0]]).notes)
    assert chart([made([1.0, float("nan")])]).notes == ("loss: 1 of 2 points of loss are no finite numbers",)


def test_what_cannot_be_drawn_is_said(runs, tmp_path, monkeypatch):
    with pytest.raises(
        PlotError, match=r"no tag 'loss/valid' \(did you mean 'loss/validation'\?\); known are loss/train"
    ):
        chart(runs, ["loss/valid"])
    with pytest.raises(PlotError, match="known over epoch, flops, seconds; step"):
        chart([*runs, Run("b", {}, None, {"loss/train": Curve({"step": [1]}, [1.0])})], ["loss/train"])
    with pytest.raises(PlotError, match="smooth is a weight of at least 0 and less than 1; got 1"):
        chart(runs, smooth=1)
    with pytest.raises(PlotError, match=r"kind .svg, .pdf, .png; got .*f.gif"):
        chart(runs).save(tmp_path / "f.gif")
    with pytest.raises(PlotError, match=r"no font 'DejaVu Sanz' \(did you mean 'DejaVu Sans'\?\)"):
        chart(runs).save(tmp_path / "f.svg", Size(3, 2, 1, font="DejaVu Sanz"))
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"netmorph\[plot\]"):
        chart(runs).save(tmp_path / "f.svg")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_described(runs):
    first, second = described(runs)

    assert (first["line"], first["seeds"]) == ("optimizer adamw", [0, 1, 2])
    assert [Path(name).name for name in second["runs"]] == ["sgd-0", "sgd-1", "sgd-2"]
    assert first["tags"]["loss/train"] == {"points": [6, 6, 6], "axes": ["epoch", "flops", "seconds"]}
