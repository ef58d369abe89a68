"""Images of one part in one folder, and a list of their classes: how ImageNet's validation part is published."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from netmorph.data.dataset import DataError
from netmorph.data.images import EXTENSIONS
from netmorph.wording import listed

# By the name of the part's folder: what Caffe, Tiny ImageNet and Kaggle call the list.
LISTS = ("{}.txt", "{}_annotations.txt", "LOC_{}_solution.csv")
# What a list of other parts of the same folder is: the number of each class in an order of the development kit's own.
_GROUND_TRUTH = "the development kit's numbers follow an order of its own (meta.mat), not that of the class folders"
SHOWN = 3  # names in a message


class Line(NamedTuple):
    """What a line of a list tells: the image (None: the next one, by name) and its class, as they are written."""

    number: int
    image: str | None
    label: str


def find_list(root: Path) -> Path | None:
    """The list of a part's labels, in its folder or beside it; None where there is none."""
    places = [folder / name.format(root.name) for folder in (root, root.parent) for name in LISTS]
    return next((path for path in places if path.is_file()), None)


def labels_of(path: Path, images: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The class of each image, as a list tells it.

    A line is an image and its class, with white space or a comma between them (a comma or a tab, where their names have
    spaces); what follows is ignored (Tiny
    ImageNet's and Kaggle's lists tell boxes there). The image may lack its folder and its ending. The class is a
    name, or a number: its place among the names, from 0 (Caffe's val.txt). Lines of a class alone are for the images
    in the order of their names; they have to be names, because such lists of numbers have other orders.

    Args:
        path: of the list.
        images: names of the files, ascending.
        classes: names, by label.

    Raises:
        DataError: a line is not to be understood or tells an unknown class, or lines and images do not belong
            together.
    """
    lines = list(_lines(path, classes))
    alone = [line for line in lines if line.image is None]
    if alone and len(alone) < len(lines):
        raise DataError(f"{path} line {alone[0].number}: expected an image and its class, as on the other lines")
    told = _told(path, lines, classes)
    if alone:
        if len(told) != len(images):
            raise DataError(
                f"{path} has {len(told)} lines, a class each, for {len(images)} images; expected a line for each image"
            )
        return told
    names = [_stem(line.image or "") for line in lines]
    stems = [_stem(image) for image in images]
    for what, given in ((f"lines of {path} for the image", names), ("images of the name", stems)):
        twice = [name for name, count in Counter(given).items() if count > 1]
        if twice:
            raise DataError(f"there are several {what} {listed(twice, limit=SHOWN)}; expected one each")
    by_image = dict(zip(names, told, strict=True))
    _check_same(path, by_image, dict(zip(stems, images, strict=True)))
    return [by_image[stem] for stem in stems]


def _lines(path: Path, classes: Sequence[str]) -> Iterator[Line]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the list of labels {path}: {error}") from error
    names = frozenset(classes)
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or (number == 1 and re.match(r"ImageId\b", line)):  # Kaggle's first line names the columns
            continue
        if line in names:
            yield Line(number, None, line)
            continue
        # Names may have spaces where a comma or a tab stands between them; what comes behind a class (boxes) is none.
        image, *rest = re.split(r"[,\t]" if re.search(r"[,\t]", line) else r"\s+", line, maxsplit=1)
        if not rest:
            yield Line(number, None, image)
            continue
        told = re.split(r"[,\t]", rest[0])[0].strip()
        yield Line(number, image.strip(), told if told in names else told.partition(" ")[0])


def _told(path: Path, lines: Sequence[Line], classes: Sequence[str]) -> list[int]:
    """The label that each line tells."""
    known = {name: label for label, name in enumerate(classes)}
    numbers = all(line.label.isdecimal() for line in lines) and not any(map(str.isdecimal, classes))
    if numbers:
        if any(line.image is None for line in lines):
            raise DataError(f"{path} has numbers alone: {_GROUND_TRUTH}; expected lines with an image and its class")
        known = {str(label): label for label in range(len(classes))}
    for line in lines:
        if line.label not in known:
            allowed = f"0 to {len(classes) - 1}" if numbers else f"the train folders, {listed(classes, limit=SHOWN)}"
            raise DataError(f"{path} line {line.number}: there is no class {line.label!r}; classes are {allowed}")
    return [known[line.label] for line in lines]


def _check_same(path: Path, told: Mapping[str, int], images: Mapping[str, str]) -> None:
    """That a list is of these images, by the names without their endings."""
    without = [image for stem, image in images.items() if stem not in told]
    if without:
        raise DataError(
            f"{path} has no line for {len(without)} of {len(images)} images: {listed(without, limit=SHOWN)}; add them "
            "to the list, or remove the images"
        )
    missing = [stem for stem in told if stem not in images]
    if missing:
        raise DataError(
            f"{path} has lines for {len(missing)} images that are not there: {listed(missing, limit=SHOWN)}; add the "
            "images (is all of it unpacked?), or remove the lines"
        )


def _stem(image: str) -> str:
    path = PurePosixPath(image)
    return path.stem if path.suffix.lower() in EXTENSIONS else path.name
