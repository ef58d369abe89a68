import os
import resource
import zlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file

from netmorph import tensor_files
from netmorph.files import SaveError
from netmorph.train.checkpoint import CheckpointError, existing, load, previous, save

TENSORS = {
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "flag": torch.tensor([True, False]),
    "scalar": torch.tensor(3),
    "empty": torch.empty(0, 4),
    "layout": torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "state.safetensors"


def test_round_trip(path):
    shared = {**TENSORS, "alias": TENSORS["flag"]}
    save(path, shared, {"a": [1, None, "x"], "b": 0.1})
    tensors, meta = load(path)
    assert meta == {"a": [1, None, "x"], "b": 0.1}
    assert tensors.keys() == shared.keys()
    for name, tensor in shared.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_the_one_before_is_kept(path):
    assert not existing(path)
    for number in range(3):
        save(path, TENSORS, {"number": number})
    assert load(path)[1] == {"number": 2}
    assert load(previous(path))[1] == {"number": 1}
    assert existing(path) == [path, previous(path)]
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, previous(path).name]
    path.unlink()
    assert existing(path) == [previous(path)]
    with pytest.warns(UserWarning, match=r"there is no .*Going on from the one before"):
        assert load(path)[1] == {"number": 1}


def truncate(content):
    return content[: len(content) // 2]


def replace_byte(content, position, byte):
    return content[:position] + bytes([byte]) + content[position + 1 :]


def swap_two_tensors(content):
    start, half = 8 + int.from_bytes(content[:8], "little"), 12 * 4
    at = content.index(torch.arange(24.0).reshape(1, 2, 3, 4).numpy().tobytes(), start)
    return content[:at] + content[at + half : at + 2 * half] + content[at : at + half] + content[at + 2 * half :]


def claim_a_header_of(size):
    return lambda content: size.to_bytes(8, "little") + content[8:]


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        swap_two_tensors,
        lambda content: content.replace(b"number", b"nombre"),
        lambda content: b"",
        lambda content: bytes(len(content)),
        lambda content: content + b"\0",
        claim_a_header_of(99_999_999),
        claim_a_header_of(2**40),
        claim_a_header_of(2**64 - 1),
    ],
)
def test_damage_is_found(path, damage):
    save(path, TENSORS, {"number": 0})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged.*delete it"):
        load(path)


META = {"number": 0.1, "text": ["é", None]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "state.safetensors"
    save(path, TENSORS, META)
    return path, path.read_bytes()


@settings(deadline=None)
@given(st.data())
def test_a_changed_byte_is_found_or_changes_nothing(whole, data):
    path, content = whole
    position = data.draw(st.integers(0, len(content) - 1))
    path.write_bytes(replace_byte(content, position, data.draw(st.integers(0, 255))))
    try:
        tensors, meta = load(path)
    except CheckpointError:
        return
    # The same byte, or another white space in the header.
    assert meta == META
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in TENSORS.items())


@settings(deadline=None)
@given(st.data())
def test_a_file_cut_short_is_found(whole, data):
    path, content = whole
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError):
        load(path)


@pytest.mark.parametrize("text", ["", "{", "[1, 2"])
def test_plain_values_that_are_no_json_are_damage(path, text):
    path.parent.mkdir()
    save_file({}, path, {"netmorph": text, "checksum": f"{zlib.crc32(text.encode()):08x}"})
    with pytest.raises(CheckpointError, match="is damaged"):
        load(path)


def test_after_damage_the_one_before_is_read(path):
    save(path, TENSORS, {"number": 0})
    save(path, TENSORS, {"number": 1})
    path.write_bytes(truncate(path.read_bytes()))
    with pytest.warns(UserWarning, match="is damaged.*previous"):
        assert load(path)[1] == {"number": 0}


def test_absent_and_foreign_files(path):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load(path)
    path.parent.mkdir()
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of netmorph"):
        load(path)


@pytest.mark.parametrize("reason", ["descriptors", "folder"])
def test_what_cannot_be_read_is_left_as_it_is(path, reason):
    for number in range(2):
        save(path, TENSORS, {"number": number})
    if reason == "folder":
        whole = path.rename(path.with_name("whole"))
        path.mkdir()
        with pytest.raises(CheckpointError, match=r"cannot be read: .*directory.*Make it readable"):
            load(path)
        path.rmdir()
        whole.rename(path)
    else:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)  # the first free one: below it, none is
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            with pytest.raises(CheckpointError, match=r"cannot be read: .*Too many open files"):
                load(path)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert load(path)[1] == {"number": 1}
    assert load(previous(path))[1] == {"number": 0}


def test_another_file_in_its_place_is_left_as_it_is(path):
    save(path, TENSORS, {"number": 0})
    path.rename(previous(path))
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of netmorph"):
        load(path)
    assert len(existing(path)) == 2


def test_a_failed_save_keeps_the_checkpoint(path):
    save(path, TENSORS, {"number": 0})
    with pytest.raises(ValueError, match="JSON"):
        save(path, TENSORS, {"number": float("nan")})
    assert load(path)[1] == {"number": 0}


def test_after_damage_the_whole_one_is_never_given_up(path):
    """The damaged one must not take the place of the one before when the next is saved."""
    save(path, TENSORS, {"number": 0})
    save(path, TENSORS, {"number": 1})
    path.write_bytes(b"")
    with pytest.warns(UserWarning, match="is damaged"):
        load(path)
    save(path, TENSORS, {"number": 2})
    assert load(path)[1] == {"number": 2}
    assert load(previous(path))[1] == {"number": 0}


def disk_full(*arguments):
    raise OSError(28, "No space left on device")


def disk_full_for_safetensors(*arguments):
    raise SafetensorError("I/O error: No space left on device")


@pytest.mark.parametrize(
    ("module", "call", "failure"), [(os, "fsync", disk_full), (tensor_files, "save_file", disk_full_for_safetensors)]
)
def test_a_full_disk_keeps_both(path, monkeypatch, module, call, failure):
    save(path, TENSORS, {"number": 0})
    save(path, TENSORS, {"number": 1})
    with monkeypatch.context() as patch:
        patch.setattr(module, call, failure)
        with pytest.raises(SaveError, match="No space left"):
            save(path, TENSORS, {"number": 2})
    assert (load(path)[1], load(previous(path))[1]) == ({"number": 1}, {"number": 0})
    assert len(list(path.parent.iterdir())) == 2


def test_what_killed_processes_left_is_removed(path):
    path.parent.mkdir()
    other = path.with_name(".other.abc.tmp")
    for file in (path.with_name(f".{path.name}.abc.tmp"), path.with_name(f".{path.name}.def.tmp"), other):
        file.mkdir()
        (file / "half").write_bytes(b"half")
    save(path, TENSORS, {})
    assert sorted(path.parent.iterdir()) == [other, path]
