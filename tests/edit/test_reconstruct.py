"""What is dropped is rebuilt from what is kept; oracles in float64."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import output
from torch import Tensor, nn

import netmorph.edit.reconstruct as reconstructing
from netmorph import EditError, Samples, apply, identity, narrow, recalibrate, reconstruct, shallow, trace, widen
from netmorph.edit import linearize, narrow_all
from netmorph.edit.reconstruct import least_squares, pivots
from netmorph.graph import Graph


def mlp(*, bias: bool = True) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4, bias=bias), nn.ReLU(), nn.Linear(4, 2))
    return model.double(), torch.randn(200, 3).double()


def relative(before: Tensor, after: Tensor) -> float:
    return float((before - after).abs().max() / before.abs().max())


def reconstructed(model: nn.Module, x: Tensor, kept: dict[str, list[int]]) -> float:
    """The relative error that the narrowing leaves on the very samples."""
    before = output(model, x)
    graph = trace(model, x)
    apply(graph, reconstruct(narrow_all(graph, kept), Samples(graph, [x])))
    return relative(before, output(model, x))


@torch.no_grad()
def test_a_dropped_constant_channel_moves_into_the_bias() -> None:
    model, x = mlp()
    model[0].weight[2] = 0
    assert reconstructed(model, x, {"0": [0, 1, 3, 4, 5]}) < 1e-13


@torch.no_grad()
def test_a_dropped_channel_that_follows_from_others_costs_nothing() -> None:
    model, x = mlp()
    model[1] = nn.Identity()
    model[0].weight[5] = 2 * model[0].weight[0] - model[0].weight[1]
    assert reconstructed(model, x, {"0": [0, 1, 2, 3, 4]}) < 1e-9


@torch.no_grad()
def test_through_a_convolution_with_batch_norm_and_a_flatten() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(4 * 4, 3)),
    ).double()
    model[0].weight[1], model[0].bias[1] = 3 * model[0].weight[4], 3 * model[0].bias[4]  # batch norm undoes the factor
    model[1].running_mean[1], model[1].running_var[1] = 0.0, 9 * (1 + model[1].eps) - model[1].eps
    model[3].weight[2], model[3].bias[2] = 0, 0.7
    x = torch.randn(50, 2, 6, 6).double()
    assert reconstructed(model, x, {"0": [0, 2, 3, 4], "3": [0, 1, 3]}) < 1e-9
    assert model[6].in_features == 12


@torch.no_grad()
def test_each_segment_of_a_concatenation_and_a_transposed_and_a_grouped_convolution() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 6, 1)
            self.grouped = nn.Conv2d(6, 6, 1, groups=2)
            self.up = nn.ConvTranspose2d(10, 3, 2, stride=2)
            self.head = nn.Conv2d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            both = torch.cat([self.one(x).relu(), self.grouped(self.two(x).relu())], 1)
            return self.head(self.up(both).relu())

    torch.manual_seed(0)
    model = Net().double()
    model.one.weight[3] = model.one.weight[0]
    model.one.bias[3] = model.one.bias[0]
    for block in (0, 3):  # two groups of three channels; the third of each is the sum of both others, without a ReLU
        model.grouped.weight[block + 2] = model.grouped.weight[block] + model.grouped.weight[block + 1]
        model.two.weight[block + 2] = model.two.weight[block]
        model.two.bias[block + 2] = model.two.bias[block]
    x = torch.randn(30, 2, 5, 5).double()
    graph = trace(model, x)
    kept = {group.name: list(range(group.size - 1)) for group in graph.editable() if group.name in ("one", "two#2")}
    assert len(kept) == 2
    assert graph.group("two#2").size == 3
    assert reconstructed(model, x, kept) < 1e-9


READERS: dict[str, tuple[Callable[..., Tensor], dict[str, tuple[int, ...]]]] = {
    "matmul": (lambda x, w: x @ w, {"w": (6, 2)}),
    "matmul of tokens": (lambda x, w: x.unflatten(0, (20, 10)) @ w, {"w": (6, 2)}),
    "weight first": (lambda x, w: (w @ x.t()).t(), {"w": (2, 6)}),
    "mv": (lambda x, w: torch.mv(x, w)[:, None], {"w": (6,)}),
    "bmm": (lambda x, w: torch.bmm(x.expand(2, -1, -1), w), {"w": (2, 6, 3)}),
    "addmm": (lambda x, b, w: torch.addmm(b, x, w), {"b": (2,), "w": (6, 2)}),
    "addmm of one bias": (lambda x, b, w: torch.addmm(b, x, w), {"b": (1,), "w": (6, 2)}),
    "addmv": (lambda x, b, w: torch.addmv(b, x, w)[:, None], {"b": (1,), "w": (6,)}),
    "einsum": (lambda x, w: torch.einsum("oi,ni->no", w, x), {"w": (2, 6)}),
    "einsum of heads": (lambda x, w: torch.einsum("ni,hid->hnd", x, w), {"w": (2, 6, 3)}),
    "grouped transposed": (
        lambda x, w, b: nn.functional.conv_transpose1d(x[..., None], w, b, groups=2), {"w": (6, 2, 3), "b": (4,)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_all_who_sum_over_channels_are_seen(name: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)
            for parameter, shape in parameters.items():
                setattr(self, parameter, nn.Parameter(torch.randn(shape)))

        def forward(self, x: Tensor) -> Tensor:
            return function(self.layer(x), *(getattr(self, parameter) for parameter in parameters))

    function, parameters = READERS[name]
    torch.manual_seed(0)
    model, x = Net().double(), torch.randn(200, 6).double()
    with torch.no_grad():  # the last of each group of channels follows from the two before it
        for place in (2, 5):
            model.layer.weight[place] = 2 * model.layer.weight[place - 1] - model.layer.weight[place - 2]
            model.layer.bias[place] = 2 * model.layer.bias[place - 1] - model.layer.bias[place - 2]
    groups = [group for group in trace(model, x).editable() if group.name.startswith("layer")]
    group = next(group for group in groups if group.size in (3, 6))
    assert reconstructed(model, x, {group.name: [place for place in range(group.size) if place % 3 < 2]}) < 1e-9


def test_least_squares_on_what_each_reader_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstructing, "RIDGES", (1e-10,))
    model, x = mlp()
    graph = trace(model, x)
    seen = model[1](model[0](x)).detach()
    kept = [0, 2, 5]
    edit = reconstruct(narrow(graph, "0", kept), Samples(graph, [x[:120], x[120:]]))
    design = torch.cat([seen[:, kept], torch.ones(200, 1)], 1)
    wanted = torch.linalg.lstsq(design, seen).solution
    reading = edit.readings["0", "2.weight", 1]
    assert torch.allclose(reading.consume, wanted[:-1].T, atol=1e-9)
    assert torch.allclose(reading.constant, wanted[-1], atol=1e-9)
    old = copy.deepcopy(model[2])
    apply(graph, edit)
    assert torch.allclose(model[2].weight, old.weight @ reading.consume, atol=1e-12)
    assert torch.allclose(model[2].bias, old.bias + old.weight @ reading.constant, atol=1e-12)


def test_a_reader_without_a_bias_is_fitted_through_the_origin() -> None:
    model, x = mlp(bias=False)
    graph = trace(model, x)
    seen = model[1](model[0](x)).detach()
    reading = reconstruct(narrow(graph, "0", [0, 1, 2]), Samples(graph, [x])).readings["0", "2.weight", 1]
    assert reading.offsets == {}
    assert not reading.constant.any()
    assert torch.allclose(reading.consume, torch.linalg.lstsq(seen[:, :3], seen).solution.T, atol=1e-9)


@torch.no_grad()
def test_the_constant_goes_into_the_batch_norm_behind_a_reader_without_a_bias() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 2)),
    ).double()
    model[0].weight[1], model[0].bias[1] = 0, 0.3
    model[3].weight[2], model[3].bias[2] = 0, 0.7
    x = torch.randn(20, 2, 6, 6).double()
    assert reconstructed(model, x, {"0": [0, 2, 3, 4], "2": [0, 1, 3]}) < 1e-12


@pytest.mark.parametrize("kind", ["its input is used elsewhere", "it follows two layers", "over other channels"])
def test_a_batch_norm_that_takes_no_constant(kind: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.read, self.head = nn.Linear(3, 5), nn.Linear(5, 4, bias=False), nn.Linear(4, 2)
            self.other, self.norm = nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            read = self.read(self.first(x).tanh())
            if kind == "its input is used elsewhere":
                return self.head(self.norm(read) + read)
            if kind == "it follows two layers":
                return self.head(self.norm(read) + self.norm(self.other(x)))
            return self.head(self.norm(read))

    torch.manual_seed(0)
    x = torch.randn(20, 4, 3) if kind == "over other channels" else torch.randn(20, 3)
    graph = trace(Net(), x)
    readings = reconstruct(narrow(graph, "first", [0, 1]), Samples(graph, [x])).readings
    assert readings["first", "read.weight", 1].offsets == {}


def test_the_narrowed_network_is_closer_and_the_optimizer_goes_on() -> None:
    errors = []
    for rebuilt in (True, False):
        model, x = mlp()
        before = output(model, x)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        model(x).sum().backward()
        optimizer.step()
        before = output(model, x)
        graph = trace(model, x)
        edit = narrow_all(graph, {"0": [0, 1, 2, 3], "2": [0, 1, 3]})
        apply(graph, reconstruct(edit, Samples(graph, [x])) if rebuilt else edit, optimizer)
        errors.append(relative(before, output(model, x)))
        assert all(optimizer.state[p]["exp_avg"].shape == p.shape for p in model.parameters())
        weights = [p.detach().clone() for p in model.parameters()]
        model(x).sum().backward()
        optimizer.step()
        assert not any(torch.equal(old, new) for old, new in zip(weights, model.parameters(), strict=True))
    assert errors[0] < 0.7 * errors[1]


def test_samples_touch_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 3, 3))
    x = torch.randn(3, 2, 8, 8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = trace(model, x)
    samples = Samples(graph, [(x, x.mean())], loss=lambda net, batch: net(batch[0]).mean() * batch[1])
    assert samples.seen["0", "3.weight", 1].count == 3 * 36
    assert samples.importance["0"].shape == (4,)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_loss_that_fails_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    graph = trace(model, torch.randn(5, 3))

    def loss(net: nn.Module, batch: Tensor) -> Tensor:
        net(batch)
        raise RuntimeError("no labels")

    for look in (lambda: Samples(graph, [torch.randn(5, 3)], loss).importance, lambda: Samples(graph, [1], loss).seen):
        with pytest.raises((RuntimeError, TypeError)):
            look()
        assert model.training
        assert model[1].training
        assert not model[0].weight.requires_grad
        assert model[2].weight.requires_grad


def test_pivots_are_those_of_qr_with_pivoting() -> None:
    torch.manual_seed(0)
    x = torch.randn(40, 8).double() * torch.arange(1, 9)
    x[:, 3] = x[:, 5] - x[:, 6]
    order, gains = pivots(x.T @ x)
    assert sorted(order) == list(range(8))
    left = x.clone()
    for place, pivot in enumerate(order[:7]):
        norms = left.pow(2).sum(0)
        assert norms[pivot] == norms.max()
        assert gains[place] == pytest.approx(float(norms[pivot]), rel=1e-9)
        direction = left[:, pivot] / left[:, pivot].norm()
        left = left - direction.outer(direction @ left)
    assert gains[7] < 1e-9 * gains[0]


def test_least_squares_on_fewer_samples_than_channels() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 6).double()
    consume = least_squares(x.T @ x, torch.tensor([4, 0, 1, 2]))
    assert torch.allclose(x[:, [4, 0, 1, 2]] @ consume.T, x, atol=1e-8)


def test_what_varies_by_rounding_alone_explains_nothing() -> None:
    gram = torch.tensor([[-2e-13, 1e-13], [1e-13, 3e-13]], dtype=torch.float64)  # of constants, about their means

    consume = least_squares(gram, torch.tensor([0]))

    assert consume.tolist() == [[1.0], [0.0]]


@torch.no_grad()
def test_with_few_samples_for_many_channels_noise_is_not_fitted() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(80, 64), nn.Tanh(), nn.Linear(64, 2)).double()
    few, others = torch.randn(40, 80).double(), torch.randn(500, 80).double()
    before, missed = model(others), []
    for some in (few, others):
        graph = trace(copy.deepcopy(model), few)
        apply(graph, reconstruct(narrow(graph, "0", range(36)), Samples(graph, [some])))
        missed.append(float((graph.model(others) - before).square().mean()))
    graph = trace(copy.deepcopy(model), few)
    apply(graph, narrow(graph, "0", range(36)))
    cut = float((graph.model(others) - before).square().mean())
    assert missed[1] < missed[0] < 1.2 * cut  # next to nothing can be told from 40 samples, so next to nothing is done


class TiedToItsTranspose(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x + (x @ self.weight).relu() @ self.weight.T


def test_a_weight_that_also_writes_the_channels_only_drops_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), TiedToItsTranspose(), nn.Linear(4, 2)).double()
    x, old = torch.randn(50, 3).double(), model[1].weight.detach().clone()
    graph = trace(model, x)
    edit = reconstruct(narrow(graph, "0", [0, 2, 3]), Samples(graph, [x]))
    assert {tensor for _, tensor, _ in edit.readings} == {"2.weight"}
    apply(graph, edit)
    assert torch.equal(model[1].weight, old[[0, 2, 3]])


@pytest.mark.parametrize(
    "look",
    [
        lambda graph, data: Samples(graph, data).seen,
        lambda graph, data: recalibrate(graph.model, data),
        lambda graph, data: identity(graph, "0", norm=True, data=data),
        lambda graph, data: shallow(graph, "1", data=data),
        lambda graph, data: linearize(graph, "1", data),
    ],
)
def test_batches_with_labels_need_a_loss(look: Callable[[Graph, list[Any]], Any]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    with pytest.raises(EditError, match=r"a batch is a list of 2 things, .* Give batches of inputs alone"):
        look(trace(model, x), [[x, torch.zeros(5)]])


def test_recalibration() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 5), nn.BatchNorm1d(5)).double()
    model.train()
    model[4].eval()
    batches = [torch.randn(20, 3).double() for _ in range(3)]
    recalibrate(model, batches)
    hidden = [model[0](x).detach() for x in batches]
    assert torch.allclose(model[1].running_mean, torch.stack([h.mean(0) for h in hidden]).mean(0))
    assert torch.allclose(model[1].running_var, torch.stack([h.var(0) for h in hidden]).mean(0))
    second = [model[3](nn.functional.batch_norm(h, None, None, model[1].weight, model[1].bias, True)) for h in hidden]
    assert torch.allclose(model[4].running_mean, torch.stack([h.mean(0) for h in second]).mean(0))  # dropout was off
    assert model[1].momentum == 0.1
    assert model.training
    assert not model[4].training


def test_what_cannot_be_asked() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    graph = trace(model, x)
    with pytest.raises(EditError, match="only a narrowing can be reconstructed"):
        reconstruct(widen(graph, "0", 6), Samples(graph, [x]))
    with pytest.raises(EditError, match="the samples are of another graph than the edit"):
        reconstruct(narrow(graph, "0", [0]), Samples(trace(nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)), x), [x]))
    with pytest.raises(EditError, match="activations on the samples are NaN or infinite"):
        reconstruct(narrow(graph, "0", [0]), Samples(graph, [x.log()]))
    with pytest.raises(EditError, match="no batches to look at; pass batches"):
        reconstruct(narrow(graph, "0", [0]), Samples(graph, iter([])))
    with pytest.raises(EditError, match="need a loss, for instance"):
        _ = Samples(graph, [x]).importance
    with pytest.raises(EditError, match="no batches to compute batch-norm statistics on"):
        recalibrate(model, [])
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        recalibrate(model, [x[:1]])
    assert model[1].running_var.tolist() == [1, 1, 1, 1]
    assert model[1].momentum == 0.1
