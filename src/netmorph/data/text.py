"""Texts -> windows of tokens, each to be answered with the token that follows each of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from netmorph.data.dataset import DataError, Dataset
from netmorph.data.preparation import Tokens
from netmorph.data.splitting import TEST_FRACTION
from netmorph.data.vocabulary import LEARN, UNDECODABLE, Bytes, Unit, Vocabulary
from netmorph.seeds import generator_of
from netmorph.tasks import next_token

# From so many files on, of which none makes more than this share of the text, a part has whole ones.
FILES, LARGEST_SHARE = 20, 0.1
# Bytes in which a zero tells that a file is no text: git's rule.
_START = 8000
# Characters that are encoded at a time, which takes some 20 bytes each.
_CHUNK = 2**20
_EXPECTED = "expected files in UTF-8 that are neither empty, binary nor hidden"


@dataclass(frozen=True, eq=False)
class Windows:
    """A text in windows that follow one another, as a `Part`: N = (L - 1) // T of them.

    Attributes:
        tokens: uint8 [L], on any device.
        length: T, tokens in a window.
    """

    tokens: Tensor
    length: int

    def __len__(self) -> int:
        return max(0, len(self.tokens) - 1) // self.length

    @property
    def targets(self) -> Tensor:
        """[N, T], as they are stored: uint8. `cut` gives int64."""
        return self.tokens[1 : 1 + len(self) * self.length].view(-1, self.length)

    def head(self, count: int) -> Tensor:
        """The first windows, int64 [count, T]."""
        return self.tokens[: min(count, len(self)) * self.length].view(-1, self.length).long()

    def cut(
        self, batch_size: int, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows and what follows, both int64 [B, T]. See `Part`.

        Args:
            seed: draws how far all windows are moved to the right, by less than one of them, so that each epoch reads
                the text cut at other places; the last one stays inside the text.
        """
        device = self.tokens.device
        starts = torch.arange(len(self), device=device) if order is None else order.to(device)
        starts = starts * self.length
        if seed is not None:
            generator = generator_of(seed)
            moved = int(torch.randint(self.length, (), generator=generator))
            starts = (starts + moved).clamp(max=len(self.tokens) - 1 - self.length)
        steps = torch.arange(self.length, device=device)
        for some in starts.split(batch_size):
            places = some[:, None] + steps
            yield self.tokens[places].long(), self.tokens[places + 1].long()

    def digest(self) -> str:
        """SHA-256 of the tokens and the windows' length."""
        found = hashlib.sha256(f"{self.length} ".encode())
        found.update(self.tokens.cpu().numpy().data)
        return found.hexdigest()

    def to(self, device: torch.device) -> Windows:
        """The same windows on another device."""
        return replace(self, tokens=self.tokens.to(device))


def text_dataset(
    name: str,
    texts: Mapping[str, str],
    *,
    window: int = 128,
    unit: Unit = "character",
    seed: int = 0,
    validation: float = 0.15,
    train_size: int | None = None,
) -> Dataset:
    """Split a text, or those of several files, into parts and windows; no window lies in two parts.

    Args:
        name: of the data set.
        texts: by file name, in the order in which they are joined.
        window: tokens in a window.
        unit: a token is a "character", see `Characters`, or a "byte" of UTF-8.
        seed: chooses the files of each part, where there are at least `FILES` and none makes more than `LARGEST_SHARE`
            of the text. Otherwise the parts are stretches of all files joined: train, then validation, and test at the
            end.
        validation: fraction of what test leaves; 0 makes the part empty. Test is `TEST_FRACTION` of all characters.
        train_size: keep so many windows of the train text, its first.

    Raises:
        DataError: a part is shorter than a window, `train_size` is out of range, or the characters are too many.
    """
    lengths = [len(text) for text in texts.values()]
    many = len(lengths) >= FILES and max(lengths) <= LARGEST_SHARE * sum(lengths)
    if many:
        parts = _whole_files([*texts.values()], seed, validation)
    else:
        whole = "".join(texts.values())
        train, held_out, test = (whole[part] for part in _stretches(len(whole), validation))
        parts = train, held_out, test
    vocabulary = LEARN[unit](parts[0])
    tokens = [_encoded(vocabulary, part) for part in parts]
    return _in_windows(name, tokens, vocabulary, _fingerprint(texts), window, validation, train_size)


def mapped_dataset(
    name: str, path: Path, *, window: int = 128, validation: float = 0.15, train_size: int | None = None
) -> Dataset:
    """The bytes of one file in windows, split into stretches. It is mapped, not read, and may be larger than memory.

    Arguments and errors are those of `text_dataset`. What is mapped must not be written to while it is used.
    """
    size = path.stat().st_size
    if not size or _is_binary(path):
        raise DataError(f"{path} holds no text: {_EXPECTED}")
    whole = torch.from_file(str(path), size=size, dtype=torch.uint8)  # its own pages, where they are written to
    tokens = [whole[part] for part in _stretches(size, validation)]
    digest = hashlib.sha256(whole.numpy().data).hexdigest()
    return _in_windows(name, tokens, Bytes(), digest, window, validation, train_size)


def _in_windows(
    name: str,
    tokens: Sequence[Tensor],
    vocabulary: Vocabulary,
    fingerprint: str,
    window: int,
    validation: float,
    train_size: int | None,
) -> Dataset:
    """The data set of the tokens of train, validation and test."""
    if not isinstance(window, int) or window < 1:
        raise DataError(f"a window must be a whole number of tokens, at least 1 token, got {window!r}")
    train, held_out, test = (Windows(part, window) for part in tokens)
    for part, windows, asked in (("train", train, 1), ("validation", held_out, validation), ("test", test, 1)):
        if asked and not len(windows):
            raise DataError(
                f"the {part} text of {name!r} has {len(windows.tokens)} tokens, and a window of {window} takes "
                f"{window + 1}, one more than it is long; give more text, a smaller window, or another share"
            )
    if train_size is not None:
        if not 1 <= train_size <= len(train):
            raise DataError(
                f"train_size must be between 1 and {len(train)}, all windows of {window} tokens that validation and "
                f"test leave; got {train_size}"
            )
        train = Windows(train.tokens[: train_size * window + 1], window)
    return Dataset(
        name,
        train,
        held_out,
        test,
        task=next_token(),
        preparation=Tokens(),
        outputs=len(vocabulary),
        fingerprint=fingerprint,
        encoder=vocabulary,
    )


def read_texts(path: Path, unit: Unit) -> dict[str, str]:
    """The text of a file, or of every file below a folder, by name and sorted by it.

    Left out of a folder are binary files (a zero byte among the first `_START`), empty ones, and what is hidden.

    Raises:
        DataError: there is no text, a file cannot be read, or is not in UTF-8, which only matters where a token is a
            character.
    """
    if path.is_file():
        files = {path.name: path}
    else:
        below = {file.relative_to(path): file for file in path.rglob("*") if file.is_file()}
        hidden = {name for name in below if any(part.startswith(".") for part in name.parts)}
        files = {name.as_posix(): below[name] for name in sorted(below.keys() - hidden)}
    texts = {name: _decoded(file, unit) for name, file in files.items() if not _is_binary(file)}
    found = {name: text for name, text in texts.items() if text}
    if not found:
        raise DataError(f"{path} holds no text: {_EXPECTED}")
    return found


def _is_binary(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return 0 in opened.read(_START)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}; allow it, or move it out of the way") from error


def _decoded(file: Path, unit: Unit) -> str:
    try:
        return file.read_bytes().decode("utf-8", UNDECODABLE if unit == "byte" else "strict")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is no text in UTF-8: {error.reason} at byte {error.start}; convert it, move it out of the way, or "
            "take unit='byte'"
        ) from error


def _fingerprint(texts: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, text in texts.items():
        digest.update(f"{name!r} {len(text)} ".encode())
        digest.update(text.encode("utf-8", UNDECODABLE))
    return digest.hexdigest()


def _encoded(vocabulary: Vocabulary, text: str) -> Tensor:
    pieces = [vocabulary.encode(text[start : start + _CHUNK]) for start in range(0, len(text), _CHUNK)]
    return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.uint8)


def _stretches(length: int, validation: float) -> tuple[slice, slice, slice]:
    """Train, validation and test of a text that is divided."""
    end = length - round(TEST_FRACTION * length)
    middle = end - round(validation * end)
    return slice(middle), slice(middle, end), slice(end, None)


def _whole_files(texts: list[str], seed: int, validation: float) -> tuple[str, str, str]:
    """Each part takes files in random order, as long as they fit into its share; train has all others."""
    order = torch.randperm(len(texts), generator=generator_of(seed)).tolist()
    held: list[str] = []
    for fraction in (TEST_FRACTION, validation):
        room, taken = fraction * sum(len(texts[file]) for file in order), set[int]()
        for file in order:
            if len(texts[file]) <= room:
                taken.add(file)
                room -= len(texts[file])
        held.append("".join(texts[file] for file in sorted(taken)))
        order = [file for file in order if file not in taken]
    return "".join(texts[file] for file in sorted(order)), held[1], held[0]
