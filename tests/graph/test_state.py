"""A forward may change what a model holds, and its inputs: all is put back, and nothing else is written to."""

from __future__ import annotations

import collections
import random
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from keeping_models import Net
from torch import Tensor, nn

from netmorph import apply, trace, widen
from netmorph.graph.running import run, untouched


class Closed(collections.OrderedDict):  # type: ignore[type-arg]
    """Refuses all writes once it is ready, like the configurations of some libraries."""

    def __init__(self, **entries: Any) -> None:
        super().__init__(**entries)
        self.ready = True

    def __setitem__(self, key: str, value: Any) -> None:
        if getattr(self, "ready", False):
            raise TypeError("closed")
        super().__setitem__(key, value)

    def update(self, *given: Any, **entries: Any) -> None:
        raise TypeError("closed")

    def clear(self) -> None:
        raise TypeError("closed")


class Loud(list):  # type: ignore[type-arg]
    """Says so when it is written to."""

    writes = 0

    def extend(self, entries: Any) -> None:
        type(self).writes += 1
        super().extend(entries)

    def clear(self) -> None:
        type(self).writes += 1
        super().clear()


def test_containers_that_refuse_writes() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    model.settings, model.notes = Closed(width=6, names=Closed(a=1)), Loud([1, 2])
    graph = trace(model, torch.randn(3, 4))
    graph = apply(graph, widen(graph, "0", 8))
    assert list(model.settings.items()) == [("width", 6), ("names", {"a": 1})]
    assert model.notes == [1, 2]
    assert Loud.writes == 0


def test_what_a_forward_writes_into_them_is_put_back() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        collections.OrderedDict.__setitem__(net.settings, "width", 7)
        collections.OrderedDict.__setitem__(net.settings, "more", 8)
        net.settings["names"].append("b")
        net.queue.append(5)
        net.config.deep["list"][0].add(3)
        net.config.calls += 1
        net.counter["n"] += 1
        net.memory[:, 0] = x.sum()
        return net.z(net.a(x))

    net = Net(
        forward,
        settings=Closed(width=6, names=["a"]),
        queue=collections.deque([1, 2], maxlen=2),
        config=SimpleNamespace(deep={"list": [{1}]}, calls=0),
        counter=collections.defaultdict(int),
        memory=torch.zeros(2, 3),
    )
    for repeat in range(2):
        trace(net, torch.randn(2, 5, 4))
        assert list(net.settings.items()) == [("width", 6), ("names", ["a"])], repeat
        assert (list(net.queue), net.queue.maxlen) == ([1, 2], 2)
        assert (net.config.deep, net.config.calls) == ({"list": [{1}]}, 0)
        assert net.counter == {}
        assert torch.equal(net.memory, torch.zeros(2, 3))


def test_what_a_forward_writes_beside_sizes_is_put_back() -> None:
    class Slotted:
        __slots__ = ("calls", "inner")

        def __init__(self) -> None:
            self.calls, self.inner = 3, SimpleNamespace(width=6, more=None)

    class Table(dict):  # type: ignore[type-arg]
        """One with attributes as well."""

    def forward(net: Any, x: Tensor) -> Tensor:
        net.config.heads += 1
        net.config.log.append(x.shape[1])
        net.config.itself, net.other = net.config, net.config
        net.slotted.calls += 1
        net.slotted.inner.more = x
        net.table[x.shape[1]], net.table.calls = x.shape[1], net.table.calls + 1
        del net.table["n"]
        net.sizes.append(4)
        return net.z(net.a(x).view(*x.shape[:2], net.other.heads, -1).flatten(2))

    class Own(Net):
        sizes: ClassVar = [1, 2]

    net = Own(forward, slotted=Slotted(), table=Table(n=1))
    net.config, net.table.calls = SimpleNamespace(heads=2, log=[1, 2]), 0
    config, log, inner = net.config, net.config.log, net.slotted.inner
    for way in (lambda: trace(net, torch.randn(2, 5, 4)), lambda: run(net, (torch.randn(2, 5, 4),))):
        way()
        assert net.config is config
        assert vars(config) == {"heads": 2, "log": [1, 2]}
        assert config.log is log
        assert (net.slotted.calls, net.slotted.inner) == (3, inner)
        assert vars(inner) == {"width": 6, "more": None}
        assert (net.table, net.table.calls) == ({"n": 1}, 0)
        assert "sizes" not in vars(net)
        assert not hasattr(net, "other")


def test_streams_of_random_numbers_go_on_from_where_they_were() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        net.streams["torch"].manual_seed(net.streams["own"][0].randrange(9))
        return net.z(net.a(x)) + net.config.numpy.random()

    streams = {"torch": torch.Generator().manual_seed(1), "own": (random.Random(1),)}
    net = Net(forward, streams=streams, config=SimpleNamespace(numpy=np.random.default_rng(1), width=6))
    trace(net, torch.randn(2, 5, 4))
    assert net.streams["torch"].initial_seed() == 1
    assert net.streams["own"][0].getstate() == random.Random(1).getstate()
    assert net.config.numpy.random() == np.random.default_rng(1).random()


def test_an_ordered_dictionary_keeps_its_order() -> None:
    net = Net(lambda net, x: x, order=collections.OrderedDict(a=1, b=2))
    with untouched(net):
        net.order.move_to_end("a")
        net.order["c"] = 3
    assert list(net.order.items()) == [("a", 1), ("b", 2)]
    net.order.move_to_end("a")
    assert list(net.order) == ["b", "a"]


def test_inputs_that_are_changed_in_place() -> None:
    class Batch:
        def __init__(self, x: Tensor) -> None:
            self.x = x

    def forward(net: Any, x: Tensor, same: Tensor, given: dict[str, Any], batch: Batch) -> Tensor:
        assert x is same
        x.add_(1)
        given["mask"].mul_(2)
        given["list"].append(given.pop("mask"))
        batch.x = batch.x.mul_(3)
        return net.z(net.a(x) + given["list"][0] + batch.x)

    class Taking(Net):
        def forward(self, *given: Any) -> Tensor:
            return forward(self, *given)

    net = Taking(forward).double()
    x = torch.randn(2, 5, 4).double()
    mask, batch = torch.rand(5, 1).double(), Batch(torch.rand(5, 1).double())
    given = {"mask": mask, "list": []}
    before = [tensor.clone() for tensor in (x, mask, batch.x)]
    inner = batch.x
    graph = trace(net, (x, x, given, batch))
    graph = apply(graph, widen(graph, "a", 9))
    run(net, (x, x, given, batch))
    assert all(map(torch.equal, before, (x, mask, batch.x)))
    assert batch.x is inner
    assert given == {"mask": mask, "list": []}


@pytest.mark.parametrize("inference", [False, True])
def test_what_a_plain_run_leaves_serves_in_training(inference: bool) -> None:
    kept: list[Tensor] = []

    def forward(net: Any, x: Tensor) -> Tensor:
        if not kept:
            kept.append(torch.ones(5, 1))
        return net.z(net.a(x) * kept[0])

    net = Net(forward)
    x = torch.randn(2, 5, 4)
    if inference:
        trace(net, x)
    else:
        run(net, (x,))
    net(x).sum().backward()
    assert len(kept) == 1
