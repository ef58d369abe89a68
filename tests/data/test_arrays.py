import numpy as np
import pytest
import torch

from netmorph import data
from netmorph.data import Columns, DataError, Pixels, tensors
from netmorph.tasks import Task


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape)


def images(count=30):
    return np.random.default_rng(0).integers(0, 256, (count, 1, 4, 4), dtype=np.uint8)


LABELS = np.arange(30) % 3


def test_features_and_labels():
    dataset = tensors(drawn(30, 4), LABELS)
    assert (dataset.name, dataset.task.name, dataset.outputs) == ("tensors", "classification", 3)
    assert dataset.classes == ("0", "1", "2")
    assert dataset.input_shape == (4,)
    assert dataset.train.inputs.dtype == torch.float32
    assert dataset.preparation == Columns.measured(dataset.train.inputs)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (21, 3, 6)
    assert dataset.test.targets.bincount().tolist() == [2, 2, 2]


@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 2)])
def test_values(shape):
    dataset = tensors(drawn(30, 4), drawn(*shape))
    columns = shape[1] if len(shape) > 1 else 1
    assert (dataset.task.name, dataset.outputs, dataset.classes) == ("regression", columns, ())
    assert dataset.train.targets.shape == (20, columns)
    torch.testing.assert_close(
        dataset.task.answers(torch.zeros(1, columns)),
        dataset.train.targets.mean(0, keepdim=True),
    )


def test_the_task_decides_over_the_dtype():
    assert tensors(drawn(30, 4), LABELS, task="regression").task.name == "regression"
    assert tensors(drawn(30, 4), LABELS > 0).classes == ("0", "1")


def test_images_of_bytes_and_of_floats():
    bytes_ = tensors(torch.from_numpy(images()), LABELS, classes=["cat", "dog", "owl"])
    assert (bytes_.input_shape, bytes_.has_images, bytes_.classes) == ((1, 4, 4), True, ("cat", "dog", "owl"))
    assert bytes_.preparation == Pixels.measured(bytes_.train.inputs)
    assert tensors(images()[:, 0], LABELS).input_shape == (1, 4, 4)
    floats = tensors(drawn(30, 3, 4, 4), LABELS)
    assert (floats.has_images, len(floats.preparation.mean)) == (False, 3)


def test_parts_that_are_given_stay():
    x, y = drawn(30, 4), drawn(30)
    dataset = tensors(x[:20], y[:20], x_validation=x[20:25], y_validation=y[20:25], x_test=x[25:], y_test=y[25:])
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 5, 5)
    torch.testing.assert_close(dataset.test.targets, torch.tensor(y[25:, None], dtype=torch.float32))
    held = tensors(x[:20], y[:20], x_test=x[25:], y_test=y[25:])
    assert (len(held.train), len(held.validation)) == (17, 3)


def test_classes_are_those_of_all_parts():
    dataset = tensors(drawn(4, 2), [0, 1, 0, 1], x_test=drawn(1, 2), y_test=[2], validation=0)
    assert dataset.outputs == 3


def test_lists_do():
    assert tensors([[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]], [1.0, 2.0, 3.0]).input_shape == (2,)


def test_the_seed_splits_and_the_fingerprint_stays():
    first, again, other = (tensors(drawn(30, 4), LABELS, seed=seed) for seed in (1, 1, 2))
    assert first.train.digest() == again.train.digest() != other.train.digest()
    assert first.fingerprint == other.fingerprint != tensors(drawn(30, 4) + 1, LABELS).fingerprint


def absolute(outputs, targets):
    return (outputs - targets).abs().mean()


def test_a_task_of_ones_own_takes_targets_as_they_are():
    task = Task("mine", absolute)
    dataset = tensors(drawn(30, 4), drawn(30, 2, 3), task=task, outputs=6)
    assert dataset.task is task
    assert (dataset.outputs, dataset.train.targets.shape) == (6, (20, 2, 3))
    named = tensors(drawn(30, 4), LABELS, task=task, classes=["a", "b", "c"])
    assert (named.outputs, named.classes, named.test.targets.bincount().tolist()) == (3, ("a", "b", "c"), [2, 2, 2])
    with pytest.raises(DataError, match="how many numbers answer the task 'mine'"):
        tensors(drawn(30, 4), drawn(30), task=task)


def test_inputs_that_are_refused():
    with pytest.raises(DataError, match=r"got int64 \[30, 2\] for train; x.float\(\) makes"):
        tensors(np.ones((30, 2), dtype=np.int64), LABELS)
    with pytest.raises(DataError, match=r"got float64 \[30\] for train"):
        tensors(drawn(30), LABELS)
    with pytest.raises(DataError, match="train has 29 inputs and 30 targets"):
        tensors(drawn(29, 2), LABELS)
    with pytest.raises(DataError, match="the inputs of train must be an array of numbers"):
        tensors([[1.0], [2.0, 3.0]], [0, 1])
    with pytest.raises(DataError, match="the targets of train must be an array of numbers"):
        tensors(drawn(2, 2), np.array(["a", "b"]))
    with pytest.raises(DataError, match="test needs both inputs and targets, got inputs alone"):
        tensors(drawn(30, 2), LABELS, x_test=drawn(3, 2))
    with pytest.raises(DataError, match=r"inputs of test are float32 \[3, 5\], and those of train float32 \[30, 2\]"):
        tensors(drawn(30, 2), LABELS, x_test=drawn(3, 5), y_test=[0, 1, 2])
    with pytest.raises(DataError, match="validation has no samples"):
        tensors(drawn(30, 2), LABELS, x_validation=drawn(0, 2), y_validation=LABELS[:0])
    with pytest.raises(DataError, match="validation must be a fraction"):
        tensors(drawn(30, 2), LABELS, validation=1)


def test_inputs_that_are_not_finite_are_named():
    x = drawn(30, 3)
    x[4, 1], x[5, 1], x[0, 2] = np.nan, np.inf, 1e300
    with pytest.raises(
        DataError, match=r"inputs of train are NaN or infinite in the columns 1 \(2 values\), 2 \(1 values\) of 3"
    ):
        tensors(x, LABELS)


def test_targets_that_are_refused():
    for targets, options, message in (
        (LABELS + 1, {"classes": ["a", "b", "c"]}, "labels run from 1 to 3; for 3 classes they must be 0 to 2"),
        (LABELS - 1, {}, "labels run from -1 to 1"),
        (LABELS * 0, {}, "every sample is of class '0'"),
        (drawn(30), {"task": "classification"}, r"labels must be integers \[N\].*got float64 \[30\]"),
        (LABELS[:, None], {}, r"labels must be integers \[N\].*got int64 \[30, 1\]"),
        (drawn(30, 1, 1), {}, r"values to regress must be \[N\] or \[N, K\], got float64 \[30, 1, 1\]"),
        (np.full(30, 2.5), {}, "every target is 2.5"),
        (np.where(LABELS, np.nan, 1.5), {}, "20 of 30 targets are NaN or infinite"),
    ):
        with pytest.raises(DataError, match=message):
            tensors(drawn(30, 2), targets, **options)


def test_npz(tmp_path):
    np.savez(tmp_path / "all.npz", x=images(), y=LABELS)
    assert data.load(tmp_path / "all.npz").classes == ("0", "1", "2")
    np.savez(tmp_path / "parts.npz", x_train=drawn(30, 2), y_train=drawn(30), x_test=drawn(4, 2), y_test=drawn(4))
    dataset = data.load(tmp_path / "parts.npz", train_size=12)
    assert (dataset.name, dataset.task.name) == ("parts.npz", "regression")
    assert (len(dataset.train), len(dataset.test)) == (12, 4)


def test_npz_that_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", images=images(), y=LABELS)
    with pytest.raises(DataError, match=r"must hold the arrays x and y .*; got images, y"):
        data.load(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}, None], dtype=object), y=LABELS[:2])
    with pytest.raises(DataError, match=r"cannot be read: Object arrays cannot be loaded.*no arrays of objects"):
        data.load(tmp_path / "objects.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(DataError, match=r"text.npz cannot be read"):
        data.load(tmp_path / "text.npz")
    (tmp_path / "empty.npz").touch()
    with pytest.raises(DataError, match=r"empty.npz cannot be read"):
        data.load(tmp_path / "empty.npz")


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (drawn(30, 2), LABELS, {"task": "text"}, "task must be 'classification' or 'regression' or a Task of your own"),
        (drawn(30, 2), LABELS, {"task": absolute}, "task must be 'classification'"),
        (drawn(30, 2), LABELS, {"outputs": 7}, "outputs is for a Task of your own"),
        (
            drawn(30, 2),
            drawn(30),
            {"classes": ["a", "b"]},
            "classes name labels, which are integers, and the targets are",
        ),
        (drawn(30, 2), LABELS, {"classes": ["a", "b", "a"]}, "classes must have different names"),
        (drawn(30, 2), LABELS * 10**9, {}, "labels run from 0 to 2000000000 in 30 samples"),
        (images()[:, 0, :, :3].repeat(2, 1)[..., None].repeat(3, 3), LABELS, {}, "have their channels last"),
        (drawn(30, 0), LABELS, {}, "have no features"),
        (np.ma.masked_array(drawn(30, 2), drawn(30, 2) > 1), LABELS, {}, "a masked array, whose mask would be lost"),
        (torch.empty(30, 2, device="meta"), LABELS, {}, "inputs of train must be an array of numbers"),
        (drawn(30, 2), LABELS, {"validation": "0.1"}, "validation must be a fraction.*got '0.1'"),
    ],
)
def test_what_would_be_taken_for_something_else_is_refused(x, y, options, message):
    with pytest.raises(DataError, match=message):
        tensors(x, y, **options)


def test_numbers_of_which_float32_keeps_too_little_are_refused():
    x, y = drawn(30, 2), drawn(30)
    with pytest.raises(DataError, match=r"the targets vary by .* around 999999999.87.*subtract 999999999.87"):
        tensors(x, y + 1e9)
    with pytest.raises(DataError, match="the inputs of train, column 1 from 0, vary by"):
        tensors(x + np.array([0, 1e9]), y)
    shifted = tensors(x + np.array([0, 1e3]), y + 1e3)
    assert shifted.train.targets.dtype == torch.float32
    assert tensors(np.full((30, 2), 1e9 + 0.1), y).input_shape == (2,)  # equal numbers stay equal
