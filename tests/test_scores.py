"""Scores against what they say they are, on networks small enough to compute it by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from netmorph import EditError, Samples, trace
from netmorph.graph import Graph
from netmorph.scores import SCORES, activation, batch_norm, best, contribution, interpolative, magnitude, random, taylor


class Net(nn.Module):
    """A convolution with batch norm, read by another one and, flattened, by a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.next, self.head = nn.Conv2d(4, 3, 4), nn.Linear(4 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, 2, 4, 4]`."""
        x = self.norm(self.conv(x)).relu()
        return self.next(x).flatten(1) + self.head(x.flatten(1))


def net() -> tuple[Net, Graph, Tensor]:
    torch.manual_seed(0)
    model = Net().double()
    nn.init.uniform_(model.norm.weight)
    x = torch.randn(6, 2, 4, 4).double()
    return model, trace(model, x), x


def test_magnitude_is_over_all_writers_and_readers() -> None:
    model, graph, _ = net()
    with torch.no_grad():
        squares = model.conv.weight.pow(2).sum((1, 2, 3)) + model.conv.bias.pow(2)
        squares += model.next.weight.pow(2).sum((0, 2, 3)) + model.head.weight.pow(2).view(3, 4, 16).sum((0, 2))
    wanted = squares.sqrt() / squares.sqrt().mean()
    assert torch.allclose(magnitude(graph.group("conv"), Samples(graph)), wanted)


def test_batch_norm_scales() -> None:
    model, graph, _ = net()
    wanted = model.norm.weight.detach().abs()
    assert torch.allclose(batch_norm(graph.group("conv"), Samples(graph)), wanted / wanted.mean())
    plain = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    samples = Samples(trace(plain, torch.randn(2, 2)))
    group = samples.graph.group("0")
    assert torch.equal(batch_norm(group, samples), magnitude(group, samples))


def test_taylor_is_the_first_order_change_of_the_loss_without_a_channel() -> None:
    model, graph, x = net()
    targets = torch.tensor([0, 1, 2, 0, 1, 2])
    batches = [(x[:3], targets[:3]), (x[3:], targets[3:])]
    with torch.no_grad():
        model.norm.bias.normal_()  # taking a channel out takes its shift out, too
    model.next.weight.requires_grad_(False)  # frozen weights tell as well
    samples = Samples(graph, batches, loss=lambda net, batch: cross_entropy(net(batch[0]), batch[1]))
    score = taylor(graph.group("conv"), samples)
    small = 1e-6
    for channel in range(4):
        wanted = 0.0
        for inputs, labels in batches:
            losses = []
            for scale in (1 - small, 1 + small):
                with torch.no_grad():
                    columns = model.head.weight.unflatten(1, (4, 16)).clone()
                    columns[:, channel] *= scale
                    changed = {"next.weight": model.next.weight.clone(), "head.weight": columns.flatten(1)}
                    changed["next.weight"][:, channel] *= scale
                    losses.append(cross_entropy(torch.func.functional_call(model.eval(), changed, inputs), labels))
            wanted += abs(float(losses[1] - losses[0])) / (2 * small)
        assert float(score[channel]) == pytest.approx(wanted, rel=1e-5)
    assert not model.next.weight.requires_grad
    with pytest.raises(EditError, match="need a loss"):
        taylor(graph.group("conv"), Samples(graph, [x]))


def test_activation_is_the_mean_where_the_channels_are_read() -> None:
    model, graph, x = net()
    with torch.no_grad():
        seen = model.eval().norm(model.conv(x)).relu().mean((0, 2, 3))
    score = activation(graph.group("conv"), Samples(graph, [x[:2], x[2:]]))
    assert torch.allclose(score, seen / seen.mean())


@torch.no_grad()
def test_interpolative_scores_what_the_others_do_not_explain() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)).double()
    model[0].weight[4] = model[0].weight[0] + model[0].weight[1]
    model[0].weight[3] = 0
    x = torch.randn(50, 3).double()
    graph = trace(model, x)
    score = interpolative(graph.group("0"), Samples(graph, [x]))
    assert (score > 1e-6).sum() == 3
    assert float(score[3]) < 1e-7
    hidden = model[0](x) - model[0](x).mean(0)
    assert int(score.argmax()) == int(hidden.pow(2).sum(0).argmax())


@torch.no_grad()
def test_contribution_takes_the_channel_that_explains_most_of_the_outputs() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 2, bias=False), nn.BatchNorm1d(2)).double()
    model[2].running_var.copy_(torch.tensor([100.0, 0.01]))  # so the first output hardly counts
    model[0].weight[3] = model[0].weight[2]
    x = torch.randn(50, 6).double()
    graph = trace(model, x)
    score = contribution(graph.group("0"), Samples(graph, [x]))
    hidden = model[0](x) - model[0](x).mean(0)
    outputs = (hidden @ model[1].weight.T) * (model[2].running_var + model[2].eps).rsqrt()

    def missed(channels: list[int]) -> float:
        fit = torch.linalg.lstsq(hidden[:, channels], outputs).solution
        return float((outputs - hidden[:, channels] @ fit).square().sum())

    taken: list[int] = []
    left = float(outputs.square().sum())
    for channel in score.argsort(descending=True).tolist()[:4]:
        now = missed([*taken, channel])
        assert now == pytest.approx(min(missed([*taken, other]) for other in range(5) if other not in taken))
        gain = (left - now) / float(outputs.square().sum())
        assert float(score[channel]) <= gain**0.5 + 1e-6
        taken, left = [*taken, channel], now
    assert float(score.min()) < 1e-6  # one of the two that are the same


def test_contribution_over_several_readers_and_a_flattened_one() -> None:
    _, graph, x = net()
    score = contribution(graph.group("conv"), Samples(graph, [x]))
    assert score.shape == (4,)
    assert 0 < float(score.max()) < 1


def test_random_is_drawn_by_seed_and_group() -> None:
    _, graph, _ = net()
    group = graph.group("conv")
    assert torch.equal(random(group, Samples(graph, seed=1)), random(group, Samples(graph, seed=1)))
    assert not torch.equal(random(group, Samples(graph, seed=1)), random(group, Samples(graph, seed=2)))


@pytest.mark.parametrize("name", SCORES)
def test_every_score_of_every_group(name: str) -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.TransformerEncoderLayer(6, 2, 8, batch_first=True))
    model.append(nn.Linear(6, 2))
    x = torch.randn(3, 5, 4)
    graph = trace(model, x)
    samples = Samples(graph, [x], loss=lambda net, batch: net(batch).square().mean())
    for group in graph.editable():
        score = SCORES[name](group, samples)
        assert score.shape == (group.size,)
        assert bool((score >= 0).all())
        assert bool(score.isfinite().all())


def test_the_best_channels() -> None:
    score = torch.tensor([3.0, 1.0, 2.0, 3.0, 1.0])
    assert best(score, 3) == [0, 2, 3]
    assert best(score, 4) == [0, 1, 2, 3]
    with pytest.raises(EditError, match="between 1 and 5 channels can be kept, got 6"):
        best(score, 6)
