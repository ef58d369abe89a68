"""The algebra of axes: products, sums, and what happens when two of them meet."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netmorph.graph.axis import (
    Allow,
    Atom,
    Axis,
    Fixed,
    Sum,
    along,
    atoms,
    concat,
    freeze,
    limit,
    resolve,
    size,
)
from netmorph.graph.unify import cut_anywhere, reshape, split, unify


def sizes(axis: Axis) -> list[int]:
    return [factor.size for factor in resolve(axis)]


def test_an_atom_takes_the_structure_it_meets() -> None:
    flat, channels = Atom(400), Atom(16)
    unify((flat,), (channels, Fixed(5), Fixed(5)))
    assert resolve((flat,)) == (channels, Fixed(5), Fixed(5))
    assert size((flat,), {channels: 20}) == 500
    assert channels.allow == Allow.ANY


def test_limits_follow_an_atom_into_its_factors() -> None:
    flat, channels = Atom(8), Atom(4)
    limit((flat,), Allow.UNIFORM, "because")
    unify((flat,), (channels, Fixed(2)))
    assert channels.allow == Allow.UNIFORM
    assert channels.limits[0].reason == "because"


def test_uniform_copies_of_one_segment_are_not_uniform_over_a_sum() -> None:
    one, other = Atom(2), Atom(3)
    limit((Sum(((one,), (other,))),), Allow.UNIFORM, "a norm")
    assert one.allow == other.allow == Allow.INEXACT


def test_meeting_a_fixed_size_freezes() -> None:
    atom = Atom(3)
    unify((atom,), (Fixed(3, "the model's input"),))
    assert list(atoms((atom,))) == [] or atom.allow == Allow.FROZEN


def test_products_are_refined_from_the_left() -> None:
    left, right = (Atom(8), Atom(3)), (Atom(4), Atom(6))
    unify(left, right)
    assert sizes(left) == sizes(right) == [4, 2, 3]
    assert resolve(left) == resolve(right)


def test_products_that_cannot_be_aligned_are_frozen() -> None:
    left, right = (Atom(4), Atom(6)), (Atom(3), Atom(8))
    unify(left, right)
    assert all(atom.allow == Allow.FROZEN for atom in (*atoms(left), *atoms(right)))


def test_sums_meet_by_their_segments() -> None:
    a, b, c, d = Atom(2), Atom(3), Atom(2), Atom(3)
    unify((Sum(((a,), (b,))),), (Sum(((c,), (d,))),))
    assert resolve((a,)) == resolve((c,))
    assert resolve((b,)) == resolve((d,))


def test_sums_cut_at_other_places_are_cut_at_all_of_them() -> None:
    a, b, c, d = Atom(2), Atom(3), Atom(3), Atom(2)
    unify((Sum(((a,), (b,))),), (Sum(((c,), (d,))),))
    pieces = [*atoms((a,)), *atoms((b,))]
    assert [atom.size for atom in pieces] == [2, 1, 2]
    assert pieces == [*atoms((c,)), *atoms((d,))]
    assert {atom.allow for atom in pieces} == {Allow.ANY}


def test_nested_sums_are_flattened() -> None:
    a, b, c = Atom(1), Atom(2), Atom(3)
    inner = Sum(((a,), (b,)))
    (outer,) = resolve((Sum(((inner,), (c,))),))
    assert isinstance(outer, Sum)
    assert outer.segments == ((a,), (b,), (c,))


def test_what_all_segments_end_with_is_a_factor_of_the_whole() -> None:
    a, b, c, d = Atom(2), Atom(3), Atom(4), Atom(4)
    assert resolve((Sum(((a, c), (b, c))),)) == (Sum(((a,), (b,))), c)
    apart = Sum(((a, c), (b, d)))
    assert resolve((apart,)) == (apart,)


def test_fixed_sizes_together_tell_why_each_is_fixed() -> None:
    one, other = Fixed(6, "windows"), Fixed(4, "places")
    assert resolve((Sum(((one,), (other,))),)) == (Fixed(10, "windows"),)
    assert resolve((Sum(((one,), (other,))),))[0].reason == "windows"  # type: ignore[union-attr]
    (joined, _) = reshape([(one,), (other,)], [4, 6])
    assert joined[0].reason == "windows; places"  # type: ignore[union-attr]
    (joined, _) = reshape([(one,), (Fixed(4, "windows"),)], [4, 6])
    assert joined[0].reason == "windows"  # type: ignore[union-attr]


def test_an_atom_never_becomes_part_of_itself() -> None:
    atom = Atom(4)
    axis: Axis = (atom,)
    unify(axis, (Sum(((atom,),)),))
    assert resolve(axis) == (atom,)
    pair = Atom(4)
    unify((Sum(((pair,), (pair,))),), (Atom(8),))
    assert [*atoms((pair,))] == [pair]


def test_equal_segments_split_into_a_product() -> None:
    a, b = Atom(3), Atom(3)
    pieces = split(Sum(((a,), (b,))), 2)
    assert pieces is not None
    assert [factor.size for factor in pieces] == [2, 3]
    assert resolve((a,)) == resolve((b,))
    assert split(Atom(5), 2) is None


def test_reshape_flattens_and_unflattens() -> None:
    batch, channels, height = Fixed(2), Atom(6), Fixed(4)
    flat = reshape([(batch,), (channels,), (height,)], [2, 24])
    assert flat == [(batch,), (channels, height)]
    assert reshape(flat, [2, 6, 4]) == [(batch,), (channels,), (height,)]


def test_reshape_splits_heads() -> None:
    features = Atom(12)
    axes = reshape([(Fixed(2),), (features,)], [2, 3, 4])
    assert [size(axis) for axis in axes] == [2, 3, 4]
    assert resolve((features,)) == (*axes[1], *axes[2])


def test_reshape_cuts_fixed_sizes_anywhere() -> None:
    channels = Atom(6)
    window = Atom(8)
    freeze((window,), "moved")
    for place in ((Fixed(7), Fixed(8)), (Fixed(7), window)):
        axes = reshape([place, (channels,)], [28, 2, 6])
        assert [size(axis) for axis in axes] == [28, 2, 6]
        assert axes[2] == (channels,)
        assert channels.allow == Allow.ANY


def test_reshape_takes_no_more_fixed_sizes_than_it_cuts() -> None:
    channels = Atom(5)
    axes = reshape([(Fixed(6),), (Fixed(4),), (channels,)], [4, 6, 5])
    assert [size(axis) for axis in axes] == [4, 6, 5]
    assert axes[2] == (channels,)


def test_reshape_across_the_layout_freezes() -> None:
    features = Atom(6)
    axes = reshape([(Fixed(4),), (features,)], [3, 8])
    assert [size(axis) for axis in axes] == [3, 8]
    assert all(atom.allow == Allow.FROZEN for atom in atoms((features,)))


@pytest.mark.parametrize("shape", [[2, 1, 1, 1], [2, 1], [2, 1, 1]])
def test_reshape_keeps_a_single_channel(shape: list[int]) -> None:
    channel = Atom(1)
    axes = reshape([(Fixed(2),), (channel,), (Fixed(1),), (Fixed(1),)], shape)
    assert channel in axes[1]
    assert [size(axis) for axis in axes] == shape


@settings(deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4), st.data())
def test_reshape_always_gives_the_shape_asked_for(shape: list[int], data: st.DataObject) -> None:
    """Whatever is cut, all elements stay, and growing an atom keeps old and new axes of one total length."""
    old = [(Atom(length),) for length in shape]
    total = size(tuple(f for axis in old for f in axis))
    target = []
    rest = total
    while rest > 1:
        piece = data.draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        target.append(piece)
        rest //= piece
    target = target or [1]
    new = reshape(old, target)
    assert [size(axis) for axis in new] == target
    free = {atom: 2 * atom.size for axis in old for atom in atoms(axis) if atom.allow > Allow.FROZEN}
    before = math.prod(size(axis, free) for axis in old)
    assert before == math.prod(size(axis, free) for axis in new)


def test_along_changes_every_occurrence() -> None:
    channels = Atom(2)
    axis: Axis = (Sum(((channels, Fixed(2)), (Fixed(1),), (channels,))),)
    tensor = torch.arange(7).repeat(3, 1)
    doubled = along(tensor, 1, axis, {channels: lambda part, dim: torch.cat([part, part], dim)})
    assert doubled[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 5, 6]
    assert doubled.shape == (3, 13)


def test_freeze_reaches_into_sums() -> None:
    a, b = Atom(2), Atom(2)
    freeze((Sum(((a,), (b, Fixed(3)))),), "no")
    assert a.allow == b.allow == Allow.FROZEN
    assert len(a.limits) == 1


def test_a_concatenation_cuts_the_product_that_it_meets() -> None:
    one, other, part = Atom(2), Atom(14), Atom(2)
    unify((Sum(((one,), (other,))),), (Fixed(8), part))
    assert resolve((one,)) == (part,)
    assert size((other,), {part: 5}) == 35
    assert part.allow == Allow.ANY


def test_a_concatenation_beside_a_product_of_other_parts_is_frozen() -> None:
    one, other, part = Atom(3), Atom(13), Atom(2)
    unify((Sum(((one,), (other,))),), (Fixed(8), part))
    assert one.allow == other.allow == part.allow == Allow.FROZEN


def test_a_cut_within_a_block_cuts_every_block() -> None:
    part = Atom(5)
    first, last = cut_anywhere((Fixed(2), part), [9, 1])
    four, one = atoms((part,))
    assert (four.size, one.size) == (4, 1)
    assert size(first, {four: 6}) == 2 * 6 + 1
    assert resolve(last) == (one,)


def test_a_cut_within_a_block_keeps_that_block_alone() -> None:
    blocks = Atom(5)
    first, last = cut_anywhere((blocks, Fixed(4)), [10, 10])
    before, behind = atoms((blocks,))
    assert (before.size, behind.size) == (2, 2)
    assert size(first, {before: 3}) == 14
    assert size(last, {behind: 3}) == 14


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
@settings(deadline=None)
def test_a_cut_anywhere_gives_the_lengths_asked_for(shape: list[int], data: st.DataObject) -> None:
    product = [Atom(length) if data.draw(st.booleans()) else Fixed(length, "input") for length in shape]
    axis: Axis = tuple(product) if data.draw(st.booleans()) else (Sum(((Atom(2),), tuple(product))),)
    length = size(axis)
    places = sorted(data.draw(st.sets(st.integers(1, length - 1), max_size=3)) if length > 1 else [])
    lengths = [end - start for start, end in itertools.pairwise([0, *places, length])]
    pieces = cut_anywhere(axis, lengths)
    assert [size(piece) for piece in pieces] == lengths
    wider = {atom: atom.size + 3 for atom in atoms(axis) if atom.allow > Allow.FROZEN}
    assert sum(size(piece, wider) for piece in pieces) == size(axis, wider), "the pieces are the whole at any width"


def test_a_concatenation_of_pairs_is_pairs() -> None:
    one, other = Atom(4), Atom(6)
    pairs = split(Sum(((one,), (other,))), 5)
    assert pairs is not None
    assert [factor.size for factor in pairs] == [5, 2]
    assert size((one,)) == 4


def test_nothing_beside_nothing_is_nothing() -> None:
    assert concat((), ()) == ()
