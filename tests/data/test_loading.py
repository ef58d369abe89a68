import os
import subprocess
import sys

import pytest
import torch
from written import write_class_folders

from netmorph import data
from netmorph.data import DataError
from netmorph.tasks import Task


def test_digits():
    digits = data.load("digits")
    assert (digits.name, digits.input_shape) == ("digits", (1, 8, 8))
    assert digits.classes == tuple("0123456789")
    assert len(digits.train) + len(digits.validation) + len(digits.test) == 1797
    assert abs(len(digits.test) - 0.2 * 1797) <= 5
    assert digits.train.inputs.max() == 255
    for split in (digits.train, digits.validation, digits.test):
        assert len(split.targets.unique()) == 10
    pixels = digits.train.inputs.double() / 255
    assert digits.preparation.mean[0] == pytest.approx(pixels.mean().item())
    assert digits.preparation.std[0] == pytest.approx(pixels.std(correction=0).item())


def test_splits_are_those_of_the_seed():
    first, again, other = (data.load("digits", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.validation.inputs, again.validation.inputs)
    assert not torch.equal(first.test.inputs[:300], other.test.inputs[:300])
    assert first.fingerprint == other.fingerprint


def test_the_test_split_depends_on_the_seed_alone():
    first = data.load("digits", seed=3)
    second = data.load("digits", seed=3, validation=0.4, train_size=50)
    assert torch.equal(first.test.inputs, second.test.inputs)
    assert len(second.train) == 50


def test_train_size_is_balanced():
    assert data.load("digits", train_size=160).train.targets.bincount().tolist() == [16] * 10


@pytest.mark.parametrize("size", [9, 1500])
def test_train_size_out_of_range(size):
    with pytest.raises(DataError, match=f"between 10, one sample a class, and 1222.*got {size}"):
        data.load("digits", train_size=size)


@pytest.mark.parametrize("validation", [-0.1, 1, float("nan")])
def test_validation_out_of_range(validation):
    with pytest.raises(DataError, match="validation must be a fraction"):
        data.load("digits", validation=validation)


def test_size_out_of_range():
    with pytest.raises(DataError, match="size must be"):
        data.load("digits", size=(0, 8))


def test_digits_resized():
    assert data.load("digits", size=(16, 16)).input_shape == (1, 16, 16)


def test_unknown_names_and_folders(tmp_path):
    with pytest.raises(DataError, match=r"'fashon_mnist' .did you mean 'fashion_mnist'.*digits, mnist"):
        data.load("fashon_mnist")
    with pytest.raises(DataError, match=r"no folder .*missing"):
        data.load(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"a file of no known kind; expected .csv, .*task='text'"):
        data.load(tmp_path / "file")


def test_folders_without_data(tmp_path):
    with pytest.raises(DataError, match="is empty; expected one of"):
        data.load(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="holds no data that netmorph knows; expected one of"):
        data.load(tmp_path)


# kinds


def absolute(outputs, targets):
    return (outputs - targets).abs().mean()


def test_a_text_file_and_any_file_as_text(tmp_path):
    (tmp_path / "novel.TXT").write_text("It was a dark night. " * 20)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n" * 50)
    assert data.load(tmp_path / "novel.TXT", window=8).task.name == "text"
    assert data.load(tmp_path / "table.csv", task="text", window=8).encoder.known == "\n,12ab"


def test_a_task_of_ones_own_replaces_that_of_the_data():
    task = Task("mine", absolute)
    own, plain = data.load("diabetes", task=task), data.load("diabetes")
    assert own.task is task
    assert own.train.digest() == plain.train.digest()


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("digits", {"target": "x"}, "target is not for images, which digits is taken for; leave it out"),
        ("digits", {"window": 8}, "window is not for images"),
        ("digits", {"task": "text"}, "task must be 'classification' for images, which digits is taken for; got 'text'"),
        ("diabetes", {"size": (8, 8)}, "size is not for a table"),
        ("diabetes", {"task": "clasification"}, "task must be 'classification' or 'regression' for a table"),
        ("diabetes", {"missing": "median"}, "missing must be 'refuse' or 'mean' for a table"),
        ("stdlib", {"ignore": ["a"]}, "ignore is not for a text"),
        ("diabetes", {"ignore": "age"}, r"ignore takes a list of columns, ignore=\['age'\] for one"),
        ("stdlib", {"window": 8.5}, "a window must be a whole number of tokens"),
        ("stdlib", {"unit": "word"}, "unit must be 'character' or 'byte' for a text"),
        ("stdlib", {"task": "regression"}, "task must be 'text' for a text"),
    ],
)
def test_options_for_other_data_are_refused(source, options, message):
    with pytest.raises(DataError, match=message):
        data.load(source, **options)


def test_a_folder_of_texts_says_how_to_read_it(tmp_path):
    (tmp_path / "main.py").write_text("print()")
    with pytest.raises(DataError, match="or any text, with task='text'"):
        data.load(tmp_path)


# cache


def test_a_second_load_decodes_nothing(pictures, tmp_path, monkeypatch):
    first = data.load(pictures, cache=tmp_path / "cache")
    monkeypatch.setattr("netmorph.data.images.decode_image", None)
    again = data.load(pictures, cache=tmp_path / "cache")
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert torch.equal(first.test.targets, again.test.targets)
    assert (first.classes, first.fingerprint) == (again.classes, again.fingerprint)


def test_changed_files_are_read_again_and_replace_the_cached(pictures, tmp_path):
    first = data.load(pictures, cache=tmp_path / "cache")
    os.replace(pictures / "cat" / "00.png", pictures / "dog" / "10.png")
    again = data.load(pictures, cache=tmp_path / "cache")
    assert first.fingerprint != again.fingerprint
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("keep", [0, 5, -7])
def test_a_damaged_cache_is_rebuilt(pictures, tmp_path, keep):
    first = data.load(pictures, cache=tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    assert data.load(pictures, cache=tmp_path / "cache").fingerprint == first.fingerprint
    assert path.stat().st_size == len(whole)


def test_writing_to_loaded_images_leaves_the_cache_alone(tmp_path):
    write_class_folders(tmp_path / "set" / "train", ("cat", "dog"), 10, 4, 4)
    write_class_folders(tmp_path / "set" / "test", ("cat", "dog"), 4, 4, 4)
    data.load(tmp_path / "set")
    mapped = data.load(tmp_path / "set").test.inputs
    before = mapped.clone()
    mapped.zero_()
    assert torch.equal(data.load(tmp_path / "set").test.inputs, before)


def test_a_cache_that_cannot_be_written_only_warns(pictures, tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="not cached"):
        dataset = data.load(pictures, cache=tmp_path / "file" / "cache")
    assert len(dataset.train) == 14


def test_importing_data_imports_no_extra():
    code = "import sys, netmorph.data; print(*{'sklearn', 'pyarrow', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# real data


def test_real_mnist(real_data):
    mnist = data.load(real_data("mnist"))
    assert mnist.input_shape == (1, 28, 28)
    assert (len(mnist.train) + len(mnist.validation), len(mnist.test)) == (60_000, 10_000)
    assert mnist.test.targets[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.preparation.mean[0] == pytest.approx(0.1307, abs=5e-4)
    assert mnist.preparation.std[0] == pytest.approx(0.3081, abs=5e-4)


@pytest.mark.slow
def test_real_cifar10_by_name(real_data, monkeypatch):
    monkeypatch.setenv("NETMORPH_DATA", str(real_data("cifar10").parent))
    cifar = data.load("cifar10", train_size=100)
    assert cifar.input_shape == (3, 32, 32)
    assert cifar.classes[0] == "airplane"
    assert (len(cifar.train), len(cifar.test)) == (100, 10_000)
