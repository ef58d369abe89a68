"""Validation images in one folder beside a list of labels, and folders that are not ImageNet's layout."""

from pathlib import Path

import pytest
import torch
from written import png, random_images, write_class_folders

from netmorph import data
from netmorph.data import DataError, stream
from netmorph.data.layouts.image_folder import list_images
from netmorph.data.layouts.label_list import labels_of

CLASSES = ("n01440764", "n01443537", "n01484850")
IMAGES = [f"ILSVRC2012_val_{number:08}.JPEG" for number in range(1, 6)]
LABELS = [2, 0, 1, 1, 0]


def touch(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """ImageNet as it is unpacked, but for what the images show: validation images in one folder."""
    for name in CLASSES:
        touch(tmp_path / "train" / name, *(f"{name}_{number}.JPEG" for number in range(3)))
    touch(tmp_path / "val", *IMAGES)
    return tmp_path


# What others give the list's name and lines.
CAFFE = "val.txt", [f"{image} {label}" for image, label in zip(IMAGES, LABELS, strict=True)]
TINY = (
    "val/val_annotations.txt",
    [f"{i}\t{CLASSES[label]}\t0\t32\t44\t62" for i, label in zip(IMAGES, LABELS, strict=True)],
)
BOXES = [f"{i.removesuffix('.JPEG')},{CLASSES[label]} 85 1 499 272 " for i, label in zip(IMAGES, LABELS, strict=True)]
KAGGLE = "LOC_val_solution.csv", ["ImageId,PredictionString", *BOXES[::-1]]
ALONE = "val.txt", [CLASSES[label] for label in LABELS]


@pytest.mark.parametrize(("name", "lines"), [CAFFE, TINY, KAGGLE, ALONE], ids=["caffe", "tiny", "kaggle", "alone"])
def test_every_list_of_labels_is_read(root: Path, name: str, lines: list[str]) -> None:
    (root / name).write_text("\n".join(lines) + "\n\n")
    parts, classes = list_images(root)
    paths, labels = parts["validation"]
    assert classes == CLASSES
    assert ([path.name for path in paths], labels.tolist()) == (IMAGES, LABELS)


def test_tiny_imagenet_as_it_is_published(tmp_path: Path) -> None:
    for name in CLASSES:
        touch(tmp_path / "train" / name / "images", f"{name}_0.JPEG", f"{name}_1.JPEG")
        touch(tmp_path / "train" / name, f"{name}_boxes.txt")
    touch(tmp_path / "val" / "images", *IMAGES)
    touch(tmp_path / "test" / "images", "test_0.JPEG", "test_1.JPEG")
    (tmp_path / TINY[0]).write_text("\n".join(TINY[1]))
    with pytest.warns(UserWarning, match=r"the 2 images in .*test/images have no labels, and are left out"):
        parts, _ = list_images(tmp_path)
    assert parts.keys() == {"train", "validation"}
    assert parts["train"][1].tolist() == [0, 0, 1, 1, 2, 2]
    assert parts["validation"][1].tolist() == LABELS


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (CAFFE[1][:-1], r"val.txt has no line for 1 of 5 images: ILSVRC2012_val_00000005.JPEG; add them"),
        (
            [*CAFFE[1], "x.JPEG 0", "y.JPEG 1"],
            r"val.txt has lines for 2 images that are not there: x, y; add the images",
        ),
        ([*CAFFE[1][:-1], f"{IMAGES[4]} 3"], r"val.txt line 5: there is no class '3'; classes are 0 to 2"),
        (
            [*TINY[1][:-1], f"{IMAGES[4]} n9"],
            r"line 5: there is no class 'n9'; classes are the train folders, n01440764,",
        ),
        ([*CAFFE[1], CAFFE[1][0]], r"there are several lines of .*val.txt for the image ILSVRC2012_val_00000001;"),
        ([*CAFFE[1][:-1], CLASSES[0]], r"val.txt line 5: expected an image and its class, as on the other lines"),
        (list("31220"), r"val.txt has numbers alone: the development kit's numbers follow an order of its own"),
        (ALONE[1][:-1], r"val.txt has 4 lines, a class each, for 5 images"),
    ],
)
def test_lists_that_do_not_fit(root: Path, lines: list[str], message: str) -> None:
    (root / "val.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        list_images(root)


def test_names_of_classes_that_are_numbers_are_names(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    path.write_text("a.png 10\nb.png 2\n")
    assert labels_of(path, ["a.png", "b.png"], ["10", "2"]) == [0, 1]
    path.write_text("a.png 0\nb.png 1\n")
    with pytest.raises(DataError, match="there is no class '0'; classes are the train folders, 10, 2"):
        labels_of(path, ["a.png", "b.png"], ["10", "2"])


def test_a_list_that_is_no_text(root: Path) -> None:
    (root / "val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot read the list of labels .*val.txt"):
        list_images(root)


def test_flat_validation_images_are_streamed_and_loaded(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", ("cat", "dog"), 6, 8, 8, 3)
    (tmp_path / "val").mkdir()
    pictures = random_images(3, 8, 8, 3)
    for number, pixels in enumerate(pictures):
        (tmp_path / "val" / f"{number}.png").write_bytes(png(pixels))
    (tmp_path / "val.txt").write_text("0.png dog\n1.png cat\n2.png dog\n")
    streamed, loaded = stream(tmp_path, size=8, workers=0, cache=tmp_path / "c").test, data.load(tmp_path).validation
    expected = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    for part in (streamed, loaded):
        assert part.targets.tolist() == [1, 0, 1]
    assert torch.equal(loaded.head(3), expected)
    assert (streamed.head(3).float().mean((1, 2, 3)) - expected.float().mean((1, 2, 3))).abs().max() < 20


# folders that are not ImageNet's layout: what is wrong, and where


def test_validation_images_without_a_list(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"5 images in .*/val have no labels: .* list, .*/val.txt, with a line 'ILSVRC.*CLASS'"
    ):
        list_images(root)


def test_folders_above_the_layout(root: Path, tmp_path: Path) -> None:
    deep = tmp_path / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC"
    deep.mkdir(parents=True)
    (root / "train").rename(deep / "train")
    touch(tmp_path / "kaggle" / "ILSVRC" / "Annotations")
    with pytest.raises(
        DataError, match=rf"the data begins in {deep}, which holds train/; give that folder in place of"
    ):
        list_images(tmp_path / "kaggle")


@pytest.mark.parametrize("place", [".", "train"])
def test_archives_that_are_not_unpacked(tmp_path: Path, place: str) -> None:
    touch(tmp_path / place, "n01440764.tar", "n01443537.tar")
    with pytest.raises(
        DataError, match=r"holds archives \(n01440764.tar, n01443537.tar\).* unpack each .*train/<class>"
    ):
        stream(tmp_path, size=8)
    if place == "train":
        touch(tmp_path / "val" / CLASSES[0], *IMAGES)
        with pytest.raises(DataError, match="train holds archives"):
            stream(tmp_path, size=8)


def test_folders_that_are_no_class(root: Path) -> None:
    (root / "val.txt").write_text("\n".join(CAFFE[1]))
    touch(root / "val" / CLASSES[0], "a.JPEG")
    touch(root / "val" / "goldfish", "a.JPEG")
    touch(root / "val" / "shark", "a.JPEG")
    message = r"val/goldfish is a class without train images; so are 1 other folders; 3 known classes: n01440764,"
    with pytest.raises(DataError, match=message):
        list_images(root)
    for name in ("e1", "e2"):
        (root / "train" / name).mkdir()
    with pytest.raises(DataError, match=r"class folder .*train/e1 holds no images, nor do 1 others"):
        list_images(root)


def test_images_beside_the_class_folders_are_counted_and_named(root: Path) -> None:
    (root / "val.txt").write_text("\n".join(CAFFE[1]))
    touch(root / "train", "montage.jpg")
    with pytest.warns(UserWarning, match=r"1 images lie in .*/train outside of the class folders.*montage.jpg"):
        list_images(root)


def test_names_with_spaces_stand_beside_a_comma_a_tab_or_nothing(tmp_path: Path) -> None:
    path, classes = tmp_path / "val.txt", ("cold cat", "hot dog")
    for lines in (["my cat.jpg,cold cat", "dog.jpg,hot dog"], ["my cat.jpg\tcold cat\t0", "dog.jpg\thot dog\t1"]):
        path.write_text("\n".join(lines))
        assert labels_of(path, ["dog.jpg", "my cat.jpg"], classes) == [1, 0]
    path.write_text("hot dog\ncold cat")
    assert labels_of(path, ["a.jpg", "b.jpg"], classes) == [1, 0]
    path.write_text("a.jpg hot dog\nb.jpg cold cat")
    assert labels_of(path, ["a.jpg", "b.jpg"], classes) == [1, 0]
