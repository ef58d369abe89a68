"""What a chain keeps of the samples of its head, against heads that are solved from all of them."""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from netmorph import data, solve
from netmorph.chain import ChainError, Kept, Learnt, network_of
from netmorph.chain.heads import PENALTIES
from netmorph.chain.learnt import HEAD, KEPT
from netmorph.data import Dataset, Split
from netmorph.train.inputs import prepare
from netmorph.zoo import ModelError
from tests.chain.small_bank import digits

LOW, HIGH, ALL = range(5), range(3, 10), range(10)  # 3 and 4 are in both: more samples of what is known


@pytest.fixture(scope="module")
def whole() -> Dataset:
    return digits()


def some(dataset: Dataset, labels: range, samples: slice = slice(None)) -> Dataset:
    """The samples of some classes, in two halves of the train part if asked for; the names stay."""

    def of(part: Split) -> Split:
        return part.select(((part.targets >= labels[0]) & (part.targets <= labels[-1])).nonzero()[:, 0][samples])

    names = tuple(dataset.classes[label] for label in labels)
    parts = [of(part) for part in (dataset.train, dataset.validation, dataset.test)]
    moved = [Split(part.inputs, part.targets - labels[0]) for part in parts]
    return replace(
        dataset, train=moved[0], validation=moved[1], test=moved[2], outputs=len(names), classes=names, name="some"
    )


@pytest.fixture(scope="module")
def body() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.AvgPool2d(2))
    return nn.Sequential(OrderedDict(layer1=layer, readout=nn.Flatten())).double().eval()


def found(body: nn.Sequential, dataset: Dataset) -> Kept:
    """What a search keeps."""
    like = torch.empty(0, dtype=torch.float64)
    with torch.no_grad():
        rows = body(prepare(dataset.validation.inputs, dataset, like))
    learnt = Learnt.of(body, dataset, rows, dataset.validation.targets)
    network = nn.Sequential(
        OrderedDict([*body.named_children(), (HEAD, solve.as_linear(learnt.head(), torch.float64))])
    )
    return Kept.of(network, dataset, learnt)


@pytest.fixture(scope="module")
def low(body: nn.Sequential, whole: Dataset) -> Kept:
    return found(body, some(whole, LOW))


def weights(kept: Kept) -> torch.Tensor:
    assert kept.learnt is not None
    head = kept.learnt.head()
    return torch.cat([head.weight, head.bias[:, None]], 1) / kept.learnt.sharpness


def test_new_classes_are_learnt_as_if_all_had_been_there(body: nn.Sequential, low: Kept, whole: Dataset) -> None:
    first, second = some(whole, HIGH, slice(0, None, 2)), some(whole, HIGH, slice(1, None, 2))

    extended = low.extended(first).extended(second)

    train = whole.train
    more = [part.train.select((part.train.targets < 2).nonzero()[:, 0]) for part in (first, second)]  # 3 and 4 again
    everything = Split(
        torch.cat([train.inputs, *(part.inputs for part in more)]),
        torch.cat([train.targets, *(part.targets + 3 for part in more)]),
    )
    expected = found(body, replace(whole, train=everything))
    assert extended.classes == whole.classes
    assert (weights(extended) - weights(expected)).abs().max() < 1e-8 * weights(expected).abs().max()
    assert extended.network.get_submodule(HEAD).get_parameter("weight").shape == (10, 54)
    assert extended.accuracy(whole) > 0.9
    assert extended.accuracy(some(whole, LOW)) > 0.9
    assert low.network.get_submodule(HEAD).get_parameter("weight").shape == (5, 54)  # as it was


def test_they_are_what_recursive_least_squares_learns(body: nn.Sequential, low: Kept, whole: Dataset) -> None:
    new = some(whole, range(5, 10))
    assert low.learnt is not None
    extended = low.extended(new)
    assert extended.learnt is not None
    with torch.no_grad():
        rows = body(prepare(new.train.inputs, new, torch.empty(0, dtype=torch.float64)))

    errors = []
    for share in PENALTIES:
        penalty = share * extended.learnt.moments.scale
        recursive = solve.Recursive(low.learnt.moments, penalty)
        recursive.add(rows, solve.one_hot(new.train.targets + 5, 10))
        head = solve.ridge(extended.learnt.moments, penalty)
        errors.append(float((recursive.head.weight - head.weight).abs().max() / head.weight.abs().max()))

    assert max(errors) < 1e-8


def test_a_file_holds_no_sample(low: Kept, whole: Dataset, tmp_path: Path) -> None:
    low.save(tmp_path / "few.safetensors")
    extended = low.extended(whole)
    extended.save(tmp_path / "many.safetensors")

    read = Kept.load(tmp_path / "many.safetensors")

    few, many = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("few", "many"))
    assert many < few + 8 * 5 * 120 + 500  # five more columns, however many samples
    assert (read.classes, read.preparation) == (extended.classes, extended.preparation)
    assert torch.equal(weights(read), weights(extended))
    assert torch.equal(weights(read.extended(whole)), weights(extended.extended(whole)))


def test_what_cannot_be_extended_is_said(low: Kept, whole: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ChainError, match=r"keeps no moments .*--solved-ends"):
        replace(low, learnt=None).extended(whole)
    for other, reason in (
        (data.load("digits", size=(6, 6)), r"takes inputs of shape 1x8x8 float64, and those of digits are 1x6x6"),
        (data.load("diabetes"), "choose data whose samples have one class each"),
        (data.tensors(torch.randn(90, 1, 8, 8), torch.arange(90) % 3), "of another kind"),
    ):
        with pytest.raises(ChainError, match=reason):
            low.extended(other)
    with pytest.raises(ChainError, match=r"there is no chain\.safetensors; give the folder of a search"):
        network_of((1, 8, 8), 10, str(tmp_path))
    low.save(tmp_path / KEPT)
    with pytest.raises(ModelError, match="answers with 5 classes; the data have 1x8x8 and 10"):
        network_of((1, 8, 8), 10, str(tmp_path))
    held = (tmp_path / KEPT).read_bytes()
    (tmp_path / KEPT).write_bytes(held[:-9] + b"something")
    with pytest.raises(ChainError, match="is damaged, or was not written by netmorph: its checksum differs"):
        Kept.load(tmp_path / KEPT)
    assert low.learnt is not None
    wrong = replace(low.learnt, moments=low.learnt.moments.with_targets(7))
    replace(low, learnt=wrong).save(tmp_path / KEPT)
    with pytest.raises(ChainError, match="its moments are of other features or classes than its head"):
        Kept.load(tmp_path / KEPT)


def test_tables_are_extended_where_their_columns_are_encoded_alike(tmp_path: Path) -> None:
    rows = [f"{number % 7},{number % 5},{number % 11},{'abc'[number % 3]}" for number in range(90)]
    (tmp_path / "one.csv").write_text("\n".join(["x,y,z,kind", *rows]))
    (tmp_path / "two.csv").write_text("\n".join(["x,y,z,kind", *(row.replace(",a", ",d") for row in rows)]))
    (tmp_path / "other.csv").write_text("\n".join(["x,y,w,kind", *rows]))
    one, two, other = (data.load(tmp_path / f"{name}.csv", target="kind") for name in ("one", "two", "other"))
    linear = nn.Sequential(OrderedDict(layer1=nn.Linear(3, 4), readout=nn.Identity())).double().eval()
    kept = found(linear, one)

    assert kept.extended(two).classes == ("a", "b", "c", "d")
    with pytest.raises(ChainError, match="columns that are encoded in another way"):
        kept.extended(other)
