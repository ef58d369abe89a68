import numpy as np
import pytest
import torch
from torch import nn

from netmorph import data
from netmorph.data import Columns, DataError
from netmorph.data.tables import Names, Numbers
from netmorph.data.tabular import table_dataset
from netmorph.data.targets import FEW


def numbers(values, whole=False):
    return Numbers(torch.as_tensor(np.array(values, dtype=np.float64)), whole)


def names(values):
    known = tuple(dict.fromkeys(value for value in values if value is not None))
    return Names(torch.tensor([-1 if value is None else known.index(value) for value in values]), known)


def table(target, count=None):
    count = len(target.missing) if count is None else count
    return {"x": numbers(range(count)), "y": target}


def loaded(target, **options):
    return table_dataset("t", table(target), "y", **options)


def test_values_are_regressed_on_the_scale_of_the_train_targets():
    dataset = loaded(numbers(np.linspace(-5, 40, 50)))
    assert (dataset.task.name, dataset.outputs, dataset.classes, dataset.input_shape) == ("regression", 1, (), (1,))
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (34, 6, 10)
    targets = dataset.train.targets
    assert (targets.shape, targets.dtype) == ((34, 1), torch.float32)
    mean, std = targets.mean(), targets.std(correction=0)
    torch.testing.assert_close(
        dataset.task.answers(torch.tensor([[0.0], [1.0]])), torch.stack([mean, mean + std])[:, None]
    )


def test_rows_stay_together_with_their_targets_and_no_row_is_in_two_parts():
    dataset = loaded(numbers(np.arange(50) * 3.0))
    seen = []
    for part in (dataset.train, dataset.validation, dataset.test):
        assert torch.equal(part.inputs * 3, part.targets)
        seen += part.inputs.flatten().tolist()
    assert sorted(seen) == list(range(50))


def test_inputs_are_prepared_by_what_the_train_rows_measure():
    dataset = loaded(numbers(np.arange(50.0)))
    assert dataset.preparation == Columns.measured(dataset.train.inputs)
    assert not dataset.has_images


def test_strings_are_classes_in_every_part():
    dataset = loaded(names(["no", "yes", "no", "maybe"] * 10))
    assert (dataset.task.name, dataset.outputs, dataset.classes) == ("classification", 3, ("maybe", "no", "yes"))
    for part in (dataset.train, dataset.validation, dataset.test):
        assert part.targets.dtype == torch.int64
        assert part.targets.unique().tolist() == [0, 1, 2]
    rows = dataset.train.inputs.flatten().long() % 4
    assert torch.equal(dataset.train.targets, torch.tensor([1, 2, 1, 0])[rows])


@pytest.mark.parametrize(
    ("target", "task", "found"),
    [
        (numbers(np.arange(100) % FEW, whole=True), None, "classification"),
        (numbers(np.arange(100) % (FEW + 1), whole=True), None, "regression"),
        (numbers(np.arange(100) % 2), None, "regression"),
        (numbers(np.arange(100) % 2), "classification", "classification"),
        (numbers(np.arange(100) % 2, whole=True), "regression", "regression"),
    ],
)
def test_the_target_decides_unless_the_task_is_given(target, task, found):
    assert loaded(target, task=task).task.name == found


def test_classes_of_numbers_are_in_their_order():
    assert loaded(numbers([10, 9, -1, 10] * 5, whole=True)).classes == ("-1", "9", "10")
    assert loaded(numbers([0.5, 2] * 5), task="classification").classes == ("0.5", "2")


def test_the_seed_splits_and_the_fingerprint_stays():
    target = numbers(np.arange(50.0))
    first, again, other = (loaded(target, seed=seed) for seed in (1, 1, 2))
    assert first.train.digest() == again.train.digest() != other.train.digest()
    assert first.fingerprint == other.fingerprint
    assert first.fingerprint != table_dataset("t", table(target), "x").fingerprint
    assert first.fingerprint != loaded(numbers(np.arange(50.0) + 1)).fingerprint


def test_train_size_keeps_rows_of_the_same_train_part():
    whole, part = loaded(numbers(np.arange(50.0))), loaded(numbers(np.arange(50.0)), train_size=10)
    assert set(part.train.targets.flatten().tolist()) < set(whole.train.targets.flatten().tolist())
    assert part.test.digest() == whole.test.digest()
    with pytest.raises(DataError, match="train_size must be between 1 and 34, all train samples"):
        loaded(numbers(np.arange(50.0)), train_size=35)


def test_targets_that_cannot_be_learnt():
    with pytest.raises(DataError, match=r"no column 'z'; the table has 'x', 'y'"):
        table_dataset("t", table(numbers([1, 2])), "z")
    with pytest.raises(
        DataError, match=r"name the column of the table 't' to learn \(target=..., or --target\); it has 'x', 'y'"
    ):
        table_dataset("t", table(numbers([1, 2])), None)
    with pytest.raises(DataError, match="the target 'y' is 7 in every row"):
        loaded(numbers([7, 7, 7]))
    with pytest.raises(DataError, match="the target 'y' is no in every row"):
        loaded(names(["no", "no"]))
    with pytest.raises(DataError, match="the target 'y' is missing in 2 of 3 rows"):
        loaded(numbers([7, np.nan, np.nan]))
    with pytest.raises(DataError, match="the target 'y' is missing in 1 of 3 rows"):
        loaded(names(["a", None, "b"]))
    with pytest.raises(DataError, match=r"the target 'y' is infinite .* in 1 rows"):
        loaded(numbers([7, np.inf, 3]))
    with pytest.raises(DataError, match="'y' holds strings such as 'no', and regression is for numbers"):
        loaded(names(["no", "yes"]), task="regression")
    with pytest.raises(DataError, match=r"50 different values in 50 rows, too few.*take task='regression'"):
        loaded(numbers(np.arange(50) / 7), task="classification")
    with pytest.raises(DataError, match=r"4 different values in 4 rows, too few .*group its values"):
        loaded(names(["a", "b", "c", "d"]))


def test_too_few_rows_for_three_parts():
    with pytest.raises(DataError, match="cannot split the samples: only one is left"):
        loaded(numbers([1, 2]))
    with pytest.raises(DataError, match="cannot split the samples of class 'b': only one is left"):
        loaded(names(["a"] * 9 + ["b"]))


def test_a_csv_from_start_to_end(tmp_path):
    pytest.importorskip("pyarrow")
    path = tmp_path / "houses.csv"
    rows = [f"{area},{'old' if area % 3 else 'new'},2020-01-01,{area * 2.5}" for area in range(40)]
    path.write_text("\n".join(["area,age,sold,price", *rows]))
    houses = data.load(path, target="price", ignore=["sold"])
    assert (houses.name, houses.task.name, houses.input_shape) == ("houses.csv", "regression", (3,))
    assert houses.encoder.features == ("area", "age=new", "age=old")
    assert houses.encoder.encode({"area": [5.0], "age": ["new"]}).tolist() == [[5, 1, 0]]
    with pytest.raises(DataError, match="the column 'sold' is of type date32"):
        data.load(path, target="price")


def test_diabetes():
    diabetes = data.load("diabetes")
    assert (diabetes.name, diabetes.task.name, diabetes.input_shape, diabetes.outputs) == (
        "diabetes",
        "regression",
        (10,),
        1,
    )
    assert (len(diabetes.train), len(diabetes.validation), len(diabetes.test)) == (301, 53, 88)
    assert diabetes.encoder.features[:4] == ("age", "sex", "bmi", "bp")
    assert 25 <= diabetes.train.targets.min() < diabetes.train.targets.max() <= 346
    assert data.load("diabetes", target="bmi", ignore=["progression"]).input_shape == (9,)
    with pytest.raises(DataError, match="no column 'bim'"):
        data.load("diabetes", target="bmi", ignore=["bim"])


def test_a_small_network_learns_diabetes_better_than_the_mean():
    diabetes = data.load("diabetes")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, diabetes.outputs))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        for inputs, targets in data.batches(diabetes.train, 32, generator=generator):
            optimizer.zero_grad()
            diabetes.task.loss(model(diabetes.preparation(inputs, torch.empty(0))), targets).backward()
            optimizer.step()
    with torch.no_grad():
        outputs = model(diabetes.preparation(diabetes.test.inputs, torch.empty(0)))
    numbers = diabetes.task.numbers(outputs, diabetes.test.targets)
    means = {"loss": diabetes.task.loss(outputs, diabetes.test.targets), **numbers}
    assert diabetes.task.told({name: float(value) for name, value in means.items()})["r2"] > 0.3


def test_numbers_of_which_too_few_digits_are_left_are_refused():
    rows = torch.arange(60, dtype=torch.float64)
    varied, far = Numbers(rows), Numbers(rows + 1e10)
    with pytest.raises(DataError, match=r"the values of the target 'y' vary by 17\.3 around 10000000029\.5"):
        table_dataset("t", {"x": varied, "y": far}, "y")
    with pytest.raises(DataError, match="the values of the column 'x' vary by"):
        table_dataset("t", {"x": far, "y": varied}, "y")
    with pytest.raises(DataError, match=r"whole numbers beyond 2\*\*53.*classes as strings"):
        table_dataset("t", {"x": varied, "y": Numbers(rows % 3 * 1000 + 1e17, whole=True)}, "y")


def test_large_classes_keep_all_their_digits():
    rows = torch.arange(60, dtype=torch.float64)
    dataset = table_dataset("t", {"x": Numbers(rows), "y": Numbers(rows % 3 + 2**52, whole=True)}, "y")
    assert dataset.classes == tuple(str(2**52 + number) for number in range(3))
