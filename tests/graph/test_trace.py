"""Tracing leaves no trace on the model, and says what is wrong where it cannot be done."""

import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from netmorph import Allow, TraceError, UnknownOp, apply, rule, trace, widen
from netmorph.graph import RULES, Role, UnknownGroup
from netmorph.graph.ops.elementwise import pointwise


class Busy(nn.Module):
    """Its forward changes all that a forward can change."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout()
        self.aux, self.head = nn.Linear(4, 3), nn.Linear(4, 3)
        self.register_buffer("seen", torch.zeros(3))
        self.register_buffer("kept", torch.zeros(2))
        self.calls, self.last = 0, None
        self.history: list[int] = []

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        self.history.append(self.calls)
        self.seen += 1
        self.kept = torch.ones(2)
        self.late = torch.zeros(1)
        self.conv.note = "called"
        x = self.drop(self.norm(self.conv(x)).relu()).mean((2, 3))
        self.last = x
        x = x * (1 + 0 * (random.random() + np.random.rand() + torch.rand(1)))  # noqa: NPY002
        return (self.head(x), self.aux(x)) if self.training else self.head(x)


def state(model: nn.Module) -> dict[str, Any]:
    """All that an outsider can see, the bits of tensors included."""
    return {
        path: {
            "attributes": {
                key: list(value) if isinstance(value, list) else value
                for key, value in vars(module).items()
                if not key.startswith("_")
            },
            "hooks": [len(value) for key, value in vars(module).items() if key.endswith("_hooks")],
            "parameters": {key: (id(p), p.requires_grad, p.detach().clone()) for key, p in module._parameters.items()},
            "gradients": {key: p.grad for key, p in module._parameters.items() if p is not None},
            "buffers": {key: (id(b), b.clone()) for key, b in module._buffers.items()},
        }
        for path, module in model.named_modules()
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else one is other or one == other


def random_states() -> tuple[Any, ...]:
    return random.getstate(), torch.get_rng_state(), *np.random.get_state()[1:3]  # noqa: NPY002


def hooks() -> int:
    return len(module_hooks._global_forward_hooks) + len(module_hooks._global_forward_pre_hooks)


def mixed(model: nn.Module) -> nn.Module:
    """Some modules in training mode, some frozen, some with a gradient."""
    model.train()
    model.norm.eval()
    model.conv.bias.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    return model


def test_no_side_effects() -> None:
    model = mixed(Busy())
    x = torch.randn(2, 2, 5, 5)
    before, states, count = state(model), random_states(), hooks()
    graph = trace(model, x)
    assert same(before, state(model))
    after = random_states()
    assert after[0] == states[0]
    assert torch.equal(after[1], states[1])
    assert (after[2] == states[2]).all()
    assert after[3] == states[3]
    assert hooks() == count
    assert graph.model is model
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("training", [True, False])
def test_no_side_effects_where_the_forward_raises(training: bool) -> None:
    class Fails(Busy):
        def forward(self, x: Tensor) -> Any:
            super().forward(x)
            if self.training or not training:
                raise RuntimeError("no luck today")
            return self.head(x.mean((2, 3)) @ x.new_zeros(2, 4))

    model = mixed(Fails())
    before, count = state(model), hooks()
    with pytest.raises(TraceError, match=r"(?s)test_trace\.py:\d+ \(raise RuntimeError.*no luck today"):
        trace(model, torch.randn(2, 2, 5, 5))
    assert same(before, state(model))
    assert hooks() == count


def test_buffers_changed_past_the_version_counter_are_put_back() -> None:
    class Sly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.count.data.add_(1)
            return self.fc(x)

    model = Sly()
    trace(model, torch.randn(2, 2))
    assert model.count.item() == 0


def test_scripted_submodule() -> None:
    model = nn.Sequential(
        nn.Linear(3, 4), _scripted(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))), nn.Linear(5, 2)
    )
    model.train()
    graph = trace(model, torch.randn(2, 3))
    assert graph.group("0").size == 4
    assert all(module.training for module in model.modules())


def _scripted(module: nn.Module) -> nn.Module:
    with pytest.warns(DeprecationWarning, match="script"):
        scripted: nn.Module = torch.jit.script(module)
    return scripted


def test_constant_inputs_are_replaced_by_ones_that_can_check_an_edit() -> None:
    graph = trace(nn.Linear(3, 2), torch.zeros(4, 3))
    assert graph.inputs[0].unique().numel() > 1
    given = torch.randn(4, 3)
    assert trace(nn.Linear(3, 2), given).inputs[0] is given


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_dtypes(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 2)).to(dtype)
    assert trace(model, torch.randn(2, 2, 5, 5).to(dtype)).group("0").allow == Allow.ANY


def test_several_inputs_and_a_dict_of_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(2, 4)
            self.out = nn.Linear(4, 2)

        def forward(self, x: Tensor, y: Tensor) -> dict[str, Any]:
            hidden = self.a(x) + self.b(y)
            return {"logits": self.out(hidden), "extra": (self.out(hidden.relu()), 3)}

    graph = trace(Two(), (torch.randn(5, 3), torch.randn(5, 2)))
    assert {site.tensor for site in graph.group("a").sites} == {
        "a.weight",
        "a.bias",
        "b.weight",
        "b.bias",
        "out.weight",
    }
    assert graph.group("out").allow == Allow.FROZEN


def test_parts_that_only_run_in_training_are_coupled() -> None:
    graph = trace(Busy(), torch.randn(1, 2, 5, 5))
    assert "aux.weight" in {site.tensor for site in graph.group("conv").sites}
    assert graph.group("aux").reasons == ("the model's output",)


def test_tied_weights_that_read_and_write_allow_no_exact_change() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mid, self.out = nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False)
            self.out.weight = self.embed.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.embed(x) + self.mid(self.embed(x)))

    graph = trace(Tied(), torch.tensor([[1, 2, 3]]))
    (group,) = [group for group in graph.groups.values() if group.size == 4 and "mid" in str(group.sites)]
    assert group.allow == Allow.INEXACT
    assert "tied" in group.reasons[0]


def test_a_size_shared_by_one_module_called_twice() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.first, self.out = nn.Linear(4, 4), nn.Linear(3, 4), nn.Linear(4, 2)
            self.again = self.inner

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.again(self.inner(self.first(x)).relu()))

    graph = trace(Shared(), torch.randn(2, 3))
    tensors = [site.tensor for site in graph.group("inner").sites]
    assert sorted(set(tensors)) == ["first.bias", "first.weight", "inner.bias", "inner.weight", "out.weight"]


def test_a_single_channel_is_told_from_new_dimensions_of_size_one() -> None:
    class Between(nn.Module):
        def __init__(self, dim: int) -> None:
            super().__init__()
            self.dim = dim

        def forward(self, x: Tensor) -> Tensor:
            return x.unsqueeze(self.dim)

    for dim, readers in ((1, 0), (2, 1)):  # as the length, or as the channel of the convolution behind it
        model = nn.Sequential(nn.Linear(3, 1), Between(dim), nn.Conv1d(1, 4, 1))
        group = trace(model, torch.randn(2, 3)).group("0")
        assert len(group.where(Role.READ)) == readers


def test_a_squeezed_channel_has_to_stay_alone() -> None:
    class Squeeze(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.squeeze(1)

    model = nn.Sequential(nn.Conv1d(2, 1, 1), Squeeze(), nn.Linear(5, 2))
    group = trace(model, torch.randn(3, 2, 5)).group("0")
    assert group.allow == Allow.FROZEN
    assert "squeezed: aten.squeeze.dim in 1" in group.reasons[0]


# -- messages ---------------------------------------------------------------------------------------------------------


def test_not_a_module() -> None:
    with pytest.raises(TraceError, match=r"needs an nn\.Module, not type"):
        trace(nn.Linear, torch.randn(1))  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="OrderedDict"):
        trace(nn.Linear(2, 2).state_dict(), torch.randn(1))  # type: ignore[arg-type]


def test_inputs_that_do_not_fit() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(TraceError, match=r"(?s)\(2, 4\) torch\.float32\) in '0' \(Linear\): .*multiplied.*Give inputs"):
        trace(model, torch.randn(2, 4))


def test_no_tensor_comes_out() -> None:
    class Number(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> float:
            return self.fc(x).sum().item()

    with pytest.raises(TraceError, match="returned float without a tensor"):
        trace(Number(), torch.randn(1, 2))


def test_unknown_group_names_the_closest() -> None:
    graph = trace(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), torch.randn(1, 2))
    with pytest.raises(UnknownGroup, match=r"no channel group '0.inn' .did you mean '0.in'\?.*0, 0.in, 1"):
        graph.group("0.inn")


class Digamma(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.digamma(x)


def test_an_operator_without_a_rule_is_never_guessed() -> None:
    model = nn.Sequential(nn.Linear(2, 3), Digamma(), nn.Linear(3, 4), nn.Linear(4, 2))
    advice = r"no rule for operator aten\.digamma\.default; .*@netmorph\.rule\(torch\.ops\.aten\.digamma\.default\)"
    with pytest.raises(UnknownOp, match=rf"{advice}.* in module '1' at .*test_trace\.py:\d+\. .*does not guess"):
        trace(model, torch.randn(1, 2), strict=True)
    graph = trace(model, torch.randn(1, 2))
    for name in ("0", "2.in"):
        assert graph.group(name).allow == Allow.FROZEN
        assert re.search(advice, graph.group(name).reasons[0])
    assert graph.group("2").allow == Allow.ANY


def test_a_rule_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, torch.ops.aten.digamma.default, pointwise)
    graph = trace(nn.Sequential(nn.Linear(2, 3), Digamma(), nn.Linear(3, 2)), torch.randn(1, 2))
    assert graph.group("0").allow == Allow.ANY
    assert rule()(pointwise) is pointwise


def test_a_wrong_rule_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, torch.ops.aten.digamma.default, lambda couple, x: x.axes[::-1])
    with pytest.raises(ValueError, match=r"the rule of aten.digamma in 1 .* gave axes of sizes \(3, 1\).*\(1, 3\)"):
        trace(nn.Sequential(nn.Linear(2, 3), Digamma()), torch.randn(1, 2))


def test_a_frozen_group_says_why() -> None:
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 1]

    group = trace(nn.Sequential(nn.Linear(2, 3), First()), torch.randn(4, 2)).group("0")
    assert group.allow == Allow.FROZEN
    assert "picked by its place: aten.select.int in 1 (" in str(group)
    assert "test_trace.py:" in str(group)


class Folding(nn.Linear):
    """Low-rank weights that `train(False)` folds into the weight in place, and `train()` takes out again."""

    def __init__(self) -> None:
        super().__init__(4, 6)
        self.down, self.up, self.folded = nn.Parameter(torch.randn(2, 4)), nn.Parameter(torch.randn(6, 2)), False

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        if self.folded == mode:
            self.weight.data += (self.up @ self.down).detach() * (-1 if mode else 1)
            self.folded = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        made = super().forward(x)
        return made if self.folded else made + x @ self.down.T @ self.up.T


@pytest.mark.parametrize("mode", [True, False])
def test_weights_that_are_folded_when_the_mode_changes_stay_as_they_are(mode: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Folding(), nn.ReLU(), nn.Linear(6, 3)).double().train(mode)
    x = torch.randn(5, 4).double()
    before, weight = model(x).detach(), model[0].weight.detach().clone()
    graph = trace(model, x)
    assert torch.equal(model[0].weight, weight)
    assert (model[0].training, model[0].folded) == (mode, not mode)
    apply(graph, widen(graph, "0", 9))
    assert (model[0].training, model[0].folded) == (mode, not mode)
    assert torch.allclose(model(x), before, rtol=0, atol=1e-12)


def test_places_of_largest_values_freeze_what_they_count_only_where_they_are_used() -> None:
    class Largest(nn.Module):
        def __init__(self, used: bool) -> None:
            super().__init__()
            self.first, self.table, self.used = nn.Linear(4, 6), nn.Embedding(6, 3), used

        def forward(self, x: Tensor) -> Tensor:
            values, places = self.first(x).max(1)
            return self.table(places) if self.used else values[:, None]

    x = torch.randn(5, 4)
    assert trace(Largest(used=True), x).group("first").allow == Allow.FROZEN
    assert trace(Largest(used=False), x, auxiliary=False).group("first").allow == Allow.UNIFORM


def test_nothing_beside_one_is_nothing() -> None:
    class Empty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            none = x[:0] + x[:1]
            return self.last(x + none.sum())

    assert trace(Empty(), torch.randn(5, 4)).group("first").allow == Allow.INEXACT


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_weights_that_are_multiplied_the_one_that_reads_elsewhere_reads(turned: bool) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            one, other = self.first.weight, self.second.weight
            product = (one.t() @ other.t()).t() if turned else other @ one
            return self.second(self.first(x)) + nn.functional.linear(x, product)

    group = trace(Twice(), torch.randn(2, 3)).group("first")
    roles = {site.tensor: {use.role for use in site.all_uses} - {Role.CARRY} for site in group.sites}
    assert group.allow == Allow.ANY
    assert roles == {"first.weight": {Role.WRITE}, "second.weight": {Role.READ}}


def test_every_second_channel_goes_on_together() -> None:
    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 8), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x)[:, ::2])

    graph = trace(Halved(), torch.randn(2, 3))
    assert (graph.group("one").size, graph.group("one").allow) == (4, Allow.ANY)
    assert graph.group("one#2").allow == Allow.FROZEN


def test_a_norm_of_ones_own_follows_the_channels_that_it_tells_of() -> None:
    class Norm(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.weight, self.normalized_shape = nn.Parameter(torch.ones(channels)), (channels,)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.layer_norm(x, x.shape[-1:], self.weight)

    model = nn.Sequential(nn.Linear(3, 4), Norm(4), nn.Linear(4, 2))
    graph = trace(model, torch.randn(2, 3))
    apply(graph, widen(graph, "0", 8))
    assert model[1].normalized_shape == (8,)


def test_a_product_of_three_tells_no_weight_that_writes_its_result() -> None:
    class Scaled(nn.Module):
        def __init__(self, equation: str, *more: nn.Parameter) -> None:
            super().__init__()
            self.equation, self.weight, self.more = equation, nn.Parameter(torch.randn(4, 3)), nn.ParameterList(more)

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum(self.equation, x, self.weight, *self.more)

    def written(model: nn.Module) -> list[Any]:
        calls = trace(model, torch.randn(2, 3)).recording.calls
        return [found.write for call in calls for found in call.contractions]

    assert written(Scaled("nc,kc->nk")) == [((0, 1),)]
    assert written(Scaled("nc,kc,k->nk", nn.Parameter(torch.randn(4)))) == [()]
