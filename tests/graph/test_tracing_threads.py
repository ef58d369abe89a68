"""Tracing beside anything: what other threads run, trace and edit stays as if they were alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils.data import DataLoader

import netmorph
from netmorph.graph.running import TraceError


class Stops(nn.Module):
    """In the middle of its forward it lets another thread do something, once, and waits for it."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.first, self.last, self.width = nn.Linear(4, width), nn.Linear(width, 2), width
        self.meanwhile: list[Callable[[], None]] = []

    def forward(self, x: Tensor) -> Tensor:
        """`[N, 4]` -> `[N, 2]`."""
        y = F.dropout(self.first(x).view(-1, self.width).relu(), 0.5, self.training)
        if self.meanwhile:
            in_another_thread(self.meanwhile[-1])
        result: Tensor = self.last(y)
        return result


def in_another_thread(work: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(timeout=60)


def patched() -> dict[str, object]:
    """What tracing puts its own in the place of, for all threads."""
    places = (torch.nn.functional, torch.functional, torch._tensor)
    found: dict[str, object] = {
        f"{place.__name__}.{name}": value
        for place in places
        for name, value in vars(place).items()
        if name.startswith("has_torch_function")
    }
    hooks = (module_hooks._global_forward_pre_hooks, module_hooks._global_forward_hooks)
    return found | {"hooks": [*map(len, hooks)], "fast path": torch.backends.mha.get_fastpath_enabled()}


def test_another_model_runs_while_one_is_traced() -> None:
    model, other = Stops(), nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    x = torch.randn(5, 3)
    expected, found = other(x), []
    model.meanwhile.append(lambda: found.append(other(x)))
    graph = netmorph.trace(model, torch.randn(2, 4))
    assert all(torch.equal(one, expected) for one in found)
    assert found
    assert {call.module for call in graph.recording.calls} <= {"", "first", "last"}
    model.meanwhile.clear()
    netmorph.apply(graph, netmorph.widen(graph, "first", 9))


def test_another_thread_asks_pytorch_itself() -> None:
    """Who follows functions in another thread sees them whole, and its layers are fused."""

    class Names(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None):
            seen.append(getattr(func, "__name__", ""))
            return func(*args, **(kwargs or {}))

    def follow() -> None:
        states.append(torch.backends.mha.get_fastpath_enabled())
        with Names():
            F.softmax(torch.randn(2, 3), -1)

    seen: list[str] = []
    states: list[bool] = []
    model = Stops()
    model.meanwhile.append(follow)
    netmorph.trace(model, torch.randn(2, 4))
    assert "softmax" in seen
    assert all(states)


def test_a_trace_ends_while_another_goes_on() -> None:
    before = patched()
    models = [Stops(6 + number % 3) for number in range(8)]
    x = torch.randn(2, 4)
    with ThreadPoolExecutor(4) as pool:
        graphs = [*pool.map(lambda model: netmorph.trace(model, x), models)]
    for number, graph in enumerate(graphs):
        assert graph.group("first").size == 6 + number % 3
        assert graph.group("first").allow == netmorph.Allow.ANY
    assert patched() == before


def test_one_model_traced_by_many_threads_and_edited_by_one() -> None:
    model, x = Stops().double(), torch.randn(2, 4).double()
    expected = model.eval()(x)
    model.train()
    start = netmorph.trace(model, x)

    def edit() -> None:
        graph = start
        for width in (8, 10, 12):
            graph = netmorph.apply(graph, netmorph.widen(graph, "first", width))

    with ThreadPoolExecutor(4) as pool:
        edited = pool.submit(edit)
        sizes = [*pool.map(lambda _: netmorph.trace(model, x).group("first").size, range(12))]
        edited.result()
    assert set(sizes) <= {6, 8, 10, 12}
    assert model.width == 12
    assert type(model.width) is int
    assert model.training
    assert torch.allclose(model.eval()(x), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_everything_is_put_back_after_an_error(error: BaseException) -> None:
    class Fails(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            super().forward(x)
            raise error

    model, x = Fails(nn.Linear(4, 4)), torch.randn(2, 4)
    before, state = patched(), torch.get_rng_state()
    with pytest.raises((TraceError, KeyboardInterrupt)):
        netmorph.trace(model, x)
    assert patched() == before
    assert torch.equal(torch.get_rng_state(), state)
    assert type(model[0].in_features) is int
    netmorph.trace(nn.Linear(4, 4), torch.randn(2, 4))  # the next one waits for nothing


def test_worker_processes_that_start_while_a_thread_traces() -> None:
    """A process that is forked in the middle of a trace has its lock and patches, but nobody who gives them back."""

    class Traces(torch.utils.data.Dataset[int]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> int:
            return netmorph.trace(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), torch.randn(2, 4)).group("0").size

    found: list[int] = []
    model = Stops()
    model.meanwhile.append(lambda: found.extend(int(size) for size in DataLoader(Traces(), num_workers=1, timeout=60)))
    netmorph.trace(model, torch.randn(2, 4))
    assert set(found) == {3}
