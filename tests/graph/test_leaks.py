"""After a trace nothing of a recording is left in the user's process, whatever the forward called."""

from __future__ import annotations

import collections
import functools
import gc
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from keeping_models import Net
from torch import Tensor, nn

from netmorph import trace
from netmorph.graph.provenance import Size
from netmorph.graph.roots import Root
from netmorph.graph.running import TraceError

Point = collections.namedtuple("Point", "n width")
LAST: dict[str, Any] = {"width": 1}
FRESH: Any = None


@functools.lru_cache
def halved(width: int) -> int:
    return width // 2


class Halving(nn.Module):
    """Calls a cached function of the Python module that defines it."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : halved(x.shape[-1])]


class Slotted:
    __slots__ = ("width",)


@dataclass(frozen=True)
class Frozen:
    width: int


def is_plain(value: Any) -> bool:
    """Whether all integers in something are of Python's own class, and all tensors such as autograd takes."""
    if isinstance(value, Tensor):
        return not value.is_inference()
    if isinstance(value, dict):
        return all(is_plain(entry) for pair in value.items() for entry in pair)
    if isinstance(value, tuple | list | set | frozenset | collections.deque):
        return all(is_plain(entry) for entry in value)
    return not isinstance(value, Size | Root)


def traced(run: Any, width: int = 6, **parts: Any) -> Any:
    return trace(Net(run, width, **parts), torch.randn(2, 5, 4))


def test_containers_of_all_kinds_far_from_the_model() -> None:
    kept: dict[str, Any] = {"list": [], "set": set(), "deque": collections.deque(), "order": collections.OrderedDict()}
    other = SimpleNamespace(), Slotted(), Frozen(1)

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        n, width = y.shape[1:]
        kept["list"].append(width)
        kept["list"].append([(n, (width, "inside"))])
        kept["set"].add((n, width))
        kept["deque"].append(Point(n, width))
        kept["order"][y.shape] = frozenset({width})
        kept["tensor"] = (y, {"again": y})
        kept[width] = width
        other[0].width, other[1].width = width, (width,)
        object.__setattr__(other[2], "width", width)
        return net.z(y)

    traced(run)
    assert kept["list"] == [6, [(5, (6, "inside"))]]
    assert kept["deque"][0] == Point(5, 6)
    assert type(kept["deque"][0]) is Point
    assert type(next(iter(kept["order"]))) is torch.Size
    assert all(map(is_plain, (kept, other[0].width, other[1].width, other[2].width)))
    kept["tensor"][0].clone().requires_grad_().sum().backward()


def test_roots_of_sizes() -> None:
    kept: dict[Any, Any] = {}

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        kept["scales"] = [y.shape[-1] ** -0.5, (math.sqrt(y.shape[-1]), 2 * math.sqrt(y.shape[-1]))]
        return net.z(y * kept["scales"][0])

    traced(run)
    assert kept == {"scales": [6**-0.5, (6**0.5, 2 * 6**0.5)]}
    assert is_plain(kept)


def test_functions_and_what_they_close_over() -> None:
    width, calls = 0, []

    def remember(now: int, known: dict[int, Any] = {}) -> int:  # noqa: B006
        return known.setdefault(now, now)

    def run(net: Any, x: Tensor) -> Tensor:
        nonlocal width
        y = net.a(x)
        width = remember(y.shape[-1])
        calls.append(functools.partial(max, width))
        return net.z(y)

    traced(run)
    assert is_plain(width)
    assert is_plain(remember.__defaults__)
    assert is_plain(calls[0].args)


def test_cached_functions_forget_what_is_ours_alone() -> None:
    @functools.lru_cache
    def half(width: int) -> int:
        return width // 2

    @functools.lru_cache
    def backend() -> object:
        return object()

    only = backend()
    traced(lambda net, x: (lambda y: net.z(y[..., : half(y.shape[-1])] + float(backend() is only)))(net.a(x)), 12)
    assert backend() is only
    assert is_plain(half(12))
    assert half.cache_info().misses == 1


def test_variables_of_modules_and_classes_are_as_they_were() -> None:
    class Counting(nn.Module):
        widths: ClassVar[dict[int, int]] = {}
        last: int = 0

        def forward(self, x: Tensor) -> Tensor:
            global FRESH
            FRESH = LAST["width"] = LAST["other"] = type(self).last = x.shape[-1]
            self.widths[x.shape[-1]] = x.shape[-1]
            return x * 2

    trace(nn.Sequential(nn.Linear(4, 6), Counting(), nn.Linear(6, 2)), torch.randn(3, 4))
    assert FRESH is None
    assert LAST == {"width": 1}
    assert Counting.widths == {}
    assert is_plain(Counting.last)


def test_a_forward_that_takes_gradients() -> None:
    kept: dict[Any, Any] = {}

    def run(net: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            kept["first"] = net.a(point)
            (slope,) = torch.autograd.grad(kept["first"].tanh().sum(), point)
        kept[x.shape[1]] = [slope, slope.shape[-1]]
        return net.z(net.a(x)) + slope.sum()

    net = Net(run)
    trace(net, torch.randn(2, 5, 4))
    assert is_plain(kept)
    assert not kept["first"].requires_grad  # a graph would hold all that the recording computed


def test_results() -> None:
    graph = traced(lambda net, x: {"out": net.z(net.a(x)), "width": net.a(x).shape[-1], "shape": x.shape})
    assert is_plain({key: value for key, value in graph.recording.result.items() if key != "out"})


def test_a_forward_that_fails() -> None:
    kept: list[int] = []

    def run(net: Any, x: Tensor) -> Tensor:
        kept.append(x.shape[1])
        raise RuntimeError("no")

    with pytest.raises(TraceError):
        traced(run)
    assert kept
    assert is_plain(kept)


def test_a_forward_that_keeps_nothing_costs_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    images = torch.randn(2, 3, 8, 8)
    model.config = SimpleNamespace(width=4, sizes=[3, (4, 144)], table={"n": 2})
    trace(model, images)  # what PyTorch imports at its first call
    monkeypatch.setattr(gc, "get_referrers", lambda *given: pytest.fail("searched"))
    trace(model, images)


def test_nor_does_a_cache_in_the_reach_of_the_models_code(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nn.Sequential(nn.Linear(4, 6), Halving(), nn.Linear(3, 2)), torch.randn(2, 4)
    trace(model, x)
    monkeypatch.setattr(gc, "get_referrers", lambda *given: pytest.fail("searched"))
    trace(model, x)
    assert halved.cache_info().currsize == 0
