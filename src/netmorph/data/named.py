"""Data sets by name: the embedded digits, and published ones found in a folder or downloaded."""

import os
from pathlib import Path

import torch

from netmorph.data.cache import user_cache
from netmorph.data.dataset import DataError, Split
from netmorph.data.download import Archive, fetch_missing
from netmorph.data.images import Size, resize_images
from netmorph.data.source import Source, numbered_classes
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
NAMES = ("digits", *ARCHIVES)


def read_digits(size: Size | None = None) -> Source:
    """scikit-learn's 1,797 handwritten digits, grey 8x8, which need no file and no network.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test part).
    """
    digits = require("sklearn.datasets", "data").load_digits()
    images = torch.from_numpy(digits.images)[:, None].mul(255 / 16).round().to(torch.uint8)
    parts = {"train": Split(resize_images(images, size), torch.from_numpy(digits.target).long())}
    return Source(parts, numbered_classes(parts))


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
    """The error for what is neither a data set's name nor a folder."""
    return DataError(
        f"no data set or folder {name!r}{suggest(name, NAMES)}; names are {', '.join(NAMES)}; or give a folder's path"
    )
