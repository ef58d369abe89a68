"""Layers in a folder: put in, listed, built again, and what is told when that fails."""

import copy
import json
import multiprocessing
import pickle
import sqlite3

import pytest
import torch
from torch import nn

import netmorph
from netmorph import zoo
from netmorph.bank import Bank, BankError, EntryError, Kind, Origin, Piece, Signature, Spec
from netmorph.tensor_files import read_sealed, write_sealed
from tests.bank.hard_nets import OwnBackward, TwoInputs


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return zoo.build("resnet", (3, 16, 16), 10, width=0.25).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 16, 16)


@pytest.fixture
def bank(tmp_path):
    return Bank(tmp_path / "bank")


def test_a_network_out_of_the_bank(bank, resnet, images):
    added = bank.add(resnet, images, "resnet")
    x = images
    with torch.no_grad():
        for entry in Bank(bank.folder).entries(network="resnet"):
            x = bank.load(entry.id)(x)

        assert torch.equal(x, resnet(images))
    assert len(bank) == len(added.entries) == 8
    assert not added.left_out
    assert [entry.kind for entry in added.entries] == [Kind.BODY] * 7 + [Kind.DENSE]
    first = added.entries[0]
    assert first.origin == Origin("resnet", "conv1", 0, 8)
    assert bank.entry(first.id[:6]) == first


def test_what_is_there_stays_one_entry(bank, resnet, images):
    first = bank.add(resnet, images, "one")
    again = bank.add(resnet, images, "one")
    other = bank.add(resnet, images, "two")

    assert first == again == other
    assert len(bank) == 8
    assert bank.entries(network="two") == first.entries
    with torch.no_grad():
        next(resnet.parameters()).add_(1)
    with pytest.raises(BankError, match=r"another network is in the bank as 'one'.*--name"):
        bank.add(resnet, images, "one")
    assert len(bank.add(resnet, images, "three").entries) == 8
    assert len(bank) == 9


def test_layers_that_keep_the_shape_and_dense_ones(bank, resnet, images):
    bank.add(resnet, images, "resnet")

    kept = bank.entries(keeping_shape=True)
    assert [entry.origin.path for entry in kept] == ["stage1.0", "stage1.1", "stage2.1", "stage3.1", "fc"]
    assert bank.entries(kind=Kind.DENSE) == kept[-1:]
    assert Bank(bank.folder / "kept").add(resnet, images, "resnet", keeping_shape=True).entries == kept


def test_random_layers(bank, resnet, images):
    signature = bank.add(resnet, images, "resnet").entries[1].input
    drawn = bank.add_random(signature, 6, seed=1)

    assert {entry.kind for entry in drawn} == {Kind.RANDOM}
    assert all(entry.input.shape == entry.output.shape == signature.shape for entry in drawn)
    assert bank.add_random(signature, 6, seed=1) == drawn
    assert {entry.id for entry in bank.add_random(signature, 6, seed=2)}.isdisjoint(entry.id for entry in drawn)
    features = torch.randn(64, *signature.shape)
    with torch.no_grad():
        for entry in drawn:
            assert 0.2 < bank.load(entry.id)(features).square().mean() < 5
    for shape in ((12,), (5, 12)):
        assert len(bank.add_random(Signature.of(torch.randn(1, *shape)), 3, seed=0)) == 3
    with pytest.raises(BankError, match="float32"):
        bank.add_random(Signature.of(torch.zeros(1, 3, dtype=torch.int64)), 1, seed=0)


def test_heads_and_copies_with_lineage(bank, resnet, images):
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))
    entry = bank.add_whole(head, torch.randn(2, 16, 4, 4), "solved on something", Kind.DENSE)
    assert (entry.kind, entry.output.shape) == (Kind.DENSE, (3,))

    piece = bank.load(entry.id)
    assert bank.add_copy(entry, piece) == entry
    with torch.no_grad():
        next(piece.parameters()).add_(1)
    copy = bank.add_copy(entry, piece)
    assert (copy.parent, copy.kind, copy.origin) == (entry.id, entry.kind, entry.origin)
    assert torch.equal(next(bank.load(copy.id).parameters()), next(piece.parameters()))


def test_what_was_edited_is_cut_anew(bank):
    torch.manual_seed(0)
    inputs = torch.randn(4, 1, 28, 28)
    entry = bank.add(zoo.build("lenet5", (1, 28, 28), 10, width=0.5), inputs, "lenet").entries[0]
    piece = bank.load(entry.id)
    graph = netmorph.trace(piece, inputs)
    netmorph.apply(graph, netmorph.residual(graph, after="relu1"))

    with pytest.raises(BankError, match="add_whole"):
        bank.add_copy(entry, piece)
    again = bank.add_whole(piece, inputs, "an edited layer")
    assert torch.equal(bank.load(again.id)(inputs), piece(inputs))


def test_a_chain_of_the_bank_is_cut_into_its_layers(bank, resnet, images):
    added = bank.add(resnet, images, "resnet").entries
    chain = nn.Sequential(*(bank.load(entry.id) for entry in added))

    assert bank.add(chain, images, "chain").entries == added
    assert torch.equal(pickle.loads(pickle.dumps(chain))(images), copy.deepcopy(chain)(images))


def test_a_piece_without_its_numbers(bank, resnet, images):
    piece = bank.load(bank.add(resnet, images, "resnet").entries[1].id)
    empty = Spec.from_json(Spec.of(piece).as_json()).empty()
    assert not any(parameter.any() for parameter in empty.parameters())

    empty.load_state_dict(piece.state_dict())

    features = torch.randn(2, 4, 16, 16)
    assert torch.equal(empty(features), piece(features))


def test_layers_in_front_of_one(bank, resnet, images):
    added = bank.add(resnet, images, "resnet")

    assert bank.before(added.entries[3]) == added.entries[:3]
    assert bank.behind(added.entries[3]) == added.entries[4:-1]  # but for the dense one
    bank.remove(added.entries[1].id)
    with pytest.raises(EntryError, match="not all in the bank"):
        bank.before(added.entries[3])
    with pytest.raises(EntryError, match="what stands behind entry"):
        bank.behind(added.entries[0])
    with pytest.raises(EntryError, match="has 7 entries"):
        bank.entry(added.entries[1].id)
    assert bank.add(resnet, images, "resnet").entries[1].id == added.entries[1].id


def test_where_there_is_no_bank(bank, tmp_path):
    with pytest.raises(BankError, match="there is no bank in"):
        bank.entries()
    other = tmp_path / "other"
    other.mkdir()
    sqlite3.connect(other / "bank.sqlite").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(BankError, match="no bank of netmorph"):
        len(Bank(other))
    (other / "bank.sqlite").write_text("nothing of the kind")
    with pytest.raises(BankError, match="no database"):
        len(Bank(other))


def test_files_that_are_gone_or_damaged(bank, resnet, images):
    added = bank.add(resnet, images, "resnet").entries
    gone, damaged, swapped, foreign = (bank.folder / "pieces" / f"{entry.id}.safetensors" for entry in added[:4])
    gone.unlink()
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 1
    damaged.write_bytes(content)
    swapped.write_bytes(foreign.read_bytes())

    with pytest.raises(EntryError, match=rf"{added[0].id} is gone: .*netmorph bank remove {added[0].id}"):
        bank.load(added[0].id)
    with pytest.raises(EntryError, match=r"cannot be used: .*checksum"):
        bank.load(added[1].id)
    with pytest.raises(EntryError, match="another layer"):
        bank.load(added[2].id)
    assert isinstance(bank.load(added[3].id), Piece)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["instructions"][0].update(does="aten::from_file.default"),
        lambda told: told["instructions"][0].update(does="os::system.default"),
        lambda told: told["layers"].update(conv1=["Module", {"dict": {}}]),
        lambda told: told["layers"].update(conv1=["Conv2d", {"dict": {"in_channels": 10**9, "out_channels": 10**9}}]),
        lambda told: told["own"].update(extra=[[2], {"dtype": "float32"}, True]),
        lambda told: told["own"].update(extra=[[2], {"dtype": "load"}, True]),
        lambda told: told["instructions"][0].update(args=[{"code": "print()"}]),
    ],
)
def test_what_a_file_asks_for_is_not_run(bank, resnet, images, change, monkeypatch):
    entry = bank.add(resnet, images, "resnet").entries[0]
    path = bank.folder / "pieces" / f"{entry.id}.safetensors"
    tensors, told = read_sealed(path)
    told = json.loads(json.dumps(told))
    change(told)
    write_sealed(tensors, path, told)
    monkeypatch.setattr("netmorph.bank.store.content_id", lambda *content: entry.id)  # as if it had been forged

    with pytest.raises(EntryError, match="cannot be used"):
        bank.load(entry.id)


def test_what_cannot_be_kept(bank):
    with pytest.raises(BankError, match="custom function"):
        bank.add(OwnBackward(), torch.randn(2, 4), "own")
    added = bank.add(TwoInputs(), (torch.randn(2, 4), torch.randn(2, 3)), "two")
    assert [entry.origin.path for entry in added.entries] == ["body", "head"]
    assert "several tensors enter" in added.left_out["the beginning"]


def _add(folder, seed):
    torch.manual_seed(seed)
    Bank(folder).add(zoo.build("mlp", (6,), 3, width=0.1), torch.randn(2, 6), f"mlp {seed}")


def test_several_processes_add_at_once(bank):
    _add(bank.folder, 0)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add, args=(bank.folder, seed)) for seed in (1, 2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(bank) == 12
    assert all(bank.load(entry.id) for entry in bank.entries())
