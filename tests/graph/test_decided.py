"""Lengths that data decides: they may differ after a narrowing, and nothing else may."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netmorph
from netmorph import Allow, EditError
from netmorph.graph.decided import decided, decides_by_rounding

SEEDS = 6


class Net(nn.Module):
    """A forward around some layers."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, *args: Any) -> Any:
        """Whatever `run` returns."""
        return self.run(self, *args)


def tokens_where(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu()
    for number, expert in enumerate(net.experts):
        rows = torch.where(net.gate(y).argmax(-1) == number)[0]
        y = y.index_add(0, rows, expert(y[rows]))
    return net.z(y)


def tokens_of_experts_that_have_some(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu()
    chosen = F.one_hot(net.gate(y).argmax(-1), 3)
    made = torch.zeros_like(y)
    for number in chosen.sum(0).nonzero().flatten().tolist():
        rows = chosen[:, number].nonzero().flatten()
        made = made.index_add(0, rows, net.experts[number](y[rows]))
    return net.z(made)


def tokens_in_lists(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu()
    choice = net.gate(y).argmax(-1)
    order = choice.argsort(stable=True)
    parts = y[order].split(choice.bincount(minlength=3).tolist())
    return net.z(torch.cat([net.experts[k](part) for k, part in enumerate(parts) if len(part)])[order.argsort()])


def rows_above(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu()
    kept = y[net.gate(y)[:, 0] > 0]
    return net.z(torch.cat([kept, y[:1]]).tanh())


def masked_mean(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu()
    scores = net.gate(y)
    return net.z(y).mean(0) + scores.masked_select(scores > 0).sum()


def a_length_that_is_predicted(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu()
    lengths = net.gate(y)[:, 0].exp().ceil().long().clamp(1, 5)
    return net.z(y[torch.repeat_interleave(lengths)]) * torch.ones(int(lengths.sum()), 1)


def a_loop_that_data_ends(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu()
    for _ in range(6):
        if bool(net.gate(y).mean() > 0.1):
            break
        y = y + net.experts[0](y).tanh()
    return net.z(y)


def different_choices(net: Any, x: Tensor) -> Tensor:
    y = net.a(x).relu()
    return net.z(net.gate(y).argmax(-1).unique()[:, None].expand(-1, y.shape[1]).to(y) + y[:1])


DECIDING = [
    tokens_where, tokens_of_experts_that_have_some, tokens_in_lists, rows_above, masked_mean,
    a_length_that_is_predicted, a_loop_that_data_ends, different_choices,
]  # fmt: skip


def net(run: Callable[..., Any], seed: int = 0) -> tuple[Net, Tensor]:
    torch.manual_seed(seed)
    experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
    parts = {"a": nn.Linear(4, 8), "gate": nn.Linear(8, 3), "experts": experts, "z": nn.Linear(8, 2)}
    return Net(run, **parts).double(), torch.randn(24, 4).double()


@pytest.mark.parametrize("run", DECIDING)
def test_narrow_and_go_on(run: Callable[..., Any]) -> None:
    narrowed = 0
    for seed in range(SEEDS):
        model, x = net(run, seed)
        graph = netmorph.trace(model, x)
        if is_unreached(graph):
            continue
        assert graph.group("a").allow == Allow.ANY
        graph = netmorph.apply(graph, netmorph.widen(graph, "a", 10))
        assert graph.journal[-1].error < 1e-12
        if is_unreached(graph):
            continue
        netmorph.apply(graph, netmorph.narrow(graph, "a", range(4)))
        if run is not a_loop_that_data_ends:  # there, one layer may never have run at all
            model(torch.randn(50, 4).double())  # other data, other experts
        graph = netmorph.trace(model, x)
        if not is_unreached(graph):
            netmorph.apply(graph, netmorph.narrow(graph, "a", [0, 2, 3]))
            narrowed += 1
            assert model.a.out_features == 3
    assert narrowed


def is_unreached(graph: netmorph.Graph) -> bool:
    return any("does not reach it" in reason for reason in graph.group("a").reasons)


def test_an_expert_that_no_input_reaches_freezes_what_it_may_share() -> None:
    model, x = net(tokens_of_experts_that_have_some)
    with torch.no_grad():
        model.gate.bias[2] = -1e6
    graph = netmorph.trace(model, x)
    assert graph.group("a").allow == Allow.FROZEN
    assert is_unreached(graph)
    with torch.no_grad():
        model.gate.bias[2] = model.gate.bias[:2].max()
    assert netmorph.trace(model, x).group("a").allow == Allow.ANY


def test_what_data_decides() -> None:
    model, x = net(rows_above)
    recording = netmorph.trace(model, x).recording
    found = decided(recording, recording.calls)
    assert found.start is not None
    by_name = {str(call.op): call.outputs[0] for call in recording.calls}
    assert 0 in found.loose[by_name["aten.index.Tensor"]]
    assert by_name["aten.relu.default"] not in found.loose  # every row of the input
    assert decides_by_rounding(recording)


def test_what_comes_from_the_input_alone_is_known() -> None:
    def run(net: Any, x: Tensor, mask: Tensor) -> Tensor:
        return net.z(net.a(x)[mask])

    model = Net(run, a=nn.Linear(4, 8), z=nn.Linear(8, 2))
    recording = netmorph.trace(model, (torch.randn(6, 4), torch.arange(6) > 2)).recording
    assert decided(recording, recording.calls).start is None
    assert not decides_by_rounding(recording)


def test_a_length_of_its_own_is_still_found() -> None:
    """Nothing that data decides: the batch of the result is made of channels."""

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        kept = y[net.gate(y)[:, 0] > 0]
        width = 8 if y.shape[1] < 100 else int(str(y.shape[1]))
        return net.z(y.reshape(-1, width)).mean(0) + kept.mean()

    model = Net(run, a=nn.Linear(4, 8), gate=nn.Linear(8, 3), z=nn.Linear(8, 2))
    graph = netmorph.trace(model, torch.randn(24, 4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(EditError):
        netmorph.apply(graph, netmorph.narrow(graph, "a", range(4)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_rounding_that_turns_a_choice_over_is_no_error() -> None:
    """Two scores are equal but for rounding; in float64 the same edit is exact."""

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        scores = net.z(y)
        return torch.where(scores[:, :1] > scores[:, 1:], 1.0, -1.0) * net.z(y).sum(1, keepdim=True)

    turned = 0
    for seed in range(12):
        torch.manual_seed(seed)
        model = Net(run, a=nn.Linear(64, 64), z=nn.Linear(64, 2))
        with torch.no_grad():  # all channels are equal, and so are the scores, but for one digit of one weight
            model.a.weight.copy_(model.a.weight[:1].expand(64, -1))
            model.a.bias.fill_(model.a.bias[0])
            model.z.weight[1] = model.z.weight[0]
            model.z.weight[1, 5] = model.z.weight[1, 5].nextafter(torch.tensor(1.0))
            model.z.bias.zero_()
        graph = netmorph.trace(model, torch.randn(256, 64))
        graph = netmorph.apply(graph, netmorph.widen(graph, "a", 97))
        turned += graph.journal[-1].error > 1
    assert turned


def test_experts_by_grouped_products() -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.randn(3, 8, 16) / 4)
            self.down = nn.Parameter(torch.randn(3, 16, 8) / 4)
            self.gate, self.out = nn.Linear(8, 3), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            order = self.gate(x).argmax(-1).argsort()
            ends = torch.bincount(self.gate(x).argmax(-1), minlength=3).cumsum(0).int()
            y = F.grouped_mm(F.grouped_mm(x[order], self.up, offs=ends).relu(), self.down, offs=ends)
            return self.out(y)

    torch.manual_seed(0)
    model, x = Experts(), torch.randn(12, 8)
    before = model(x)
    graph = netmorph.trace(model, x, strict=True)
    (inside,) = [group for group in graph.editable() if group.size == 16]
    assert inside.allow == Allow.ANY
    graph = netmorph.apply(graph, netmorph.widen(graph, inside.name, 24))
    assert model.up.shape == (3, 8, 24)
    assert torch.allclose(model(x), before, atol=1e-5)
    with torch.no_grad():
        kept = model.up[:, :, 4:20], model.down[:, 4:20]
    netmorph.apply(graph, netmorph.narrow(graph, inside.name, range(4, 20)))
    assert torch.equal(model.up, kept[0])
    assert torch.equal(model.down, kept[1])


def test_of_boxes_none_is_left() -> None:
    """Views and lists of nothing say little, and break nothing: dimensions at the ends that keep their length go on."""

    class Boxes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.boxes = nn.Linear(4, 6), nn.Linear(6, 8)

        def forward(self, x: Tensor) -> Tensor:
            found = [self.boxes(part).unflatten(1, (2, 4)) for part in self.hidden(x).split(3)]
            kept = [part[part.sum((1, 2)) > 1e9] for part in found]
            return torch.cat([part.reshape(-1, 4) for part in kept]), torch.cat([torch.empty(0), torch.empty(0)])

    graph = netmorph.trace(Boxes().double().eval(), torch.randn(6, 4, dtype=torch.float64))
    assert [tuple(value.shape) for value in graph.recording.outputs] == [(0, 4), (0,)]
    assert graph.group("hidden").allow == Allow.ANY
    assert graph.group("boxes").allow == Allow.FROZEN
