"""Axes that are only as long as each other."""

from netmorph.graph.axis import Allow, Atom, Axis, Fixed, Sum, resolve, size
from netmorph.graph.lengths import same_length


def summed(*axes: Axis) -> Axis:
    return (Sum(axes),)


def test_single_sets_of_channels_become_one() -> None:
    one, other = Atom(4), Atom(4)
    same_length((one,), (other,), "here")
    assert resolve((one,)) == resolve((other,))


def test_the_order_of_summands_does_not_matter() -> None:
    one, other = Atom(4), Atom(6)
    same_length(summed((one,), (other,)), summed((other,), (one,)), "here")
    assert one.allow == other.allow == Allow.ANY
    assert resolve((one,)) == (one,)
    assert resolve((other,)) == (other,)


def test_what_both_count_is_left_out() -> None:
    a, b, c = Atom(3), Atom(5), Atom(2)
    same_length(summed((Fixed(4), a), (Fixed(2),), (b,)), summed((b,), (Fixed(4), c), (Fixed(6),)), "here")
    assert size((a,), {c: 7}) == 8, "a is c + 1"
    assert b.allow == c.allow == Allow.ANY


def test_factors_have_no_order() -> None:
    a, b, rest = Atom(2), Atom(3), Atom(5)
    same_length(summed((a, b), (rest,)), summed((rest,), (b, a)), "here")
    assert {a.allow, b.allow, rest.allow} == {Allow.ANY}


def test_what_is_beside_nothing_is_frozen() -> None:
    a, b = Atom(1), Atom(3)
    same_length((a, b), (b,), "here")
    assert a.allow == Allow.FROZEN
    assert a.limits[0].reason.endswith("here")
    assert b.allow == Allow.ANY


def test_a_number_keeps_its_reason() -> None:
    a, b = Atom(3), Atom(5)
    same_length(summed((a,), (b,)), summed((b,), (Fixed(3, "written"),)), "here")
    assert a.limits[0].reason == "written"
    assert b.allow == Allow.ANY
