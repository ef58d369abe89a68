"""Tokens of a text: its characters, as far as the train part has them, or the bytes of its UTF-8."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from netmorph.data.dataset import DataError, Encoder

Unit = Literal["character", "byte"]

# Tokens fit one byte: the most frequent characters, and one for all others.
CHARACTERS = 255
# Share of a train text that may be made of others.
RARE = 0.01
# How Python keeps bytes that are no UTF-8 in a string, and gives them back as they were.
UNDECODABLE = "surrogateescape"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@runtime_checkable
class Vocabulary(Encoder, Protocol):
    """Tokens uint8 [T] for texts, which a network takes as int64, and texts for tokens."""

    def __len__(self) -> int:
        """How many tokens there are."""

    def decode(self, tokens: Tensor) -> str:
        """The text of tokens [T], of any integer type."""


@dataclass(frozen=True)
class Characters:
    """One token a character.

    Attributes:
        known: in the order of their code points; token i is the i-th, and the last token stands for all others.
    """

    known: str

    @classmethod
    def of(cls, text: str) -> Characters:
        """The most frequent characters of a train text.

        Raises:
            DataError: too many of its characters are none of them.
        """
        counts = Counter(text)
        kept = sorted(counts, key=lambda character: (-counts[character], character))[:CHARACTERS]
        rare = 1 - sum(counts[character] for character in kept) / max(1, len(text))
        if rare > RARE:
            raise DataError(
                f"the train text has {len(counts)} different characters; those beside the {CHARACTERS} most frequent "
                f"ones make {rare:.0%} of it, and would all be one token. Take unit='byte'"
            )
        return cls("".join(sorted(kept)))

    def __len__(self) -> int:
        return len(self.known) + 1

    def encode(self, raw: str) -> Tensor:
        """Tokens uint8 [T] of a text."""
        known, codes = (np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4") for text in (self.known, raw))
        place = np.searchsorted(known, codes).clip(max=len(known) - 1)
        return torch.from_numpy(np.where(known[place] == codes, place, len(known)).astype(np.uint8))

    def decode(self, tokens: Tensor) -> str:
        """What is unknown becomes U+FFFD. See `Vocabulary`."""
        characters = self.known + _REPLACEMENT
        return "".join(characters[token] for token in tokens.tolist())

    def describe(self) -> dict[str, Any]:
        """See `Encoder`."""
        return {"kind": "characters", **asdict(self)}


@dataclass(frozen=True)
class Bytes:
    """One token a byte: 256 tokens, for any text."""

    def __len__(self) -> int:
        return 256

    def encode(self, raw: str) -> Tensor:
        """Tokens uint8 [T] of a text."""
        return torch.from_numpy(np.frombuffer(raw.encode("utf-8", UNDECODABLE), np.uint8).copy())

    def decode(self, tokens: Tensor) -> str:
        """What is no UTF-8 becomes U+FFFD. See `Vocabulary`."""
        return bytes(tokens.tolist()).decode("utf-8", "replace")

    def describe(self) -> dict[str, Any]:
        """See `Encoder`."""
        return {"kind": "bytes"}


# What makes the vocabulary of a train text, by unit.
LEARN: Mapping[str, Callable[[str], Vocabulary]] = {"character": Characters.of, "byte": lambda _: Bytes()}
