"""Files of tensors: whatever they hold is what was written, or an error says that it is not."""

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from netmorph import memory
from netmorph.memory import OutOfMemory
from netmorph.tensor_files import DamagedFile, FileError, ForeignFile, read_sealed, read_told, write_sealed

TENSORS = {
    "plain": torch.arange(24.0).reshape(2, 3, 4),
    "last": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last),
    "last of one": torch.randn(4, 1, 5, 5).to(memory_format=torch.channels_last),
    "deep": torch.randn(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d),
    "turned": torch.randn(5, 7).t(),
    "complex": torch.randn(3, 4, dtype=torch.complex128).t(),
    "numbers": torch.tensor([1, 2, 3], dtype=torch.int16),
    "none": torch.empty(0, 3),
    "one": torch.tensor(1.5, dtype=torch.bfloat16),
}
TOLD = {"a": [1, 2.5, None], "b": {"c": "d"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("whole") / "file"
    write_sealed(TENSORS, path, TOLD)
    return path, path.read_bytes()


def changed(path: Path, **metadata: str) -> None:
    """Write other metadata to a file, without a checksum."""
    save_file(load_file(path), path, {"netmorph": json.dumps(TOLD), **metadata})


def test_values_types_and_strides_come_back(whole: tuple[Path, bytes]) -> None:
    tensors, told = read_sealed(whole[0])
    assert told == TOLD == read_told(whole[0])
    assert {name: (t.dtype, t.shape, t.stride()) for name, t in tensors.items()} == {
        name: (t.dtype, t.shape, t.stride()) for name, t in TENSORS.items()
    }
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in tensors.items())


def test_tensors_that_share_or_skip_memory_come_back_plain(path: Path) -> None:
    base = torch.arange(12.0)
    held = {"every other": base[::2], "repeated": base[:1].expand(3, 4), "view": base.view(3, 4), "base": base}
    write_sealed(held, path, None)
    tensors, _ = read_sealed(path)
    assert all(torch.equal(tensor, held[name]) and tensor.is_contiguous() for name, tensor in tensors.items())


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_flipped_bit_is_told_or_changes_nothing(whole: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = whole
    place, bit = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 7))
    other = path.with_name("flipped")
    other.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
    try:
        tensors, told = read_sealed(other)
    except FileError:
        return
    assert told == TOLD
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(t, TENSORS[name]) and t.stride() == TENSORS[name].stride() for name, t in tensors.items())


def test_files_without_a_checksum_are_read_where_they_may_be(whole: tuple[Path, bytes], path: Path) -> None:
    path.write_bytes(whole[1])
    changed(path)
    with pytest.raises(ForeignFile, match="was not saved by netmorph"):
        read_sealed(path)
    tensors, told = read_sealed(path, unsealed=True)
    assert told == TOLD
    assert torch.equal(tensors["plain"], TENSORS["plain"])


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "{", "1" * 6000])
def test_plain_values_without_end_are_damage(path: Path, text: str) -> None:
    save_file({"a": torch.zeros(1)}, path, {"netmorph": text})
    with pytest.raises(DamagedFile):
        read_sealed(path, unsealed=True)
    with pytest.raises(DamagedFile):
        read_told(path)


@pytest.mark.parametrize(
    "strides",
    [[1, 1, 10**12], [10**12, 4, 1], [12, 4, 0], [-12, 4, 1], [12, 4], [], "x", 3, {}, [12.0, 4, 1], [True, 4, 1]],
)
def test_strides_that_are_none_are_damage(whole: tuple[Path, bytes], path: Path, strides: object) -> None:
    path.write_bytes(whole[1])
    changed(path, strides=json.dumps({"plain": strides}))
    with pytest.raises(DamagedFile, match="'plain' of shape"):
        read_sealed(path, unsealed=True)


def test_a_file_that_is_larger_than_the_memory_is_not_read(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "U8", "shape": [2**42], "data_offsets": [0, 2**42]}}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 2**42)  # takes no space on the disk
    assert os.stat(path).st_blocks < 100
    with pytest.raises(OutOfMemory, match=r"takes 4,096 GiB of memory, and there are"):
        read_sealed(path)


def test_what_a_header_promises_is_not_taken(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(DamagedFile):
        read_sealed(path)


def test_memory_is_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total", lambda device: 2**33)
    memory.check_fits(2**33, "this")
    with pytest.raises(OutOfMemory, match="this takes 16 GiB of memory, and there are 8; choose smaller sizes"):
        memory.check_fits(2**34, "this")
    monkeypatch.setattr(memory, "total", lambda device: None)
    memory.check_fits(2**60, "this")


def test_the_machine_tells_its_memory() -> None:
    there = memory.total(torch.device("cpu"))
    assert there is not None
    assert 2**28 < there < 2**50
    assert memory.total(torch.device("meta")) is None
