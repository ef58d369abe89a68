"""Networks whose forward keeps something between calls. Each builds `[2, 5, 4]` -> `[2, 5, 2]` anew, in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

Forward = Callable[[Any, Tensor], Tensor]


class Net(nn.Module):
    """A layer `a` to 6 (or `width`) channels, a layer `z` from 6 to 2, and a forward with parts of its own."""

    def __init__(self, run: Forward, width: int = 6, **parts: Any) -> None:
        super().__init__()
        self.a, self.z = nn.Linear(4, width), nn.Linear(6, 2)
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def ramp(n: int, width: int | None = None) -> Tensor:
    """`[n, 1]` or `[n, width]`."""
    column = torch.arange(n, dtype=torch.float64)[:, None]
    return column if width is None else column + torch.zeros(width, dtype=torch.float64)


def gated(y: Tensor, half: int) -> Tensor:
    return y[..., :half].tanh() * y[..., half:].sigmoid()


def attribute_from_none() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        if net.table is None or net.table.shape[0] != x.shape[1]:
            net.table = ramp(x.shape[1])
        return net.z(net.a(x) + net.table)

    return Net(run, table=None)


def attribute_that_comes_with_the_first_call() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        if not hasattr(net, "mask"):
            net.mask = torch.ones(y.shape[1:], dtype=y.dtype)
        return net.z(y * net.mask)

    return Net(run)


def dictionary_by_shape() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        key = (y.shape[1], y.shape[2])
        if key not in net.tables:
            net.tables[key] = ramp(*key)
        return net.z(y + net.tables[key])

    return Net(run, tables={})


def dictionary_by_device() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        if x.device not in net.tables:
            net.tables[x.device] = ramp(5)
        return net.z(net.a(x) + net.tables[x.device])

    return Net(run, tables={})


def pair_of_shape_and_tensor() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        if net.memo is None or net.memo[0] != y.shape[1:]:
            net.memo = (y.shape[1:], ramp(*y.shape[1:]))
        return net.z(y + net.memo[1])

    return Net(run, memo=None)


def list_that_is_filled() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        if not net.anchors:
            net.anchors.extend([ramp(x.shape[1]), ramp(x.shape[1]) + 1])
        return net.z(net.a(x) * net.anchors[1] + net.anchors[0])

    return Net(run, anchors=[])


def shape_beside_the_table() -> nn.Module:
    class Detect(nn.Module):
        shape: Any = None
        anchors = torch.empty(0)

        def __init__(self) -> None:
            super().__init__()
            self.a, self.z = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            if self.shape != x.shape:
                self.anchors, self.shape = ramp(x.shape[1]), x.shape
            return self.z(y + self.anchors)

    return Detect()


def buffer_that_is_replaced() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        if net.positions.shape[0] < x.shape[1]:
            net.positions = ramp(x.shape[1])
        return net.z(net.a(x) + net.positions[: x.shape[1]])

    net = Net(run)
    net.register_buffer("positions", torch.zeros(1, 1, dtype=torch.float64), persistent=False)
    return net


def rotary_table_that_grows() -> nn.Module:
    class Rotary(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.register_buffer("rates", 10 ** -(torch.arange(0, width, 2) / width), persistent=False)
            self.build(3)

        def build(self, length: int) -> None:
            self.length = length
            angles = torch.outer(torch.arange(length, dtype=self.rates.dtype), self.rates)
            self.register_buffer("cos", torch.cat([angles, angles], -1).cos(), persistent=False)
            self.register_buffer("sin", torch.cat([angles, angles], -1).sin(), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            n = x.shape[-2]
            if n > self.length:
                self.build(n)
            one, two = x.chunk(2, -1)
            return x * self.cos[:n] + torch.cat([-two, one], -1) * self.sin[:n]

    return Net(lambda net, x: net.z(net.turn(net.a(x)).tanh()), turn=Rotary(6).double())


def weights_computed_in_eval_mode() -> nn.Module:
    class Biased(nn.Module):
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.bias = nn.Parameter(torch.randn(heads, 5))
            self.register_buffer("places", (torch.arange(5)[:, None] - torch.arange(5)).abs(), persistent=False)
            self.biases: dict[str, Tensor] = {}

        def train(self, mode: bool = True) -> Biased:
            super().train(mode)
            if mode:
                self.biases = {}
            return self

        def biased(self, device: torch.device) -> Tensor:
            if self.training:
                return self.bias[:, self.places]
            if str(device) not in self.biases:
                self.biases[str(device)] = self.bias[:, self.places]
            return self.biases[str(device)]

        def forward(self, x: Tensor) -> Tensor:
            b, n, _ = x.shape
            q, k, v = self.qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            weights = (q @ k.transpose(-2, -1) + self.biased(x.device)).softmax(-1)
            return self.out((weights @ v).transpose(1, 2).reshape(b, n, -1))

    return nn.Sequential(nn.Linear(4, 6), Biased(6, 2), nn.Linear(6, 2))


def state_that_goes_on() -> nn.Module:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        net.state = (y + (0 if net.state is None else 0.5 * net.state)).detach()
        return net.z(net.state)

    return Net(run, state=None)


SIZES: dict[int, int] = {}
TABLES: dict[tuple[int, int], Tensor] = {}
TABLE: Tensor | None = None
LOOKED_AT: Tensor | None = None


def module_dictionary_of_sizes() -> nn.Module:
    SIZES.clear()

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        if y.shape[-1] not in SIZES:
            SIZES[y.shape[-1]] = y.shape[-1] // 2
        return net.z(gated(y, SIZES[y.shape[-1]]))

    return Net(run, width=12)


def module_dictionary_of_tensors() -> nn.Module:
    TABLES.clear()

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        key = (y.shape[1], y.shape[2])
        if key not in TABLES:
            TABLES[key] = ramp(*key)
        return net.z(y + TABLES[key])

    return Net(run)


def module_variable() -> nn.Module:
    global TABLE
    TABLE = None

    def run(net: Any, x: Tensor) -> Tensor:
        global TABLE
        if TABLE is None:
            TABLE = ramp(x.shape[1])
        return net.z(net.a(x) + TABLE)

    return Net(run)


def closure_of_sizes() -> nn.Module:
    known: dict[int, int] = {}

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        if (width := y.shape[-1]) not in known:
            known[width] = width // 2
        return net.z(gated(y, known[width]))

    return Net(run, width=12)


def cached_function_of_tensors() -> nn.Module:
    table = functools.lru_cache(maxsize=None)(ramp)
    return Net(lambda net, x: (lambda y: net.z(y + table(y.shape[1], y.shape[2])))(net.a(x)))


def cached_function_whose_table_is_looked_at() -> nn.Module:
    """A variable (of a notebook, say) holds what the cache holds."""
    global LOOKED_AT
    table = functools.lru_cache(maxsize=None)(ramp)
    LOOKED_AT = table(5, 6)
    return Net(lambda net, x: (lambda y: net.z(y + table(int(y.shape[1]), int(y.shape[2]))))(net.a(x)))


def cached_function_without_sizes() -> nn.Module:
    @functools.lru_cache
    def table(device: str) -> Tensor:
        return ramp(5).to(device)

    return Net(lambda net, x: net.z(net.a(x) + table(str(x.device))))


def recipe_in_caches() -> nn.Module:
    """As einops does it: a recipe that is cached by its pattern, and shapes that are cached by recipe and shape."""

    @functools.lru_cache(256)
    def recipe(pattern: str) -> tuple[str, ...]:
        return tuple(pattern.split())

    @functools.lru_cache(1024)
    def shapes(parts: tuple[str, ...], shape: tuple[int, ...], known: tuple[tuple[str, int], ...]) -> tuple[int, ...]:
        heads = dict(known)[parts[0]]
        return (*shape[:2], heads, shape[2] // heads)

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        return net.z(y.reshape(shapes(recipe("h d"), tuple(y.shape), (("h", net.heads),))).tanh().flatten(2))

    return Net(run, heads=2)


class Settings:
    """Sizes, and what the forward keeps, partly in attributes that Python keeps in slots."""

    __slots__ = ("kept", "rows")

    def __init__(self) -> None:
        self.rows, self.kept = 1, SimpleNamespace(calls=0, table=None)


def table_beside_sizes() -> nn.Module:
    """Sizes are followed into copies of the objects that hold them; what is written there is written all the same."""

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        kept = net.settings.kept
        if kept.table is None:
            kept.table = torch.ones(net.settings.rows, y.shape[-1], dtype=y.dtype)
        return net.z(y * kept.table)

    return Net(run, settings=Settings())


def gradients_by_a_table() -> nn.Module:
    """It takes gradients itself, so that it is recorded outside of inference mode."""

    def run(net: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            n = x.shape[1]
            if n not in net.tables:
                net.tables[n] = ramp(n)
            (slope,) = torch.autograd.grad((net.first(point).tanh() * net.tables[n]).sum(), point)
        return net.z(net.a(x + slope))

    return Net(run, tables={}, first=nn.Linear(4, 4))


# What can be widened in each, by group.
KEEPING: dict[Callable[[], nn.Module], str] = {
    attribute_from_none: "a",
    attribute_that_comes_with_the_first_call: "a",
    dictionary_by_shape: "a",
    dictionary_by_device: "a",
    pair_of_shape_and_tensor: "a",
    list_that_is_filled: "a",
    shape_beside_the_table: "a",
    buffer_that_is_replaced: "a",
    rotary_table_that_grows: "a",
    weights_computed_in_eval_mode: "1.heads",
    state_that_goes_on: "a",
    module_dictionary_of_sizes: "a",
    module_dictionary_of_tensors: "a",
    module_variable: "a",
    closure_of_sizes: "a",
    cached_function_of_tensors: "a",
    cached_function_whose_table_is_looked_at: "a",
    cached_function_without_sizes: "a",
    recipe_in_caches: "a",
    table_beside_sizes: "a",
    gradients_by_a_table: "a",
}
