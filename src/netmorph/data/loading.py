"""`load`: a name or a folder -> a data set, split and measured."""

from pathlib import Path

import torch
from torch import Tensor

from netmorph.data.cache import cached, folder_state, user_cache
from netmorph.data.dataset import DataError, Dataset, images_in_classes
from netmorph.data.images import Size
from netmorph.data.layouts import find_layout
from netmorph.data.named import NAMES, find_folder, read_digits, unknown_name
from netmorph.data.preparation import Pixels
from netmorph.data.source import Source, check_source
from netmorph.data.splitting import split_parts


def load(
    source: str | Path,
    *,
    seed: int = 0,
    validation: float = 0.15,
    train_size: int | None = None,
    size: Size | None = None,
    cache: Path | None = None,
) -> Dataset:
    """Load a data set as uint8 tensors, split by a seed with every class in every split.

    Args:
        source: `digits` (embedded), `mnist`, `kmnist`, `fashion_mnist`, `cifar10`, or a folder. Named data is
            looked for in `$NETMORPH_DATA/<name>`, then in the user's cache, then downloaded. A folder holds
            Hugging Face parquet, MNIST's idx files, CIFAR-10's binary files, or images in a folder a class,
            with or without train/, validation/ and test/ above them.
        seed: of the splits; the same seed gives the same splits.
        validation: fraction of the train images held out, class by class, where the data brings no validation
            split. 0 holds none out and leaves the validation split empty. A missing test split is a fifth of
            all images, taken first.
        train_size: keep so many train images, evenly over the classes (160 of ten classes are 16 a class).
        size: height and width to resize every image to; an image folder of mixed sizes needs it.
        cache: folder for the decoded tensors, `$XDG_CACHE_HOME/netmorph/tensors` by default. The next load
            maps them from there unless the files changed.

    Raises:
        DataError: the data cannot be found, read or split as asked.
        MissingExtra: a package that reads this data is not installed.
    """
    check_request(validation, size)
    if source in NAMES:
        name = str(source)
        content, fingerprint = _read_named(name, size, cache or user_cache() / "tensors")
    else:
        folder = existing_folder(source)
        name = folder.resolve().name
        content, fingerprint = _read_folder(folder, size, cache or user_cache() / "tensors")
    train, held_out, test = split_parts(content.parts, content.classes, seed, validation, train_size)
    pixels = Pixels(*channel_statistics(train.inputs))
    return images_in_classes(name, (train, held_out, test), content.classes, pixels, fingerprint)


def check_request(validation: float, size: Size | None) -> None:
    """Refuse a fraction or a size that cannot be meant.

    Raises:
        DataError: which one, and what was given.
    """
    if not 0 <= validation < 1:
        raise DataError(f"validation must be a fraction of at least 0 and below 1, got {validation}")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise DataError(f"size must be a height and a width of at least 1, got {size}")


def _read_named(name: str, size: Size | None, cache: Path) -> tuple[Source, str]:
    if name == "digits":
        return cached(cache, name, identity=f"{name} {size}", state="", read=lambda: read_digits(size))
    return _read_folder(find_folder(name), size, cache)


def existing_folder(source: str | Path) -> Path:
    """The folder that is meant.

    Raises:
        DataError: there is none of that name.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise DataError(f"{folder} is a file; give the folder that holds the data")
    if isinstance(source, str) and len(folder.parts) == 1:
        raise unknown_name(source)
    raise DataError(f"there is no folder {folder}; check the path, or give a data set's name: {', '.join(NAMES)}")


def _read_folder(folder: Path, size: Size | None, cache: Path) -> tuple[Source, str]:
    folder = folder.resolve()
    read = find_layout(folder)

    def checked() -> Source:
        source = read(folder, size)
        check_source(source, folder)
        return source

    return cached(cache, folder.name, identity=f"{folder} {size}", state=folder_state(folder), read=checked)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, pixels in 0..1, from exact counts of the 256 values."""
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.flatten(), minlength=256).double() / channel.numel()
        mean = share @ values
        means.append(mean.item())
        stds.append((share @ (values - mean) ** 2).sqrt().item() or 1.0)
    return tuple(means), tuple(stds)
