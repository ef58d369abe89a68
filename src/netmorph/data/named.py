"""Data sets by name: embedded ones, and published ones found in a folder or downloaded."""

import os
import sysconfig
from pathlib import Path

import torch

from netmorph.data.cache import user_cache
from netmorph.data.dataset import DataError, Split
from netmorph.data.download import Archive, fetch_missing
from netmorph.data.images import ImageSize, resize_images
from netmorph.data.source import RawData, numbered_classes
from netmorph.data.tables import Column, Numbers
from netmorph.errors import require, suggest


def _idx_files(*md5: str) -> dict[str, str]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return {f"{name}-ubyte.gz": checksum for name, checksum in zip(names, md5, strict=True)}


ARCHIVES = {
    "mnist": Archive(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        _idx_files(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "kmnist": Archive(
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        _idx_files(
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
    "fashion_mnist": Archive(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        _idx_files(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "cifar10": Archive(
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
}
NAMES = ("digits", *ARCHIVES, "diabetes", "stdlib")
# Characters of Python's standard library that are enough for a first text.
STDLIB_SIZE = 2_000_000


def read_digits(size: ImageSize | None = None) -> RawData:
    """scikit-learn's 1,797 handwritten digits, grey 8x8, which need no file and no network.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test part).
    """
    digits = require("sklearn.datasets", "data").load_digits()
    images = torch.from_numpy(digits.images)[:, None].mul(255 / 16).round().to(torch.uint8)
    parts = {"train": Split(resize_images(images, size), torch.from_numpy(digits.target).long())}
    return RawData(parts, numbered_classes(parts))


def read_diabetes() -> tuple[dict[str, Column], str]:
    """scikit-learn's 442 patients with diabetes: ten measurements, and the disease's progression after a year.

    Source: B. Efron et al., Least Angle Regression, Annals of Statistics 2004.

    Returns:
        The columns, in their own units, and the name of the target among them.
    """
    patients = require("sklearn.datasets", "data").load_diabetes(scaled=False)
    columns = torch.from_numpy(patients.data).unbind(1)
    table: dict[str, Column] = {
        name: Numbers(column) for name, column in zip(patients.feature_names, columns, strict=True)
    }
    return table | {"progression": Numbers(torch.from_numpy(patients.target))}, "progression"


def read_stdlib() -> dict[str, str]:
    """Modules of the standard library of this Python, by file name: those of its top level, up to `STDLIB_SIZE`
    characters.

    They are on every machine, and differ from version to version of Python.

    Raises:
        DataError: they were installed without their sources.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    # What was written when this Python was built tells of the machine.
    files = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith("_sysconfigdata")]
    texts: dict[str, str] = {}
    for path in files:
        texts[path.name] = path.read_text(encoding="utf-8")
        if sum(map(len, texts.values())) > STDLIB_SIZE:
            del texts[path.name]
            break
    if not texts:
        raise DataError(
            f"the standard library in {folder} has no sources; give a text file or a folder of them instead"
        )
    return texts


def find_folder(name: str) -> Path:
    """The folder that holds a published data set: `$NETMORPH_DATA/<name>`, else the user's cache.

    What the cache lacks is downloaded there first.

    Raises:
        DataError: it lies in neither and cannot be downloaded.
    """
    given = os.environ.get("NETMORPH_DATA")
    if given and (folder := Path(given) / name).is_dir():
        return folder
    folder, archive = user_cache() / name, ARCHIVES[name]
    present = {path.name for path in folder.iterdir() if path.name[0] != "."} if folder.is_dir() else set()
    # A folder that holds anything else was filled by the user, in any of the layouts.
    if present < set(archive.files):
        try:
            fetch_missing(archive, folder)
        except DataError as error:
            raise DataError(
                f"{error}. Without a network: put {', '.join(archive.files)} (or the same data in another "
                f"layout) into {folder}, or set NETMORPH_DATA to a folder that holds {name}/, or give the "
                "data's own folder instead of its name"
            ) from error
    return folder


def unknown_name(name: str) -> DataError:
    """The error for what is neither a data set's name nor a file or folder."""
    return DataError(
        f"no data set, file or folder {name!r}{suggest(name, NAMES)}; names are {', '.join(NAMES)}; or give a path"
    )


def existing_folder(source: str | Path) -> Path:
    """The folder that is meant.

    Raises:
        DataError: there is none of that name.
    """
    path = existing_path(source)
    if path.is_dir():
        return path
    raise DataError(f"{path} is a file; give the folder that holds the data")


def existing_path(source: str | Path) -> Path:
    """The file or folder that is meant.

    Raises:
        DataError: there is none of that name.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    if isinstance(source, str) and len(path.parts) == 1 and not path.suffix:
        raise unknown_name(source)
    raise DataError(
        f"there is no folder {path}, and no file of that name; check the path, or give a data set's name: "
        f"{', '.join(NAMES)}"
    )
