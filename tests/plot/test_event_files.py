"""TensorBoard's files: all steps, both ways to write a scalar, restarts, and damage."""

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from netmorph.plot.reading import read
from netmorph.plot.values import PlotError
from tests.plot.made_runs import events


def values(path, tag="loss"):
    (run,) = read(path)
    return list(run.curves[tag].values)


def test_no_point_is_left_out(tmp_path):
    events(tmp_path, {"loss": range(1_200)})  # TensorBoard shows 1,000

    (run,) = read(tmp_path)
    curve = run.curves["loss"]
    assert list(curve.values) == list(range(1_200))
    assert list(curve.axes) == ["step", "seconds"]
    assert curve.axes["step"][-1] == 1_200
    assert list(curve.axes["seconds"][:2]) == [0, 1], "from the first scalar on, whenever the file was made"


def test_folders_below_are_runs_with_settings_from_their_names(tmp_path):
    for seed in (0, 1):
        events(tmp_path / f"adam/seed_{seed}", {"loss": [1.0, 0.5]})
    events(tmp_path, {"reward": [1.0]})

    runs = read(tmp_path)
    assert [run.seed for run in runs] == [None, 0, 1]
    assert runs[1].settings == runs[2].settings


def test_scalars_of_tensorflow_2_are_scalars(tmp_path):
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss", 0.5, 1, new_style=True)
        writer.add_scalar("loss", 0.25, 2, new_style=True)
        writer.add_histogram("weights", torch.ones(2), 1)
        writer.add_text("told", "no number", 1)

    assert values(tmp_path) == [0.5, 0.25]
    assert list(read(tmp_path)[0].curves) == ["loss"]


def test_after_a_restart_the_later_value_counts(tmp_path):
    first = events(tmp_path, {"loss": [4.0, 3.0, 2.0, 1.0]})
    first.rename(tmp_path / "events.out.tfevents.1.a")  # files of one second are sorted by their names
    second = events(tmp_path / "later", {"loss": [30.0]}, first=2, purge=2)
    second.rename(tmp_path / "events.out.tfevents.2.b")

    assert values(tmp_path) == [4.0, 30.0]


def test_an_event_that_is_cut_short_is_left_out_and_said(tmp_path):
    file = events(tmp_path, {"loss": [1.0, 2.0, 3.0]})
    file.write_bytes(file.read_bytes()[:-5])

    with pytest.warns(UserWarning, match="ends within an event; the 3 events before it are shown"):
        assert values(tmp_path) == [1.0, 2.0]


@pytest.mark.parametrize("place", [-10, 8])
def test_damage_is_said(tmp_path, place):
    file = events(tmp_path, {"loss": [1.0, 2.0, 3.0]})
    content = bytearray(file.read_bytes())
    content[place] ^= 255
    file.write_bytes(content)

    with pytest.raises(PlotError, match=r"tfevents.* is damaged after \d events"):
        read(tmp_path)


def test_files_without_scalars_are_said(tmp_path):
    file = events(tmp_path / "none", {})
    with pytest.raises(PlotError, match="none holds no numbers yet"):
        read(tmp_path / "none")
    file.write_bytes(b"")
    with pytest.raises(PlotError, match="holds no numbers yet"):
        read(file)
    (tmp_path / "notes.txt").write_text("not events at all, but a text")
    with pytest.raises(PlotError, match=r"or no event file of TensorBoard's"):
        read(tmp_path / "notes.txt")
