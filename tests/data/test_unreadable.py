"""Images that cannot be read, with `skip_unreadable`: found at once, counted, named, left out or refused."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from written import jpeg

from netmorph.data import DataError, Dataset, reading, stream
from netmorph.run.config import DataConfig

BAD = ("train/cat/03.JPEG", "train/dog/00.JPEG", "val/dog/01.JPEG")
WHY = ("no image of a known format", "truncated", "No such file")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for part, count in (("train", 8), ("val", 2)):
        for label, name in enumerate(("cat", "dog")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                (root / part / name / f"{number:02}.JPEG").write_bytes(jpeg(number, 60, 60, tint=label))
    (root / BAD[0]).write_bytes(b"no image")
    (root / BAD[1]).write_bytes(jpeg(0, 60, 60)[:900])
    (root / BAD[2]).unlink()
    (root / BAD[2]).symlink_to("nowhere")
    return root


def opened(root: Path, most: int | None = 3, **options) -> Dataset:
    return stream(root, **{"size": 32, "workers": 0, "cache": root.parent / "c", "skip_unreadable": most, **options})


def test_they_are_counted_named_and_left_out(pictures: Path) -> None:
    with pytest.warns(
        UserWarning, match=f"3 of 20 images cannot be read, and are left out: .*{BAD[0]}, .*{BAD[1]}, .*{BAD[2]}"
    ):
        dataset = opened(pictures)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [12, 2, 3]
    for part in (dataset.train, dataset.validation, dataset.test):
        places = {dataset.train.workers._reader._images.place(row) for row in part.rows.tolist()}
        assert not places & {str(pictures / name) for name in BAD}
        assert len(part.head(99)) == len(part.targets)
    [kept] = (pictures.parent / "c").glob("*.unreadable.json")
    told = json.loads(kept.read_text())["unreadable"].values()
    for why, reason in zip(told, WHY, strict=True):
        assert reason in why


def test_more_than_may_be_are_refused_with_their_number(pictures: Path) -> None:
    for most in (0, 2):
        with pytest.raises(
            DataError, match=rf"3 of 20 images cannot be read, and at most {most} may be left out: .*the first"
        ):
            opened(pictures, most)


@pytest.mark.filterwarnings("ignore:3 of 20 images")
def test_the_next_run_looks_at_those_alone(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(pictures, cache_limit=0)
    asked, decode = [], reading.decode_image
    monkeypatch.setattr(reading, "decode_image", lambda where, *rest: asked.append(where) or decode(where, *rest))
    again = opened(pictures, cache_limit=0, mean=(0, 0, 0), std=(1, 1, 1))
    assert set(asked) == {str(pictures / name) for name in BAD[:2]}, "the link leads nowhere, and is not decoded"
    assert again.fingerprint == first.fingerprint
    assert torch.equal(again.train.rows, first.train.rows)


@pytest.mark.filterwarnings("ignore:. of 20 images")
def test_what_can_be_read_again_is_back_and_tells_that_the_data_changed(pictures: Path) -> None:
    first = opened(pictures)
    (pictures / "val/dog/nowhere").write_bytes(jpeg(7, 60, 60))  # what the link leads to
    later = opened(pictures)
    assert len(later.test) == len(first.test) + 1
    assert later.fingerprint != first.fingerprint


def test_nothing_is_said_of_images_that_can_all_be_read(pictures: Path) -> None:
    for name in BAD:
        (pictures / name).unlink()
    plain = opened(pictures, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened(pictures, 0).fingerprint == plain.fingerprint


def test_a_kept_file_that_is_damaged_is_made_anew(pictures: Path) -> None:
    for content in ("{", "[]", '{"state": 1}'):
        [path.write_text(content) for path in (pictures.parent / "c").glob("*.unreadable.json")]
        with pytest.raises(DataError, match="3 of 20 images"):
            opened(pictures, 2)


def test_no_image_of_a_part_can_be_read(pictures: Path) -> None:
    for name in ("cat", "dog"):
        for path in (pictures / "val" / name).iterdir():
            path.unlink()
            path.write_bytes(b"")
    with pytest.warns(UserWarning, match="6 of 20"), pytest.raises(DataError, match="the validation images are empty"):
        opened(pictures, 20)


def test_it_is_for_streams(pictures: Path) -> None:
    with pytest.raises(DataError, match="skip_unreadable is for images that are streamed"):
        DataConfig(str(pictures), skip_unreadable=1).load()
