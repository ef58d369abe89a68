import gzip
import io
import shutil
import tarfile

import numpy as np
import pytest
import torch
from written import idx_bytes, png, random_images, write_class_folders, write_idx, write_parquet

from netmorph import data
from netmorph.data import DataError


def all_images(dataset: data.Dataset) -> set[bytes]:
    parts = (dataset.train, dataset.validation, dataset.test)
    return {image.numpy().tobytes() for part in parts for image in part.inputs}


# parquet


@pytest.mark.parametrize("below", ["", "data"])
def test_parquet(tmp_path, below):
    pixels = random_images(30, 6, 5, 3)
    images = [png(image) for image in pixels]
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    labels = [number % 2 for number in range(30)]
    write_parquet(folder / "train-00000-of-00002.parquet", images[:12], labels[:12])
    write_parquet(folder / "train-00001-of-00002.parquet", images[12:20], labels[12:20])
    write_parquet(folder / "validation-00000-of-00001.parquet", images[20:24], labels[20:24])
    write_parquet(folder / "test-00000-of-00001.parquet", images[24:], labels[24:])
    dataset = data.load(tmp_path)
    expected = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    assert torch.equal(dataset.train.inputs, expected[:20])
    assert torch.equal(dataset.validation.inputs, expected[20:24])
    assert torch.equal(dataset.test.inputs, expected[24:])
    assert dataset.train.targets.tolist() == labels[:20]
    assert dataset.classes == ("cat", "dog")
    assert dataset.input_shape == (3, 6, 5)


def test_parquet_names_the_row_of_a_corrupt_image(tmp_path):
    images = [png(image) for image in random_images(8, 6, 5)]
    images[5] = images[5][:40]
    write_parquet(tmp_path / "train-0.parquet", images, [0, 1] * 4)
    with pytest.raises(DataError, match=r"train-0.parquet row 5.*replace or remove"):
        data.load(tmp_path)


@pytest.mark.parametrize("label", [None, -1])
def test_parquet_without_labels(tmp_path, label):
    write_parquet(tmp_path / "train-0.parquet", [png(random_images(1, 4, 4)[0])] * 3, [0, 1, label])
    with pytest.raises(DataError, match="row 2 has no label"):
        data.load(tmp_path)


def test_parquet_image_missing(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [None], [0])
    with pytest.raises(DataError, match="row 0 has no image bytes"):
        data.load(tmp_path)


def test_parquet_damaged(tmp_path):
    write_parquet(tmp_path / "train-0.parquet", [png(random_images(1, 4, 4)[0])], [0])
    content = (tmp_path / "train-0.parquet").read_bytes()
    (tmp_path / "train-0.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="damaged"):
        data.load(tmp_path)


def test_parquet_without_train(tmp_path):
    write_parquet(tmp_path / "test-0.parquet", [png(random_images(1, 4, 4)[0])], [0])
    with pytest.raises(DataError, match="none named train"):
        data.load(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"), [({"label": [0]}, "'image'"), ({"image": [{"bytes": b""}]}, "no labels")]
)
def test_parquet_column_missing(tmp_path, columns, message):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), tmp_path / "train-0.parquet")
    with pytest.raises(DataError, match=message):
        data.load(tmp_path)


# idx


def test_idx(tmp_path):
    pixels = write_idx(tmp_path)
    dataset = data.load(tmp_path, validation=0)
    assert torch.equal(dataset.train.inputs, torch.from_numpy(pixels)[:, None])
    assert dataset.train.targets.tolist() == [0, 1] * 20
    assert len(dataset.test) == 10
    assert len(dataset.validation) == 0
    assert dataset.classes == ("0", "1")


def test_idx_unpacked_is_the_same_data(tmp_path):
    write_idx(tmp_path / "packed")
    (tmp_path / "plain").mkdir()
    for path in (tmp_path / "packed").iterdir():
        (tmp_path / "plain" / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert data.load(tmp_path / "packed").fingerprint == data.load(tmp_path / "plain").fingerprint


def test_idx_resized(tmp_path):
    write_idx(tmp_path)
    assert data.load(tmp_path, size=(8, 7)).input_shape == (1, 8, 7)


def zipped(content: bytes) -> bytes:
    """Without the time: tests are named by it, and every process of a run has to find the same ones."""
    return gzip.compress(content, mtime=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", b"\x1f\x8b cut", "is damaged"),
        ("train-images-idx3-ubyte.gz", zipped(idx_bytes(random_images(40, 5, 4))[:-1]), "cut short"),
        ("train-images-idx3-ubyte.gz", zipped(b"\0\0"), "cut short"),
        ("train-images-idx3-ubyte.gz", zipped(idx_bytes(np.zeros(40, np.uint8))), "no idx file of 3"),
        (
            "train-labels-idx1-ubyte.gz",
            zipped(idx_bytes(np.zeros(39, np.uint8))),
            "40 train images but 39",
        ),
        ("train-labels-idx1-ubyte.gz", zipped(idx_bytes(np.zeros(40, np.uint8))), "of class '0'"),
    ],
)
def test_idx_errors(tmp_path, name, content, message):
    write_idx(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        data.load(tmp_path)


def test_idx_labels_missing(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="lacks train-labels-idx1-ubyte"):
        data.load(tmp_path)


# cifar


@pytest.fixture
def cifar(tmp_path):
    """Two batches of 20 and a test batch of 10 records, in two classes."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, count in (("data_batch_1", 20), ("data_batch_2", 20), ("test_batch", 10)):
        records = random_images(count, 3073)
        records[:, 0] = np.arange(count) % 2
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("airplane\nship\n\n")
    return folder


def pack(folder):
    with tarfile.open(folder.parent / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    shutil.rmtree(folder)


def test_cifar_from_files_their_parent_or_the_archive(cifar):
    first = data.load(cifar, validation=0)
    records = random_images(20, 3073)
    assert torch.equal(first.train.inputs[:20].flatten(1), torch.from_numpy(records[:, 1:]))
    assert first.train.targets.tolist() == [0, 1] * 20
    assert len(first.test) == 10
    assert first.classes == ("airplane", "ship")
    parent = data.load(cifar.parent)
    pack(cifar)
    archive = data.load(cifar.parent)
    assert first.fingerprint == parent.fingerprint == archive.fingerprint


def test_cifar_cut_short(cifar):
    path = cifar / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"data_batch_2.bin is cut short"):
        data.load(cifar)


def test_cifar_damaged_archive(cifar):
    pack(cifar)
    path = cifar.parent / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"damaged.*delete it"):
        data.load(cifar.parent)


# image folders


def test_class_folders(pictures):
    (pictures / "cat" / "notes.txt").write_text("no image")
    (pictures / ".hidden").mkdir()
    dataset = data.load(pictures)
    assert dataset.classes == ("cat", "dog")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (14, 2, 4)
    assert dataset.input_shape == (3, 6, 5)
    assert len(all_images(dataset)) == 10


@pytest.mark.parametrize("validation", ["val", "validation", None])
def test_split_folders(tmp_path, validation):
    write_class_folders(tmp_path / "train", ("cat", "dog"), 10, 4, 4)
    write_class_folders(tmp_path / "test", ("cat", "dog"), 4, 4, 4)
    if validation:
        write_class_folders(tmp_path / validation, ("cat", "dog"), 3, 4, 4)
    dataset = data.load(tmp_path, validation=0.1)
    counts = (len(dataset.train), len(dataset.validation), len(dataset.test))
    assert counts == ((20, 6, 8) if validation else (18, 2, 8))


def test_images_of_different_sizes_get_the_median_with_a_note(pictures):
    (pictures / "dog" / "extra.png").write_bytes(png(random_images(1, 9, 9, 3)[0]))
    with pytest.warns(UserWarning, match=r"21 images have 2 different sizes, from 6x5 to 9x9 .* size=\(6, 5\)"):
        dataset = data.load(pictures)
    assert dataset.input_shape == (3, 6, 5)
    resized = all_images(dataset)
    (pictures / "dog" / "extra.png").unlink()
    assert all_images(data.load(pictures)) < resized, "those of the size are as they were"
    (pictures / "dog" / "extra.png").write_bytes(png(random_images(1, 9, 9, 3)[0]))
    assert data.load(pictures, size=(4, 3)).input_shape == (3, 4, 3)


def test_grey_images_among_others_are_read_in_colour_with_a_note(pictures):
    grey = random_images(1, 6, 5)[0]
    (pictures / "dog" / "grey.png").write_bytes(png(grey))
    with pytest.warns(UserWarning, match="1 of 21 images are grey and the others in colour; all are read in colour"):
        dataset = data.load(pictures)
    assert dataset.input_shape == (3, 6, 5)
    assert np.repeat(grey.reshape(1, 6, 5), 3, 0).tobytes() in all_images(dataset)


def test_sizes_of_the_same_area_are_told_apart(tmp_path):
    write_class_folders(tmp_path, ("cat",), 10, 4, 8)
    write_class_folders(tmp_path, ("dog",), 10, 8, 4)
    with pytest.warns(UserWarning, match=r"from 4x8 to 8x4 .* size=\(6, 6\)"):
        data.load(tmp_path)


def test_parts_of_different_sizes_are_read_together(tmp_path):
    write_class_folders(tmp_path / "train", ("cat", "dog"), 10, 4, 4)
    write_class_folders(tmp_path / "test", ("cat", "dog"), 4, 8, 8)
    with pytest.warns(UserWarning, match="28 images have 2 different sizes, from 4x4 to 8x8"):
        dataset = data.load(tmp_path)
    assert dataset.test.inputs.shape[1:] == dataset.train.inputs.shape[1:] == dataset.input_shape


def test_deep_images_are_refused(pictures):
    (pictures / "cat" / "00.png").write_bytes(png(np.zeros((6, 5), np.uint16)))
    with pytest.raises(DataError, match=r"00.png has Pillow mode 'I;16'.*convert"):
        data.load(pictures)


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n", png(random_images(1, 6, 5)[0])[:50]]
)
def test_corrupt_image_is_named(pictures, content):
    (pictures / "dog" / "03.png").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot decode .*03.png"):
        data.load(pictures)


def test_images_without_class_folders(tmp_path):
    image = png(random_images(1, 4, 4)[0])
    (tmp_path / "a.png").write_bytes(image)
    with pytest.raises(DataError, match="no labels: put each into a folder"):
        data.load(tmp_path)
    (tmp_path / "a.png").unlink()
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "a.png").write_bytes(image)
    with pytest.raises(DataError, match=r"no labels: expected .*train/<class>"):
        data.load(tmp_path)


def test_class_only_in_test(tmp_path):
    write_class_folders(tmp_path / "train", ("cat", "dog"), 10, 4, 4)
    write_class_folders(tmp_path / "test", ("bird",), 4, 4, 4)
    with pytest.raises(DataError, match=r"bird is a class without train images.*cat, dog"):
        data.load(tmp_path)


def test_class_folder_without_images(pictures):
    (pictures / "bird").mkdir()
    with pytest.raises(DataError, match="bird holds no images"):
        data.load(pictures)


def test_single_class(tmp_path):
    write_class_folders(tmp_path, ("cat",), 10, 4, 4)
    with pytest.raises(DataError, match="every train image is of class 'cat'"):
        data.load(tmp_path)


def test_formats_with_alpha_palette_or_one_bit(tmp_path):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number, mode in enumerate(("RGB", "RGBA", "P", "CMYK")):
            file = io.BytesIO()
            image = Image.new("RGB", (4, 3), (200, 10, 10)).convert(mode)
            image.save(file, "TIFF")
            (tmp_path / name / f"{number}.tif").write_bytes(file.getvalue())
    dataset = data.load(tmp_path)
    assert dataset.input_shape == (3, 3, 4)
    assert len(all_images(dataset)) <= 2  # CMYK is rounded on the way
