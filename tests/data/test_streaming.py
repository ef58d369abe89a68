import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from written import jpeg, png, random_images, write_class_folders, write_idx

from netmorph.data import DataError, Dataset, StreamedSplit, batches, load, reading, stream
from netmorph.data.images import decode_images
from netmorph.errors import MissingExtra
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe

# PyTorch warns of more workers than cores, of which a test has no say.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:of the first images that were read"),
]

CLASSES = ("n01440764", "n01443537", "n01484850")
# As in ImageNet: most are in colour, few are grey or CMYK; some are larger than needed, some smaller.
SHAPES = ((375, 500), (500, 375), (80, 120), (333, 250), (90, 400), (64, 64))
MODES = ("RGB", "RGB", "RGB", "L", "RGB", "CMYK")


def write_imagenet(root: Path, counts: dict[str, int]) -> None:
    for part, count in counts.items():
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                shape, mode = SHAPES[number % len(SHAPES)], MODES[number % len(MODES)]
                path = folder / f"{name}_{number:02}.JPEG"
                path.write_bytes(jpeg(hash_of(part, label, number), *shape, mode, tint=label))


def hash_of(part: str, label: int, number: int) -> int:
    return 10_000 * len(part) + 1_000 * label + number


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "imagenet"
    write_imagenet(root, {"train": 12, "val": 4})
    return root


def opened(root: Path, cache: Path, **options) -> Dataset:
    return stream(root, **{"size": 32, "workers": 0, "cache": cache, **options})


def pixels(part: StreamedSplit, *, seed: int | None = None, batch_size: int = 7) -> torch.Tensor:
    return torch.cat([images for images, _ in part.cut(batch_size, None, seed)])


# what is opened


def test_grey_images_among_others_are_told_as_in_memory(imagenet, tmp_path):
    with pytest.warns(UserWarning, match="6 of 30 images are grey and the others in colour; all are read in colour"):
        opened(imagenet, tmp_path)


def test_imagenets_layout(imagenet, tmp_path):
    dataset = opened(imagenet, tmp_path)
    assert dataset.name == "imagenet"
    assert dataset.classes == CLASSES
    assert dataset.input_shape == (3, 32, 32)
    assert dataset.test.targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert dataset.validation.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.train.targets.bincount().tolist() == [10] * 3
    held, kept = set(dataset.validation.rows.tolist()), set(dataset.train.rows.tolist())
    assert held | kept == set(range(36))
    assert not held & kept


def test_parts_that_are_there_are_kept(tmp_path):
    write_imagenet(tmp_path / "data", {"train": 3, "val": 2, "test": 1})
    dataset = opened(tmp_path / "data", tmp_path)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [9, 6, 3]


def test_class_folders_alone_are_split_as_in_memory(imagenet, tmp_path):
    streamed = opened(imagenet / "train", tmp_path, seed=3)
    assert [len(part) for part in (streamed.train, streamed.validation, streamed.test)] == [24, 6, 6]
    write_class_folders(tmp_path / "small", CLASSES, 12, 8, 8, 3)
    test, in_memory = opened(tmp_path / "small", tmp_path, size=8, seed=3).test, load(tmp_path / "small", seed=3).test
    assert torch.equal(test.targets, in_memory.targets)
    files = torch.from_numpy(random_images(12, 8, 8, 3)).permute(0, 3, 1, 2)
    assert torch.equal(files[test.rows % 12], in_memory.inputs)


def test_nothing_is_decoded_before_it_is_asked_for(imagenet, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "decode_image", None)
    dataset = opened(imagenet, tmp_path, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    assert (dataset.preparation.mean, dataset.preparation.std) == ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def test_mean_and_std_are_those_of_the_train_images(imagenet, tmp_path):
    dataset = opened(imagenet, tmp_path)
    images = dataset.train.head(len(dataset.train)).double() / 255
    assert dataset.preparation.mean == pytest.approx(images.mean((0, 2, 3)).tolist())
    assert dataset.preparation.std == pytest.approx(images.std((0, 2, 3), correction=0).tolist())
    assert opened(imagenet, tmp_path).preparation.mean == dataset.preparation.mean


def test_the_fingerprint_is_that_of_the_files_and_of_how_they_are_read(imagenet, tmp_path):
    copy = tmp_path / "imagenet"
    shutil.copytree(imagenet, copy)
    first = opened(copy, tmp_path / "c").fingerprint
    assert opened(copy, tmp_path / "c", seed=1, cache_limit=0).fingerprint == first
    assert opened(copy, tmp_path / "c", size=31).fingerprint != first
    path = copy / "train" / CLASSES[0] / f"{CLASSES[0]}_00.JPEG"
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content + b"\0")
    assert opened(copy, tmp_path / "c").fingerprint != first
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert opened(copy, tmp_path / "c").fingerprint == first
    path.rename(path.with_name("other.JPEG"))
    assert opened(copy, tmp_path / "c").fingerprint != first


# what is read


def test_an_image_that_is_not_cropped_is_the_middle_of_the_file(tmp_path):
    for name, pixel in (("a", 10), ("b", 200)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            image = random_images(1, 37, 37, 3)[0]
            image[2:34, 2:34] = pixel + number
            (tmp_path / "data" / name / f"{number}.png").write_bytes(png(image))
    dataset = opened(tmp_path / "data", tmp_path / "c", validation=0)
    for part in (dataset.train, dataset.test):
        values = pixels(part).flatten(1).unique(dim=1)
        assert values.flatten().tolist() == [(10, 200)[row // 4] + row % 4 for row in part.rows.tolist()]


def test_a_large_jpeg_is_decoded_at_a_lower_scale_to_about_the_same_pixels(tmp_path):
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "data" / name / f"{number}.jpg").write_bytes(jpeg(number, 600, 600))
    dataset = opened(tmp_path / "data", tmp_path / "c", cache_limit=0)
    file = (tmp_path / "data" / "a" / "0.jpg").read_bytes()
    whole = decode_images([("", file)], 1, (37, 37))[0, :, 2:34, 2:34].int()
    part = StreamedSplit(torch.tensor([0]), torch.tensor([0]), dataset.train.workers)
    assert (part.head(1)[0].int() - whole).abs().float().mean() < 2


def test_crops_depend_on_the_seed_and_the_image_alone(imagenet, tmp_path):
    part = opened(imagenet, tmp_path).train
    first = pixels(part, seed=1)
    assert torch.equal(pixels(part, seed=1, batch_size=30), first)
    assert not torch.equal(pixels(part, seed=2), first)
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))[:11]
    shuffled = list(part.cut(4, order, 1))
    assert [len(labels) for _, labels in shuffled] == [4, 4, 3]
    assert torch.equal(torch.cat([images for images, _ in shuffled]), first[order])
    assert torch.equal(torch.cat([labels for _, labels in shuffled]), part.targets[order])
    assert torch.equal(part.head(5), pixels(part)[:5])


def test_batches_of_every_size_are_joined_from_chunks(imagenet, tmp_path, monkeypatch):
    part = opened(imagenet, tmp_path).train
    whole = pixels(part, batch_size=30)
    monkeypatch.setattr("netmorph.data.streaming.CHUNK", 4)
    sizes = [len(images) for images, _ in part.cut(11)]
    assert sizes == [11, 11, 8]
    assert torch.equal(pixels(part, batch_size=11), whole)


def test_an_empty_part_gives_one_empty_batch_as_in_memory(imagenet, tmp_path):
    empty = opened(imagenet, tmp_path, validation=0).validation
    [(images, labels)] = empty.cut(8)
    assert (images.shape, labels.shape) == ((0, 3, 32, 32), (0,))


# workers


def test_any_number_of_workers_gives_the_same_batches(imagenet, tmp_path):
    expected = opened(imagenet, tmp_path / "0", cache_limit=0).train
    random, middle = pixels(expected, seed=5), pixels(expected)
    for workers in (1, 3):
        part = opened(imagenet, tmp_path / str(workers), workers=workers).train
        state = torch.random.get_rng_state()
        for _ in range(2):  # decoded, then from the cache
            assert torch.equal(pixels(part, seed=5), random)
            assert torch.equal(pixels(part), middle)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert len(part.workers._idle) == 1


def test_passes_that_are_left_or_overlap(imagenet, tmp_path):
    dataset = opened(imagenet, tmp_path, workers=1)
    expected = pixels(dataset.train, seed=0)
    for _ in range(2):
        [(images, _)] = islice(dataset.train.cut(4, None, 0), 1)
        assert torch.equal(images, expected[:4])
    pairs = list(zip(dataset.train.cut(10), dataset.test.cut(4), strict=True))
    assert torch.equal(torch.cat([test for _, (test, _) in pairs]), dataset.test.head(12))
    assert torch.equal(pixels(dataset.train, seed=0), expected)


def test_a_worker_that_is_killed_is_reported_and_replaced(imagenet, tmp_path):
    part = opened(imagenet, tmp_path, workers=1).train
    expected = pixels(part)
    [(_, loader)] = part.workers._idle
    os.kill(loader._iterator._workers[0].pid, signal.SIGKILL)
    with pytest.raises(DataError, match=r"worker processes failed.*use fewer workers"):
        pixels(part)
    assert torch.equal(pixels(part), expected)


@pytest.mark.slow
def test_workers_end_when_the_process_that_reads_is_killed(imagenet, tmp_path):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from netmorph.data import stream\n"
        "if __name__ == '__main__':\n"
        "    part = stream(sys.argv[1], size=32, workers=1, cache=Path(sys.argv[2])).train\n"
        "    next(part.cut(4))\n"
        "    [(_, loader)] = part.workers._idle\n"
        "    print(loader._iterator._workers[0].pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    (tmp_path / "reads.py").write_text(program)
    command = [sys.executable, tmp_path / "reads.py", imagenet, tmp_path / "c"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        worker = Path("/proc", process.stdout.readline().strip())
        assert worker.exists()
        process.kill()
    for _ in range(100):
        if not worker.exists():
            return
        time.sleep(0.1)
    pytest.fail("the worker lives on")


def test_batches_before_a_start_are_not_decoded(imagenet, tmp_path, monkeypatch):
    part, decode, decoded = opened(imagenet, tmp_path, cache_limit=0).train, reading.decode_image, []
    monkeypatch.setattr(reading, "decode_image", lambda where, *rest: decoded.append(where) or decode(where, *rest))
    whole, rest = (list(batches(part, 7, generator=torch.Generator().manual_seed(0), start=start)) for start in (0, 3))
    assert len(decoded) == len(part) + len(part) - 3 * 7
    for expected, found in zip(whole[3:], rest, strict=True):
        assert all(map(torch.equal, expected, found))


def test_a_process_that_may_not_start_others_reads_itself(imagenet, tmp_path, monkeypatch):
    part = opened(imagenet, tmp_path, workers=2).train
    monkeypatch.setattr(part.workers, "_start", None)
    monkeypatch.setitem(reading.multiprocessing.current_process()._config, "daemon", True)
    assert len(pixels(part)) == 30


# the cache


def test_later_epochs_decode_nothing_and_give_the_same_pixels(imagenet, tmp_path, monkeypatch):
    uncached = pixels(opened(imagenet, tmp_path / "no", cache_limit=0).train, seed=1)
    assert not (tmp_path / "no").exists()
    first = opened(imagenet, tmp_path / "yes").train
    assert torch.equal(pixels(first, seed=1), uncached)
    long = [row for row in first.rows.tolist() if row % 12 % 6 == 4]  # 90 x 400 pixels have no room in a slot
    kept = [row for row in range(36) if first.workers._reader._cache.read(row) is not None]
    assert kept == [row for row in range(36) if row in first.rows and row not in long]
    decoded = []
    decode = reading.decode_image
    monkeypatch.setattr(reading, "decode_image", lambda where, *rest: decoded.append(where) or decode(where, *rest))
    again = opened(imagenet, tmp_path / "yes", mean=(0, 0, 0), std=(1, 1, 1)).train
    assert torch.equal(pixels(again, seed=1), uncached)
    assert len(decoded) == len(long)


def test_a_damaged_cache_is_made_good(imagenet, tmp_path):
    part = opened(imagenet, tmp_path).train
    expected = pixels(part, seed=1)
    [path] = tmp_path.iterdir()
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[np.random.default_rng(0).integers(0, len(content), 300)] ^= 255
    path.write_bytes(content[: len(content) // 2].tobytes())
    assert torch.equal(pixels(part, seed=1), expected)
    assert torch.equal(pixels(part, seed=1), expected)


def test_a_changed_file_is_decoded_again(imagenet, tmp_path):
    copy = tmp_path / "imagenet"
    shutil.copytree(imagenet, copy)
    before = opened(copy, tmp_path / "c").test.head(12)
    (copy / "val" / CLASSES[0] / f"{CLASSES[0]}_00.JPEG").write_bytes(jpeg(99, 100, 100))
    after = opened(copy, tmp_path / "c").test.head(12)
    assert [torch.equal(old, new) for old, new in zip(before, after, strict=True)] == [False] + [True] * 11


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_cache_warns_once_and_changes_nothing(imagenet, tmp_path, workers):
    options = {"mean": (0, 0, 0), "std": (1, 1, 1), "workers": workers}
    expected = pixels(opened(imagenet, tmp_path, cache_limit=0).train, seed=1)
    part = opened(imagenet, tmp_path, cache_limit=30_000, **options).train
    with pytest.warns(UserWarning, match="limit of 30000 bytes") as caught:
        assert torch.equal(pixels(part, seed=1), expected)
    assert sum("decoded in every epoch" in str(warning.message) for warning in caught) == 1
    assert torch.equal(pixels(part, seed=1), expected)


def test_a_cache_folder_that_cannot_be_made(imagenet, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="decoded in every epoch"):
        dataset = opened(imagenet, tmp_path / "file" / "c")
    assert len(pixels(dataset.train)) == 30


def test_threads_may_read_at_once(imagenet, tmp_path):
    part = opened(imagenet, tmp_path).train
    expected = pixels(part, seed=1)
    with ThreadPoolExecutor(4) as threads:
        assert all(torch.equal(found, expected) for found in threads.map(lambda _: pixels(part, seed=1), range(8)))


# errors


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("content", [b"", b"no image", jpeg(0, 60, 60)[:900]])
def test_an_image_that_cannot_be_decoded_is_named(tmp_path, workers, content):
    write_imagenet(tmp_path / "data", {"train": 4, "val": 1})
    bad = tmp_path / "data" / "train" / CLASSES[1] / f"{CLASSES[1]}_02.JPEG"
    bad.write_bytes(content)
    options = {"mean": (0, 0, 0), "std": (1, 1, 1), "validation": 0, "workers": workers}
    dataset = opened(tmp_path / "data", tmp_path / "c", **options)
    with pytest.raises(
        DataError, match=rf"^cannot decode {bad}: .*remove that image; or leave out what .*--skip-unreadable"
    ):
        pixels(dataset.train)
    bad.unlink()
    with pytest.raises(DataError, match=rf"^cannot read {bad}: .*put the image back"):
        pixels(dataset.train)
    bad.write_bytes(jpeg(0, 60, 60))
    assert len(pixels(dataset.train)) == 12


def test_folders_that_cannot_be_streamed(tmp_path):
    with pytest.raises(DataError, match="is empty; expected one of"):
        stream(tmp_path, size=8)
    with pytest.raises(DataError, match=r"no folder .*missing"):
        stream(tmp_path / "missing", size=8)
    write_idx(tmp_path / "idx")
    with pytest.raises(DataError, match=r"no folder of images, and is not streamed; `load` reads it"):
        stream(tmp_path / "idx", size=8)
    write_imagenet(tmp_path / "data", {"train": 2, "val": 1})
    (tmp_path / "data" / "train" / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        stream(tmp_path / "data", size=8)
    shutil.rmtree(tmp_path / "data" / "train")
    with pytest.raises(DataError, match=r"data has val, but no train: expected .*train/<class>"):
        stream(tmp_path / "data", size=8)
    write_imagenet(tmp_path / "one", {"train": 2})
    for name in CLASSES[1:]:
        shutil.rmtree(tmp_path / "one" / "train" / name)
    with pytest.raises(DataError, match=f"every train image is of class '{CLASSES[0]}'"):
        stream(tmp_path / "one", size=8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be"),
        ({"size": (8, 0)}, "size must be"),
        ({"validation": 1}, "validation must be a fraction"),
        ({"mean": (0, 0, 0)}, "mean and std must be three numbers each"),
        ({"mean": (0,), "std": (1,)}, "mean and std must be three numbers each"),
        ({"short_side": 0}, "short_side must be at least 1"),
        ({"workers": -1}, "workers must be 0 or more, got -1"),
        ({"cache_limit": -1}, "cache_limit must be 0 or more"),
        ({"skip_unreadable": -1}, "skip_unreadable must be 0 or more images, got -1"),
        ({"train_size": 2}, "train_size must be between 3"),
    ],
)
def test_requests_that_cannot_be_meant(imagenet, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        opened(imagenet, tmp_path, **options)


def test_pillow_missing(imagenet, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match=r"netmorph\[data\]"):
        opened(imagenet, tmp_path)


# training


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(32, 3),
        )  # fmt: skip


def test_a_network_learns_from_a_stream_the_same_with_any_number_of_workers(imagenet, tmp_path):
    recipe = Recipe(epochs=6, batch_size=8, learning_rate=0.02, flip=True)
    runs = []
    for workers in (0, 2):
        dataset = opened(imagenet, tmp_path / str(workers), workers=workers)
        model = network()
        history = train(model, dataset, recipe, seed=1)
        runs.append((model.state_dict(), [epoch.train["loss"] for epoch in history]))
    assert runs[0][1] == runs[1][1]
    assert all(torch.equal(one, other) for one, other in zip(runs[0][0].values(), runs[1][0].values(), strict=True))
    assert runs[0][1][-1] < 0.5 * runs[0][1][0]
    [(images, _)] = batches(dataset.test, 64)
    assert len(images) == 12
