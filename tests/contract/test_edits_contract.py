"""Edits one after the other, on every zoo network and on random architectures, with all kinds of optimizers.

`test_every_edit.py` looks at each kind of edit by itself.
"""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from architectures import networks, randomized
from checks import EXACT, SAME_BLOCKS, each, outputs, relative, train
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from netmorph import apply, shallow, widen, zoo
from netmorph.edit import DEEPENINGS, places
from netmorph.graph import Allow, trace
from netmorph.testing import check_attributes, check_groups
from netmorph.testing.rules import INEXACT, widths
from netmorph.widenings import WIDENINGS

SMALL = {
    "mlp": ((1, 6, 6), {"width": 0.125}),
    "lenet5": ((1, 28, 28), {"width": 0.5}),
    "minivgg": ((1, 12, 12), {"width": 0.25}),
    "resnet": ((3, 16, 16), {"width": 0.25, "blocks": (1, 2, 1)}),
    "resnet9": ((3, 16, 16), {"width": 0.0625}),
    "inception_resnet_small": ((3, 8, 8), {"width": 0.125, "stride": 1}),
    "gpt": ((6,), {"channels": 8, "heads": 2, "depth": 2, "mlp_ratio": 2}),
}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.001, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.001, amsgrad=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.001, weight_decay=0.0),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.001),
}
RANDOM = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],  # explaining a failure would take minutes
}


def small(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    shape, options = SMALL[name]
    model = randomized(zoo.build(name, shape, 3, **options))
    return model.to(dtype), drawn(name, 2, dtype)


def drawn(name: str, count: int, dtype: torch.dtype) -> Tensor:
    """Inputs of a zoo network; tokens stay integers."""
    shape, _ = SMALL[name]
    x = zoo.takes(name).draw((count, *shape), 3, torch.default_generator)
    return x.to(dtype) if x.is_floating_point() else x


def test_every_zoo_network_is_covered() -> None:
    assert SMALL.keys() == zoo.MODELS.keys() - SAME_BLOCKS


@pytest.mark.parametrize("name", each(SMALL))
def test_every_group_of_a_zoo_network_in_each_way_that_it_allows(name: str) -> None:
    assert check_groups(*small(name)).editable(Allow.ANY)


@pytest.mark.parametrize("name", each(SMALL))
def test_widening_in_float32(name: str) -> None:
    model, x = small(name, torch.float32)
    before = outputs(model, x)
    graph = trace(model, x)
    methods = [method for name, method in WIDENINGS.items() if name not in INEXACT]
    for number, group in enumerate(graph.editable(Allow.ANY)):
        graph = apply(graph, widen(graph, group.name, 2 * group.size, methods[number % len(methods)]))
    assert relative(before, outputs(model, x)) <= EXACT[torch.float32]


@pytest.mark.parametrize("method", DEEPENINGS)
@pytest.mark.parametrize("name", each(SMALL))
def test_deepening_every_place_of_a_zoo_network(name: str, method: str) -> None:
    model, x = small(name)
    before = outputs(model, x)
    graph = trace(model, x)
    found = places(graph)
    assert found
    for place in found[:: 1 + len(found) // 6]:
        fresh = copy.deepcopy(model)
        graph = trace(fresh, x)
        deeper = apply(graph, DEEPENINGS[method](graph, place))
        assert relative(before, outputs(fresh, x)) <= EXACT[torch.float64], place
        inside, (around, _, number) = f"{place}.1", place.rpartition(".")
        added = inside if inside in deeper.modules else f"{around}.{int(number) + 1}".lstrip(".")
        apply(deeper, shallow(deeper, added))
        assert relative(before, outputs(fresh, x)) == 0, place


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", each(SMALL))
def test_every_entry_with_a_gradient_moves_after_edits(name: str, optimizer: str) -> None:
    model, x = small(name)
    model.train()
    steps = OPTIMIZERS[optimizer](model.parameters())
    batches = [(drawn(name, 4, x.dtype),) for _ in range(3)]
    train(model, steps, batches)
    graph = trace(model, x)
    methods = list(WIDENINGS.values())
    for number, group in enumerate(graph.editable(Allow.ANY)):
        method = methods[number % len(methods)]
        graph = apply(graph, widen(graph, group.name, group.size + 2, method), steps)
    place = next(path for path in places(graph) if isinstance(model.get_submodule(path), nn.ReLU | nn.GELU))
    for method in DEEPENINGS.values():
        graph = apply(graph, method(graph, place), steps)
    _assert_all_train(model, steps, batches)


def _assert_all_train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[tuple[Tensor, ...]]) -> None:
    """All parameters are the optimizer's, and each entry that gets a gradient moves."""
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    assert {id(p) for p in optimizer.state} <= set(held)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    reached = train(model, optimizer, batches)
    for name, p in model.named_parameters():
        stuck = reached[name] & (p == start[name])
        assert not stuck.any(), f"{int(stuck.sum())} entries of {name} have a gradient and do not move"
    assert any(bool(entries.any()) for entries in reached.values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ["r2r", "unequal_split"])
def test_twins_separate_in_training(method: str, optimizer: str) -> None:
    model, x = small("minivgg")
    steps = OPTIMIZERS[optimizer](model.parameters())
    batches = [(torch.randn(4, *x.shape[1:], dtype=x.dtype),) for _ in range(3)]
    train(model, steps, batches)
    graph = trace(model, x)
    conv = model.get_submodule("conv2")
    size = len(conv.weight)
    apply(graph, widen(graph, "conv2", 2 * size, WIDENINGS[method]), steps)
    reached = train(model, steps, batches)["conv2.weight"].flatten(1).any(1)
    rows = conv.weight.detach().flatten(1)[reached]
    apart = torch.cdist(rows, rows)
    assert len(rows) > size
    assert (apart + torch.eye(len(rows)).mul(9)).min() > 1e-12


def test_zero_widened_readers_move_first() -> None:
    model, x = small("minivgg")
    steps = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    graph = trace(model, x)
    size = graph.group("conv2").size
    apply(graph, widen(graph, "conv2", size + 3, WIDENINGS["zero"]), steps)
    reader = model.get_submodule("conv3").weight
    assert (reader[:, size:] == 0).all()
    train(model, steps, [(x,)] * 2)
    assert (reader[:, size:] != 0).any(dim=(0, 2, 3)).all()


ADAPTIVE: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "amsgrad": partial(torch.optim.Adam, amsgrad=True),
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "centered rmsprop": partial(torch.optim.RMSprop, centered=True),
    "adagrad": torch.optim.Adagrad,
}


@pytest.mark.parametrize("method", WIDENINGS)
@pytest.mark.parametrize(
    ("optimizer", "scale"), [*((name, 1.0) for name in ADAPTIVE), ("adam", 1e-2), ("adam", 1e3), ("rmsprop", 1e3)]
)
def test_no_long_steps_after_an_edit(optimizer: str, method: str, scale: float) -> None:
    """A zero second moment beside an old step count would give steps of five or six times the learning rate."""
    rate = 1e-3
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    x, y = torch.randn(64, 6).double(), torch.randn(64, 2).double()
    steps = ADAPTIVE[optimizer](model.parameters(), lr=rate)
    old = [tuple(slice(length) for length in p.shape) for p in model.parameters()]

    def longest(count: int) -> tuple[float, float]:
        """The longest step of any weight, and of those that were there from the start."""
        found: list[tuple[float, float]] = []
        for _ in range(count):
            before = [p.detach().clone() for p in model.parameters()]
            picked = torch.randint(64, (16,))
            steps.zero_grad()
            (scale * (model(x[picked]) - y[picked]).pow(2).mean()).backward()
            steps.step()
            moved = [(p.detach() - b).abs() for p, b in zip(model.parameters(), before, strict=True)]
            whole, part = (max(float(m.max()) for m in some) for some in (moved, map(Tensor.__getitem__, moved, old)))
            found.append((whole, part))
        return max(whole for whole, _ in found), max(part for _, part in found)

    longest(150)
    usual = max(longest(20)[0], rate)
    graph = trace(model, x[:4])
    graph = apply(graph, widen(graph, "0", 16, WIDENINGS[method]), steps)
    apply(graph, widen(graph, "2", 13, WIDENINGS[method]), steps)
    whole, part = longest(25)
    # What is not exact changes the loss, and with it the steps of the old weights: fresh ones are held against those.
    assert whole <= 1.5 * (max(usual, part) if method in INEXACT else usual)


# -- random architectures --------------------------------------------------------------------------------------------


def check_random(model: nn.Module, x: Tensor, choose: Callable[[list], object]) -> None:
    """All edits one after the other on one network, each checked; exact ones against the very first outputs."""
    twin = copy.deepcopy(model)
    steps = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = [(torch.randn(4, *x.shape[1:], dtype=x.dtype),) for _ in range(2)]
    train(model.train(), steps, batches)
    model.eval()
    before, keys = outputs(model, x), list(model.state_dict())
    graph = trace(model, x)
    assert graph.editable(Allow.ANY) or all(group.reasons for group in graph.groups.values())
    for name in list(graph.groups):
        possible = widths(graph.group(name))
        if possible:
            method = choose(sorted(possible))
            graph = apply(graph, widen(graph, name, possible[method], WIDENINGS[method]), steps)
            error = relative(before, outputs(model, x))
            assert error <= EXACT[torch.float64], f"{error} after {method} of {graph.group(name)}"
    assert list(model.state_dict()) == keys
    check_attributes(model)
    found = places(graph)
    for method in DEEPENINGS.values():
        if found:
            graph = apply(graph, method(graph, choose(found)), steps)
            found = places(graph)
            assert relative(before, outputs(model, x)) <= EXACT[torch.float64]
    _assert_all_train(model.train(), steps, batches)
    model.eval()
    check_groups(twin, x)


@settings(max_examples=20, **RANDOM)
@given(networks(), st.data())
def test_random_architectures(network: tuple[nn.Module, Tensor], data: st.DataObject) -> None:
    check_random(*network, lambda options: data.draw(st.sampled_from(options)))


@pytest.mark.slow
@settings(max_examples=500, **(RANDOM | {"derandomize": False}))
@given(networks(), st.data())
def test_many_random_architectures(network: tuple[nn.Module, Tensor], data: st.DataObject) -> None:
    check_random(*network, lambda options: data.draw(st.sampled_from(options)))
