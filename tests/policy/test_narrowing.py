"""Widths for a given cost."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netmorph import EditError, Samples, apply, measure, narrow_to, reconstruct, trace, zoo
from netmorph.graph import Graph, Group
from netmorph.measure.cost import parameters
from netmorph.measure.prediction import predict_flops
from netmorph.scores import SCORES


def resnet() -> tuple[nn.Module, Graph, Tensor]:
    torch.manual_seed(0)
    model, x = zoo.build("resnet", (3, 16, 16), 5, width=1.0, blocks=(1, 1, 1)), torch.randn(2, 3, 16, 16)
    return model, trace(model, x), x


@pytest.mark.parametrize("score", ["magnitude", "interpolative", "random"])
@pytest.mark.parametrize(("kind", "share"), [("flops", 0.5), ("flops", 0.2), ("params", 0.6)])
def test_the_share_is_reached_and_no_more_is_dropped_than_that_takes(kind: str, share: float, score: str) -> None:
    model, graph, x = resnet()
    count = {"flops": lambda: measure.flops(model, x), "params": lambda: parameters(model)}[kind]
    before = count()
    samples = Samples(graph, [x])
    target: dict[str, Any] = {kind: share}
    edit = narrow_to(graph, **target, score=SCORES[score], samples=samples, multiple_of=4)
    sizes = {group.name: group.size for group in graph.editable()}
    for name, channels in edit.changes.items():
        assert channels.m % 4 == 0
        assert channels.m >= 0.1 * sizes[name]
        values = SCORES[score](graph.group(name), samples)
        assert float(values[channels.source].min()) >= float(values.sort(descending=True).values[channels.m - 1])
    assert edit.describe().method == score
    graph = apply(graph, reconstruct(edit, samples))
    assert 0.8 * share < count() / before <= share
    model(x).sum().backward()


def test_a_finer_grain_comes_closer() -> None:
    model, graph, x = resnet()
    before = measure.flops(model, x)
    apply(graph, narrow_to(graph, flops=0.5, multiple_of=1))
    assert 0.49 < measure.flops(model, x) / before <= 0.5


@pytest.mark.parametrize("multiple_of", [1, 4])
def test_there_is_no_room_for_another_channel(multiple_of: int) -> None:
    _, graph, _ = resnet()
    prediction = predict_flops(graph)
    kept = {name: channels.m for name, channels in narrow_to(graph, flops=0.7, multiple_of=multiple_of).changes.items()}
    widths = {graph.group(name).atom: width for name, width in kept.items()}
    assert prediction.at(widths) <= 0.7 * prediction.at({})
    for atom, width in widths.items():
        assert prediction.at(widths | {atom: width + multiple_of}) > 0.7 * prediction.at({})


def test_latency_is_measured_on_narrowed_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    model, graph, x = resnet()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # Stands for a clock: a forward takes as long as its FLOPs.
    monkeypatch.setattr("netmorph.policy.narrowing.seconds_of", measure.flops)
    edit = narrow_to(graph, latency=0.6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    whole = measure.flops(model, x)
    apply(graph, edit)
    assert 0.5 < measure.flops(model, x) / whole <= 0.6


def test_a_clock_too_noisy_for_a_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    _, graph, _ = resnet()
    times = iter([10.0])  # the first forward took long, as something else was running
    monkeypatch.setattr("netmorph.policy.narrowing._seconds", lambda graph, widths: next(times, 1.0))
    with pytest.raises(EditError, match=r"latency=0.5: .* the clock is too noisy"):
        narrow_to(graph, latency=0.5, smallest=1.0)


def test_only_the_given_groups() -> None:
    _, graph, _ = resnet()
    wanted = [group.name for group in graph.editable()][1:3]
    assert set(narrow_to(graph, params=0.9, groups=wanted, multiple_of=2).changes) <= set(wanted)


def test_a_score_of_ones_own_and_equal_scores() -> None:
    _, graph, _ = resnet()

    def later(group: Group, samples: Samples) -> Tensor:
        return torch.arange(group.size)

    edit = narrow_to(graph, flops=0.5, score=later)
    assert edit.method == "later"
    for channels in edit.changes.values():
        assert channels.source.tolist() == list(range(channels.n - channels.m, channels.n))
    edit = narrow_to(graph, flops=0.5, score=lambda group, samples: torch.ones(group.size))
    assert edit.changes


def test_what_cannot_be_reached_tells_what_can() -> None:
    model, graph, x = resnet()
    whole = measure.flops(model, x)
    with pytest.raises(EditError, match=r"flops=0.01 cannot be reached: .* smallest width, 0\.\d+ is left") as told:
        narrow_to(graph, flops=0.01, smallest=0.5)
    left = float(str(told.value).split("smallest width, ")[1].split()[0])
    apply(graph, narrow_to(graph, flops=left + 0.001, smallest=0.5))
    assert measure.flops(model, x) / whole == pytest.approx(left, abs=0.002)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({}, "give one of flops, params and latency"),
        ({"flops": 0.5, "params": 0.5}, "give one of flops, params and latency"),
        ({"flops": 1.0}, "a share above 0 and below 1"),
        ({"flops": 50}, "a share above 0 and below 1"),
        ({"flops": 0.5, "multiple_of": 0}, "multiple_of and minimum must be at least 1"),
        ({"flops": 0.5, "groups": ["head"]}, "no group to narrow|no channel group"),
        (
            {"flops": 0.5, "score": lambda group, samples: torch.ones(2)},
            r"must be \d+ finite numbers, got shape \(2,\)",
        ),
        ({"flops": 0.5, "score": lambda group, samples: torch.full((group.size,), torch.nan)}, "NaN or infinite"),
    ],
)
def test_what_cannot_be_asked(arguments: dict[str, Any], why: str) -> None:
    _, graph, _ = resnet()
    with pytest.raises(ValueError, match=why):
        narrow_to(graph, **arguments)


def test_samples_of_another_graph() -> None:
    _, graph, _ = resnet()
    with pytest.raises(EditError, match="samples are of another graph"):
        narrow_to(graph, flops=0.5, samples=Samples(resnet()[1]))


class Unseen(nn.Module):
    """Runs as often as eight goes into the width of its first layer: tracing sees a plain number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.z = nn.Linear(8, 32), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        for _ in range(y.shape[-1] % 30):
            y = y.relu()
        y = self.b(y)
        if y.shape[-1] > 20:
            y = y * 2
        return self.z(self.c(y).relu())


def test_a_group_that_only_apply_can_refuse_is_left_out_and_others_keep_their_least() -> None:
    model = Unseen()
    graph = trace(model, torch.randn(5, 8))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.warns(UserWarning, match="leaves out 'a': narrow"):
        edit = narrow_to(graph, params=0.6, multiple_of=1)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert "test_narrowing.py" in edit.left_out["a"]
    assert edit.changes.keys() == {"b", "c"}
    assert edit.changes["b"].m >= graph.group("b").least == 21
    apply(graph, edit)


def test_where_no_group_is_left_the_error_tells_why() -> None:
    graph = trace(Unseen(), torch.randn(5, 8))
    with pytest.warns(UserWarning, match="leaves out"), pytest.raises(EditError, match=r"no group is left.*'a'"):
        narrow_to(graph, params=0.9, groups=["a"], multiple_of=1)
