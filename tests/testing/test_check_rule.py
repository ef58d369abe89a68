"""`check_rule` passes what is right, and finds what a wrong rule says too much, too little or not at all."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from netmorph import Allow, NetmorphError, TraceError, rule
from netmorph.graph import RULES, Axis, Coupling, Role, Value
from netmorph.graph.axis import Atom, size
from netmorph.testing import CheckError, check_groups, check_rule, over_kept
from netmorph.testing.kept import OVER_KEPT

X = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
Y = X.flip(0) + 0.5


def operator(name: str, function: Callable[..., Tensor]) -> torch._ops.OpOverload:
    torch.library.custom_op(f"checked::{name}", mutates_args=())(function)
    found: torch._ops.OpOverload = getattr(torch.ops.checked, name).default
    return found


def centred(x: Tensor) -> Tensor:
    return x - x.mean(1, keepdim=True)


def rolled(x: Tensor) -> Tensor:
    return x.roll(1, 1)


def beside_first(x: Tensor) -> Tensor:
    return x - x[:, :1]


def doubled(x: Tensor) -> Tensor:
    return 2 * x


def project(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("ncl,cd->ndl", x, weight)


def scaled(x: Tensor, scale: Tensor) -> Tensor:
    return x * scale[:, None]


def blocks(x: Tensor, count: int) -> Tensor:
    return x.unflatten(1, (count, -1)).cumsum(2).flatten(1, 2)


def multiplied(x: Tensor, y: Tensor) -> Tensor:
    return x.mT @ y


CENTRED, ROLLED, BESIDE_FIRST, DOUBLED = (operator(f.__name__, f) for f in (centred, rolled, beside_first, doubled))
PROJECT, SCALED, BLOCKS, MULTIPLIED = (operator(f.__name__, f) for f in (project, scaled, blocks, multiplied))


@pytest.fixture(autouse=True)
def _rules_put_back() -> Iterator[None]:
    rules, kept = dict(RULES), dict(OVER_KEPT)
    yield
    for table, before in ((RULES, rules), (OVER_KEPT, kept)):
        table.clear()  # type: ignore[attr-defined]
        table.update(before)  # type: ignore[attr-defined]


def elementwise(couple: Coupling, x: Value) -> list[Axis]:
    return couple.broadcast(x)


def limited(allow: Allow) -> Callable[..., list[Axis]]:
    def averages(couple: Coupling, x: Value) -> list[Axis]:
        couple.limit(x.axes[1], allow, "it looks at all channels")
        return x.axes

    return averages


def projection(*, couples: bool = True, reads: bool = True, writes: bool = True) -> Callable[..., list[Axis]]:
    def rule_of_project(couple: Coupling, x: Value, weight: Value) -> list[Axis]:
        if couples:
            couple.unify(x.axes[1], weight.axes[0])
        if reads:
            couple.use(weight, 0, Role.READ)
        if writes:
            couple.use(weight, 1, Role.WRITE)
        return [x.axes[0], weight.axes[1], x.axes[2]]

    return rule_of_project


WEIGHT = {"weight": torch.randn(4, 5, generator=torch.Generator().manual_seed(1))}


def test_right_rules_pass() -> None:
    rule(DOUBLED)(elementwise)
    check_rule(DOUBLED, X, allow=Allow.ANY)
    rule(CENTRED)(limited(Allow.UNIFORM))
    check_rule(CENTRED, X, allow=Allow.UNIFORM)
    rule(PROJECT)(projection())
    graph = check_rule(PROJECT, X, parameters=WEIGHT, allow=Allow.ANY)
    assert graph.group("call").size == 5


def test_channels_may_be_last() -> None:
    check_rule(lambda x, weight: x @ weight, X.mT, channels=-1, parameters=WEIGHT, allow=Allow.ANY)
    check_rule(nn.LayerNorm(4), X.mT, channels=-1, allow=Allow.UNIFORM)


def test_several_results_are_all_read() -> None:
    check_rule(lambda x: x.chunk(2, 1), X, allow=Allow.ANY)


def test_what_is_no_element_wise_operator_is_found() -> None:
    for wrong in (CENTRED, ROLLED):
        rule(wrong)(elementwise)
        with pytest.raises(CheckError, match=r"wider by \w+ .*inputs\.0\.layer 4 -> \d+ ANY.* differ"):
            check_rule(wrong, X)


def test_what_only_narrowing_shows_is_found() -> None:
    rule(BESIDE_FIRST)(elementwise)
    with pytest.raises(CheckError, match=r"narrower .*masked: output 0 differs by .* most at \(\d, \d\)"):
        check_rule(BESIDE_FIRST, X)


def test_uniform_where_nothing_is_exact_is_found() -> None:
    rule(CENTRED)(lambda couple, x: x.axes)
    with pytest.raises(CheckError, match=r"wider by"):
        check_rule(CENTRED, X)
    softmax = RULES[torch.ops.aten.softmax.int]
    rule(torch.ops.aten.softmax.int)(lambda couple, x, dim, *rest: limited(Allow.UNIFORM)(couple, x))
    with pytest.raises(CheckError, match=r"wider by net2net .*UNIFORM"):
        check_rule(lambda x: x.softmax(1), X)
    rule(torch.ops.aten.softmax.int)(softmax)
    check_rule(lambda x: x.softmax(1), X, allow=Allow.INEXACT)


def test_two_activations_multiplied_are_found() -> None:
    def apart(couple: Coupling, x: Value, y: Value) -> list[Axis]:
        couple.unify(x.axes[1], y.axes[1])
        return [x.axes[0], x.axes[2], y.axes[2]]

    rule(MULTIPLIED)(apart)
    with pytest.raises(CheckError, match="wider by"):
        check_rule(MULTIPLIED, X, Y)


def test_a_missing_consumer_is_found() -> None:
    rule(PROJECT)(projection(reads=False))
    with pytest.raises(CheckError, match="wider by"):
        check_rule(PROJECT, X, parameters=WEIGHT)


def test_a_missing_producer_is_found() -> None:
    rule(PROJECT)(projection(writes=False))
    with pytest.raises(CheckError, match=r"said to write .*with 'call\.weight' lacks couple\.use\(parameter, 1"):
        check_rule(PROJECT, X, parameters=WEIGHT)


def test_a_missing_coupling_is_found() -> None:
    rule(PROJECT)(projection(couples=False))
    with pytest.raises(CheckError, match=r"wider by .*failed: EditError"):
        check_rule(PROJECT, X, parameters=WEIGHT)
    rule(SCALED)(lambda couple, x, scale: x.axes)
    with pytest.raises(CheckError, match=r"wider by .*failed: EditError"):
        check_rule(SCALED, X, parameters={"scale": torch.rand(4)})


class InBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.count = 2

    def forward(self, x: Tensor) -> Tensor:
        return BLOCKS(x, self.count)


def test_an_integer_that_does_not_follow_is_found() -> None:
    def told(follows: bool) -> Callable[..., list[Axis]]:
        def rule_of_blocks(couple: Coupling, x: Value, count: int) -> list[Axis]:
            outer, inner = (Atom(int(count)),), (Atom(size(x.axes[1]) // int(count)),)
            couple.unify(x.axes[1], (*outer, *inner))
            couple.freeze(inner, "a running sum along these channels")
            if follows:
                couple.follows(count, outer)
            return x.axes

        return rule_of_blocks

    rule(BLOCKS)(told(True))
    check_rule(InBlocks(), X)
    rule(BLOCKS)(told(False))
    with pytest.raises(CheckError, match=r"wider by .* failed"):
        check_rule(InBlocks(), X)


def test_axes_of_another_size_are_found() -> None:
    rule(DOUBLED)(lambda couple, x: [x.axes[0], x.axes[2], x.axes[1]])
    with pytest.raises(CheckError, match=r"tracing failed.*the rule is wrong"):
        check_rule(DOUBLED, X)


def test_no_rule_is_an_error() -> None:
    with pytest.raises(CheckError, match=r"no rule for operator checked\.doubled\.default"):
        check_rule(DOUBLED, X)


def test_a_rule_that_freezes_too_much_is_found_where_it_is_known() -> None:
    rule(DOUBLED)(limited(Allow.FROZEN))
    check_rule(DOUBLED, X)
    with pytest.raises(CheckError, match=r"FROZEN, and ANY was expected: .*it looks at all channels"):
        check_rule(DOUBLED, X, allow=Allow.ANY)


def test_narrowing_of_an_averaging_operator_is_held_against_what_is_told_of_it() -> None:
    rule(CENTRED)(limited(Allow.UNIFORM))
    over_kept(CENTRED)(lambda kept, x: x - x.sum(1, keepdim=True) / kept.sum(1, keepdim=True))
    check_rule(CENTRED, X, allow=Allow.UNIFORM)
    over_kept(CENTRED)(lambda kept, x: x - x.mean(1, keepdim=True))
    with pytest.raises(CheckError, match=r"narrower .*masked"):
        check_rule(CENTRED, X)


def test_a_call_that_fails_is_no_matter_of_rules() -> None:
    with pytest.raises(RuntimeError, match="size"):
        check_rule(lambda x: x + torch.ones(5), X)
    with pytest.raises(TraceError, match="forward failed"):
        check_groups(nn.Linear(3, 4), torch.randn(2, 5))


def test_examples_that_hold_no_channels() -> None:
    for given, channels, told in (
        ((3,), 1, "got int"),
        ((torch.ones(4),), 1, r"got \(4,\)"),
        ((X.long(),), 1, "int64"),
    ):
        with pytest.raises(NetmorphError, match=told):
            check_rule(lambda x: x, *given, channels=channels)
    for channels in (0, 3, -3):
        with pytest.raises(NetmorphError, match=rf"dimension {channels} of an example \(2, 4, 3\) holds no channels"):
            check_rule(lambda x: x, X, channels=channels)
    with pytest.raises(NetmorphError, match="at least one example"):
        check_rule(lambda: torch.ones(2, 3))


def test_the_model_stays_as_it_is() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    before, shape = model[0].weight, model[0].weight.shape
    graph = check_groups(model, x)
    assert model[0].weight is before
    assert before.shape == shape
    assert before.dtype == torch.float32
    assert graph.group("0").allow == Allow.ANY
