import pytest
import torch

from netmorph import data
from netmorph.data import DataError, Windows
from netmorph.data.named import STDLIB_SIZE
from netmorph.data.text import FILES, read_texts, text_dataset

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def windows(count, length):
    return Windows(torch.arange(count, dtype=torch.uint8), length)


def loaded(text, **options):
    return text_dataset("t", {"t.txt": text}, **{"window": 4, **options})


# windows


def test_windows_follow_one_another_and_are_answered_by_what_follows():
    part = windows(11, 3)
    assert len(part) == 3
    (inputs, targets), (last, _) = part.cut(2)
    assert inputs.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert targets.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert last.tolist() == [[6, 7, 8]]
    assert (inputs.dtype, targets.dtype) == (torch.int64, torch.int64)
    assert part.targets.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert part.head(2).tolist() == inputs.tolist()
    assert part.head(9).shape == (3, 3)


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 0), (3, 0), (4, 1), (6, 1), (7, 2)])
def test_a_window_needs_a_token_more_than_it_is_long(count, expected):
    part = windows(count, 3)
    assert len(part) == len(part.targets) == len(part.head(5)) == expected
    assert sum(len(inputs) for inputs, _ in part.cut(2)) == expected


def test_windows_come_in_the_asked_order():
    (inputs, targets), (last, _) = windows(13, 3).cut(2, torch.tensor([2, 0, 3]))
    assert inputs.tolist() == [[6, 7, 8], [0, 1, 2]]
    assert targets.tolist() == [[7, 8, 9], [1, 2, 3]]
    assert last.tolist() == [[9, 10, 11]]


def test_a_seed_moves_all_windows_alike_and_stays_inside():
    part = windows(103, 10)
    starts = set()
    for seed in range(20):
        ((inputs, targets),) = part.cut(100, seed=seed)
        assert torch.equal(inputs, next(part.cut(100, seed=seed))[0])
        assert torch.equal(targets, inputs + 1)
        first = int(inputs[0, 0])
        assert inputs[:9, 0].tolist() == list(range(first, first + 90, 10))
        assert inputs[9, 0] == min(first + 90, 92)
        assert targets.max() <= 102
        starts.add(first)
    assert min(starts) >= 0
    assert max(starts) < 10
    assert len(starts) > 5


def test_a_digest_tells_texts_and_windows_apart():
    assert windows(11, 3).digest() == windows(11, 3).digest()
    assert len({windows(11, 3).digest(), windows(11, 4).digest(), windows(12, 3).digest()}) == 3


def test_batches_of_windows_are_shuffled_and_moved():
    def read(seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.cat([inputs for inputs, _ in data.batches(windows(103, 10), 4, generator=generator)])

    assert torch.equal(read(0), read(0))
    assert not torch.equal(read(0), read(1))


# one text


def test_a_text_in_stretches():
    text = (ALPHABET * 40)[:1000]
    dataset = loaded(text)
    decode = dataset.encoder.decode
    assert decode(dataset.train.tokens) + decode(dataset.validation.tokens) + decode(dataset.test.tokens) == text
    assert [len(part.tokens) for part in (dataset.train, dataset.validation, dataset.test)] == [680, 120, 200]
    assert (dataset.task.name, dataset.input_shape, dataset.outputs, dataset.classes) == ("text", (4,), 27, ())
    inputs, _ = next(dataset.train.cut(2))
    assert torch.equal(dataset.preparation(inputs, torch.empty(0)), inputs)


def test_the_vocabulary_is_that_of_the_train_part():
    dataset = loaded("ab" * 50 + "c" * 50)
    assert dataset.encoder.known == "abc"[: len(dataset.encoder.known)]
    dataset = loaded("ab" * 400 + "z" * 200)
    assert (dataset.encoder.known, dataset.outputs) == ("ab", 3)
    assert dataset.test.tokens.unique().tolist() == [2]


def test_bytes():
    dataset = loaded("münchen " * 20, unit="byte")
    assert dataset.outputs == 256
    assert dataset.encoder.decode(dataset.train.tokens).startswith("münchen münchen")


def test_no_validation():
    dataset = loaded(ALPHABET * 4, validation=0)
    assert len(dataset.validation) == 0
    assert len(dataset.train.tokens) + len(dataset.test.tokens) == 104


def test_train_size_counts_windows():
    whole, part = loaded(ALPHABET * 10), loaded(ALPHABET * 10, train_size=5)
    assert len(part.train) == 5
    assert torch.equal(part.train.tokens, whole.train.tokens[:21])
    for size in (0, len(whole.train) + 1):
        with pytest.raises(DataError, match=f"between 1 and {len(whole.train)}, all windows of 4 .*got {size}"):
            loaded(ALPHABET * 10, train_size=size)


def test_texts_that_are_too_short():
    with pytest.raises(DataError, match=r"the train text of 't' has 18 tokens, and a window of 20 takes 21"):
        loaded(ALPHABET, window=20)
    with pytest.raises(DataError, match=r"the validation text of 't' has 3 tokens.*a smaller window"):
        loaded(ALPHABET)
    with pytest.raises(DataError, match="at least 1 token, got 0"):
        loaded(ALPHABET, window=0)


def test_the_fingerprint_is_that_of_the_text():
    first = loaded(ALPHABET * 10)
    assert first.fingerprint == loaded(ALPHABET * 10, window=5, seed=3).fingerprint
    assert first.fingerprint != loaded(ALPHABET * 10 + "x").fingerprint


def test_the_bytes_of_a_file_are_mapped_and_split_like_its_text(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text("It was a dark night in München. " * 50)
    mapped = data.load(path, window=8, unit="byte")
    read = text_dataset("novel.txt", {"novel.txt": path.read_bytes().decode("latin-1")}, window=8)
    parts = zip((mapped.train, mapped.validation, mapped.test), (read.train, read.validation, read.test), strict=True)
    for bytes_, characters in parts:
        assert bytes(bytes_.tokens.tolist()).decode("latin-1") == read.encoder.decode(characters.tokens)
    assert mapped.outputs == 256
    mapped.train.tokens.zero_()
    again = data.load(path, window=8, unit="byte")
    assert again.fingerprint == mapped.fingerprint
    assert again.train.tokens.any()
    assert data.load(path, window=8, unit="byte", train_size=3, seed=1).train.digest() != again.train.digest()


def test_bytes_that_are_no_text(tmp_path):
    for name, content in (("empty.txt", b""), ("binary.txt", b"a\0b")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} holds no text"):
            data.load(tmp_path / name, unit="byte")


# folders


@pytest.fixture
def folder(tmp_path):
    """More files than a split into stretches takes, each of a character of its own."""
    (tmp_path / "texts" / "below").mkdir(parents=True)
    for number, character in enumerate(ALPHABET):
        where = tmp_path / "texts" / ("below" if number % 2 else "")
        (where / f"{character}.txt").write_text(character * 40)
    return tmp_path / "texts"


def test_a_folder_gives_whole_files_to_each_part(folder):
    dataset = data.load(folder, task="text", window=4, unit="byte")
    assert len(ALPHABET) >= FILES
    texts = [dataset.encoder.decode(part.tokens) for part in (dataset.train, dataset.validation, dataset.test)]
    assert [len(text) // 40 for text in texts] == [18, 3, 5]
    assert sorted("".join(texts)) == sorted(ALPHABET * 40)
    files = [text[::40] for text in texts]
    assert [character * 40 for part in files for character in part] == [
        text[at : at + 40] for text in texts for at in range(0, len(text), 40)
    ]


def load_bytes(folder, seed):
    return data.load(folder, task="text", window=4, unit="byte", seed=seed)


def test_the_seed_chooses_files(folder):
    first, again, other = (load_bytes(folder, seed) for seed in (1, 1, 2))
    assert first.test.digest() == again.test.digest() != other.test.digest()
    assert first.fingerprint == other.fingerprint


def test_a_file_that_makes_most_of_the_text_is_divided(folder):
    (folder / "large.txt").write_text("0" * 10_000)
    first, other = (load_bytes(folder, seed) for seed in (1, 2))
    assert first.test.digest() == other.test.digest()
    assert all(ord("0") in part.tokens for part in (first.train, first.validation, first.test))


def test_what_of_a_folder_is_read(tmp_path):
    for name, content in (
        ("b.py", b"bb"),
        ("a/c.md", b"\xef\xbb\xbfcc"),
        ("a/binary.pyc", b"x\0y"),
        ("empty.txt", b""),
        (".git/config", b"hidden"),
        (".hidden", b"hidden"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert list(read_texts(tmp_path, "character")) == ["a/c.md", "b.py"]
    assert read_texts(tmp_path, "character")["b.py"] == "bb"


def test_what_is_no_text(tmp_path):
    with pytest.raises(DataError, match="holds no text"):
        read_texts(tmp_path, "character")
    (tmp_path / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin.txt is no text in UTF-8: .* at byte 2; convert it.*unit='byte'"):
        read_texts(tmp_path, "character")
    text = read_texts(tmp_path, "byte")["latin.txt"]
    assert bytes(data.Bytes().encode(text).tolist()) == "Grüße".encode("latin-1")
    (tmp_path / "image").write_bytes(b"\0")
    with pytest.raises(DataError, match="image holds no text"):
        read_texts(tmp_path / "image", "character")


def test_the_sources_of_the_standard_library():
    library = data.load("stdlib", window=64)
    assert (library.name, library.task.name, library.input_shape) == ("stdlib", "text", (64,))
    tokens = [len(part.tokens) for part in (library.train, library.validation, library.test)]
    assert 0.9 * STDLIB_SIZE < sum(tokens) <= STDLIB_SIZE
    assert tokens[2] / sum(tokens) == pytest.approx(0.2, abs=0.02)
    assert tokens[1] / sum(tokens[:2]) == pytest.approx(0.15, abs=0.02)
    assert "def " in library.encoder.decode(library.train.tokens[:10_000])
    assert library.fingerprint == data.load("stdlib", seed=1).fingerprint
