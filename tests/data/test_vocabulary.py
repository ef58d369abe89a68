import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from netmorph.data import Bytes, Characters, DataError
from netmorph.data.vocabulary import CHARACTERS


def test_characters():
    vocabulary = Characters.of("banana\n")
    assert (vocabulary.known, len(vocabulary)) == ("\nabn", 5)
    tokens = vocabulary.encode("nab\nz€")
    assert (tokens.tolist(), tokens.dtype) == ([3, 1, 2, 0, 4, 4], torch.uint8)
    assert vocabulary.decode(tokens.long()) == "nab\n��"


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=50))
def test_texts_come_back(text):
    for vocabulary in (Characters.of(text), Bytes()):
        tokens = vocabulary.encode(text)
        assert vocabulary.decode(tokens) == text
        assert int(tokens.max()) < len(vocabulary)


def test_nothing_is_no_tokens():
    for vocabulary in (Characters.of("a"), Bytes()):
        assert vocabulary.encode("").shape == (0,)
        assert vocabulary.decode(torch.empty(0, dtype=torch.uint8)) == ""


def test_rare_characters_are_one_token():
    rare = "".join(map(chr, range(1000, 1000 + 300)))
    vocabulary = Characters.of("ab" * 50_000 + rare)
    assert len(vocabulary) == CHARACTERS + 1 == 256
    assert vocabulary.known[:2] == "ab"
    assert vocabulary.encode(rare[-1]).tolist() == [255]
    with pytest.raises(DataError, match=r"302 different characters; .* make 16% of it.*unit='byte'"):
        Characters.of("ab" + rare)


def test_bytes():
    assert Bytes().encode("é").tolist() == [0xC3, 0xA9]
    assert Bytes().decode(torch.tensor([0x61, 0xFF])) == "a�"


def test_they_are_plain_values():
    assert json.loads(json.dumps(Characters.of("ab").describe())) == {"kind": "characters", "known": "ab"}
    assert Bytes().describe() == {"kind": "bytes"}
