"""Paths of entries, and what becomes of them where one is put in or taken out."""

import pytest
from torch import nn

from netmorph.edit import Plan
from netmorph.edit.numbered import Place, former, numbered, renamed, with_entry, without_entry


def test_places() -> None:
    assert Place.of("h.layer_12") == Place("h", "layer_", 12)
    assert Place.of("3") == Place("", "", 3)
    assert Place.of("h.01") == Place("h", "0", 1)
    assert Place.of("h.head") is None
    assert Place("h", "layer_", 12).moved(-1).path == "h.layer_11"
    assert Place("", "", 3).path == "3"


def test_which_children_are_numbered() -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.ReLU()), nn.ModuleDict({"a1": nn.ReLU(), "a3": nn.ReLU()}))
    assert numbered(model, "0.1") == Place("0", "", 1)
    assert numbered(model, "1") == Place("", "", 1)
    assert numbered(model, "1.a3") is None  # a2 is not there
    model[0].add_module("scale", nn.ReLU())
    assert numbered(model, "0.1") is None


@pytest.mark.parametrize("first", [0, 2])
def test_entries_come_and_go(first: int) -> None:
    a, b, new = nn.ReLU(), nn.Tanh(), nn.GELU()
    table: dict[str, nn.Module | None] = {f"x{first}": a, f"x{first + 1}": b}
    for at in range(3):
        place = Place("", "x", first + at)
        more = with_entry(table, place, new)
        assert list(more) == [f"x{first + number}" for number in range(3)]
        assert list(more.values()) == [*[a, b][:at], new, *[a, b][at:]]
        assert without_entry(more, place) == table
    for place in (Place("", "x", first + 3), Place("", "y", first)):
        with pytest.raises(KeyError):
            with_entry(table, place, new)
        with pytest.raises(KeyError):
            without_entry(table, place)


def test_names_before_and_after() -> None:
    assert renamed("h.2.a", "h.1", 1) == "h.3.a"
    assert [renamed(path, "h.1", 1) for path in ("h.0.a", "h", "g.2", "h.x")] == ["h.0.a", "h", "g.2", "h.x"]
    assert renamed("2.a", "1", -1) == "1.a"
    come = Plan(exact=True, inserted={"h.1": nn.ReLU()})
    assert [former(path, come) for path in ("h.0", "h.10", "h.2.a")] == ["h.0", "h.9", "h.1.a"]
    assert former("h.1.a", come) is None
    assert former("h.1", Plan(exact=True, removed=("h.1",))) == "h.2"
    several = Plan(exact=True, inserted={"h.1": nn.ReLU(), "h.2": nn.ReLU()}, removed=("h.4", "h.0"))
    assert [former(f"h.{number}", several) for number in range(4)] == [None, None, "h.1", "h.3"]
