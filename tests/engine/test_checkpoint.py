import pytest
import torch
from safetensors.torch import save_file

from netmorph.engine.checkpoint import CheckpointError, exists, load, previous, save

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
    assert not exists(path)
    for number in range(3):
        save(path, TENSORS, {"number": number})
    assert load(path)[1] == {"number": 2}
    assert load(previous(path))[1] == {"number": 1}
    assert sorted(file.name for file in path.parent.iterdir()) == [path.name, previous(path).name]
    path.unlink()
    assert exists(path)
    assert load(path)[1] == {"number": 1}


def truncate(content):
    return content[: len(content) // 2]


def flip_a_bit_of_a_tensor(content):
    return content[:-1] + bytes([content[-1] ^ 1])


def change_a_plain_value(content):
    return content.replace(b"number", b"nombre")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit_of_a_tensor, change_a_plain_value, lambda content: b""])
def test_damage_is_found(path, damage):
    save(path, TENSORS, {"number": 0})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged.*delete it"):
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


def test_a_failed_save_keeps_the_checkpoint(path):
    save(path, TENSORS, {"number": 0})
    with pytest.raises(ValueError, match="JSON"):
        save(path, TENSORS, {"number": float("nan")})
    assert load(path)[1] == {"number": 0}
