import multiprocessing
import os
import pickle
import time

import pytest
import torch

from netmorph.data import image_cache
from netmorph.data.image_cache import ImageCache, room_for

SIDE = 40


def image(row: int, height: int = SIDE, width: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(row)
    return torch.randint(256, (height, width, 3), generator=generator).to(torch.uint8)


@pytest.fixture
def cache(tmp_path):
    return ImageCache(tmp_path / "below" / "a.images", "state", SIDE, 1 << 30)


def test_what_is_written_is_read_by_every_process(cache):
    assert cache.read(7) is None
    for row in (7, 0, 300):
        cache.write(row, image(row))
    for reader in (cache, pickle.loads(pickle.dumps(cache))):
        assert all(torch.equal(reader.read(row), image(row)) for row in (7, 0, 300))
        assert reader.read(1) is None
    assert cache.trouble is None


def test_holes_take_no_room_on_the_disk(cache):
    cache.write(10_000, image(0))
    stat = cache.path.stat()
    assert stat.st_size > 90_000_000
    assert stat.st_blocks * 512 < 100_000


def test_images_of_another_state_are_missing_and_replaced(cache):
    cache.write(0, image(0))
    changed = ImageCache(cache.path, "changed", SIDE, 1 << 30)
    assert changed.read(0) is None
    changed.write(0, image(1))
    assert torch.equal(changed.read(0), image(1))
    assert cache.read(0) is None


def test_every_damaged_byte_is_noticed_and_made_good(cache):
    small = image(0, 4, 5)
    cache.write(0, small)
    content = bytearray(cache.path.read_bytes())
    for place in range(len(content)):
        content[place] ^= 1
        cache.path.write_bytes(content)
        assert cache.read(0) is None
        content[place] ^= 1
    cache.path.write_bytes(content[:-1])
    assert cache.read(0) is None
    cache.write(0, small)
    assert torch.equal(cache.read(0), small)


def test_a_header_of_garbage_is_no_image(cache):
    cache.write(0, image(0))
    with open(cache.path, "r+b") as file:
        file.write(b"\xff" * 12)
    assert cache.read(0) is None


def test_an_image_that_is_too_long_is_left_out_without_trouble(cache):
    cache.write(0, image(0, SIDE, 3 * SIDE))
    assert cache.read(0) is None
    assert cache.trouble is None


def test_the_limit_ends_writing_but_not_reading(tmp_path):
    cache = ImageCache(tmp_path / "a.images", "state", SIDE, 30_000)
    for row in range(10):
        cache.write(row, image(row))
    assert "limit of 30000 bytes" in cache.trouble
    kept = [row for row in range(10) if cache.read(row) is not None]
    assert kept == list(range(len(kept)))
    assert 1 <= len(kept) < 5


def test_a_cache_that_is_full_takes_the_images_of_another_state(tmp_path):
    path = tmp_path / "a.images"
    full = ImageCache(path, "state", SIDE, 30_000)
    rows = range(10)
    for row in rows:
        full.write(row, image(row))
    kept = [row for row in rows if full.read(row) is not None]
    changed = ImageCache(path, "changed", SIDE, 30_000)
    for row in rows:
        changed.write(row, image(row + 1))
    assert [row for row in rows if changed.read(row) is not None] == kept
    assert torch.equal(changed.read(0), image(1))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_ends_writing(tmp_path):
    (tmp_path / "a.images").symlink_to("/dev/full")
    cache = ImageCache(tmp_path / "a.images", "state", SIDE, 1 << 30)
    cache.write(0, image(0))
    assert "No space left" in cache.trouble


def test_a_write_cut_short_ends_writing(cache, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(image_cache.os, "pwrite", lambda file, content, at: write(file, content[:100], at))
    cache.write(0, image(0))
    assert "No space left" in cache.trouble
    assert cache.read(0) is None


def test_a_file_that_cannot_be_opened_is_trouble(tmp_path):
    (tmp_path / "file").touch()
    cache = ImageCache(tmp_path / "file" / "a.images", "state", SIDE, 1 << 30)
    assert cache.read(0) is None
    cache.write(0, image(0))
    assert "cannot be opened" in cache.trouble


def test_half_of_the_free_room_is_offered(tmp_path):
    free = os.statvfs(tmp_path)
    assert 0 < room_for(tmp_path / "below" / "a.images") < free.f_bavail * free.f_frsize


def write_forever(path, ready):
    cache = ImageCache(path, "state", 400, 1 << 30)
    pixels = [torch.full((400, 600, 3), row, dtype=torch.uint8) for row in range(20)]
    ready.send_bytes(b"ready")
    while True:
        for row in range(20):
            cache.write(row, pixels[row])


def test_processes_killed_while_they_write_leave_whole_images_or_none(tmp_path):
    path = tmp_path / "a.images"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["netmorph.data.reading"])
    for number in range(4):
        ours, theirs = context.Pipe()
        writer = context.Process(target=write_forever, args=(path, theirs))
        writer.start()
        assert ours.recv_bytes() == b"ready"
        time.sleep(0.01 * (number + 1))
        writer.kill()
        writer.join()
    reader = ImageCache(path, "state", 400, 1 << 30)
    found = {row: image for row in range(20) if (image := reader.read(row)) is not None}
    assert found
    assert all(bool((image == row).all()) for row, image in found.items())
