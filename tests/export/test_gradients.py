"""Written networks train as the model does: custom functions, gradients switched off, hooks; or they are refused."""

import copy
import importlib.util
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from netmorph import trace
from netmorph.export import ExportError, code, write_code

SLOPE = 0.7
TABLE = torch.ones(6, dtype=torch.float64)


def halved(gradient: Tensor) -> Tensor:
    return gradient / math.sqrt(4)


class Reversed(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return -g * ctx.scale * SLOPE, None


class Rounded(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int = 7) -> Tensor:
        return torch.round(x * levels) / levels

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return halved(g), None


class Softened(Function):
    """Context apart from the forward, saved tensors, a parameter, two results."""

    @staticmethod
    def forward(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        return F.softplus(x) * w, x > 0

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Any) -> Any:
        x, w = ctx.saved_tensors
        return 0.5 * g * w * torch.sigmoid(x), (g * F.softplus(x)).sum(0)


class Cut(Function):
    """Changes its argument in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.clamp_(min=0))
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return 0.25 * g * (ctx.saved_tensors[0] > 0)


class Twice(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return Reversed.apply(g, 2.0)


class Parts(Function):
    """Any number of tensors."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Any:
        return tuple(part.clone() for part in parts)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> Any:
        return tuple(g * (number + 1) for number, g in enumerate(gs))


class Kept(Function):
    """Uses a tensor that is nobody's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g * TABLE


class Recomputed(Function):
    """Saves memory: called with what it runs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: nn.Module, *parameters: Tensor) -> Tensor:
        ctx.block = block
        ctx.save_for_backward(x, *parameters)
        with torch.no_grad():
            return block(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            found = torch.autograd.grad(ctx.block(x), [x, *parameters], g)
        return (found[0], None, *found[1:])


reversed_gradient = Reversed.apply


def quantizer(bits: int) -> Callable[[Tensor], Tensor]:
    class Quantized(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return torch.round(x * 2**bits) / 2**bits

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return g / bits

    return Quantized.apply


class Net(nn.Module):
    """`run` between two layers."""

    def __init__(self, run: Callable[["Net", Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.z = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.scale, self.run = 0.25, run
        self.register_buffer("mean", torch.zeros(6))
        self.coarse, self.fine = quantizer(1), quantizer(3)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)

    @torch.no_grad()
    def target(self, x: Tensor) -> Tensor:
        return self.b(x).sigmoid()


def in_place(net: Net, x: Tensor) -> Tensor:
    y = net.a(x) * 1
    Cut.apply(y)
    return net.z(y + 1)


def no_grad(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    with torch.no_grad():
        gate = net.c(y).sigmoid()
        with torch.enable_grad():
            other = net.b(x).sin()
    return net.z(y * gate + other)


def inference(net: Net, x: Tensor) -> Tensor:
    with torch.inference_mode():
        gate = net.b(x).sigmoid()
    return net.z(net.a(x) * gate.clone())


def by_mode(net: Net, x: Tensor) -> Any:
    with torch.set_grad_enabled(net.training):
        y = net.a(x).relu()
    with torch.set_grad_enabled(not net.training):
        other = net.z(y * net.b(x))
    return other, net.z(net.b(x))


def moving_average(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    if net.training:
        with torch.no_grad():
            net.mean.mul_(0.9).add_(y.mean(0), alpha=0.1)
    return net.z(y - net.mean)


def only_in_training(net: Net, x: Tensor) -> Tensor:
    y = net.a(x).sigmoid()
    return net.z(Rounded.apply(y) if net.training else torch.round(y * 7) / 7)


def hook_with_a_tensor(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    mask = y.sigmoid().detach()
    if y.requires_grad:
        y.register_hook(lambda g: g * mask * net.scale)
    return net.z(y)


def hook_with_a_default(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)

    def scaled(g: Tensor, by: float = net.scale) -> Tensor:
        return halved(g) * by

    if torch.is_grad_enabled() and y.requires_grad:
        y.register_hook(scaled)
        y.retain_grad()
    return net.z(y)


def straight_through(net: Net, x: Tensor) -> Tensor:
    y = net.a(x)
    return net.z(y + (y.sign() - y).detach()) * net.b(x).data.mean()


WRITTEN: dict[str, tuple[Callable[[Net, Tensor], Any], str]] = {
    "reversed": (lambda n, x: (n.z(n.a(x)), n.z(reversed_gradient(n.b(x), n.scale))), "class Reversed(Function)"),
    "rounded": (lambda n, x: n.z(Rounded.apply(n.a(x).sigmoid(), 3)), "def halved"),
    "two results": (lambda n, x: n.z(torch.where(*Softened.apply(n.a(x), n.c.weight[0])[::-1], n.b(x))), "Softened"),
    "in place": (in_place, "Cut.apply"),
    "in its backward": (lambda n, x: n.z(Twice.apply(n.a(x))), "class Reversed"),
    "many": (lambda n, x: n.z(torch.cat(Parts.apply(*n.a(x).chunk(3, 1)), 1)), "Parts.apply"),
    "one of many": (lambda n, x: n.z(Parts.apply(n.a(x))[0]), "Parts.apply"),
    "with the batch": (lambda n, x: n.z(Reversed.apply(n.a(x), x.shape[0])), "Reversed.apply"),
    "of a closure": (lambda n, x: n.z(n.coarse(n.a(x)) + n.fine(n.b(x))), "bits = 3"),
    "checkpoint": (lambda n, x: n.z(checkpoint(lambda y: n.c(y).relu(), n.a(x), use_reentrant=False)), "relu"),
    "reentrant": (lambda n, x: n.z(checkpoint(lambda y: n.c(y).relu(), n.a(x), use_reentrant=True)), "relu"),
    "recomputed": (lambda n, x: n.z(Recomputed.apply(n.a(x), n.c, *n.c.parameters())), "self.c(x)"),
    "no_grad": (no_grad, "with torch.no_grad():"),
    "decorated": (lambda n, x: (n.z(n.a(x) * n.target(x)), n.target(x)), "with torch.no_grad():"),
    "inference": (inference, "with torch.no_grad():"),
    "by mode": (by_mode, "with torch.set_grad_enabled(not self.training):"),
    "moving average": (moving_average, "    with torch.no_grad():"),
    "only in training": (only_in_training, "if self.training:"),
    "hook with a tensor": (hook_with_a_tensor, "if x.requires_grad:"),
    "hook with a default": (hook_with_a_default, "=0.25"),
    "straight through": (straight_through, ".detach()"),
    "gumbel": (lambda n, x: n.z(F.gumbel_softmax(n.a(x), hard=True)), ".detach()"),
}


def gradients(net: nn.Module, x: Tensor, training: bool) -> dict[str, Tensor | None]:
    net.train(training).zero_grad()
    x = x.clone().requires_grad_()
    torch.manual_seed(1)
    result = net(x)
    parts = result if isinstance(result, tuple) else (result,)
    torch.stack([part.cos().sum() for part in parts]).sum().backward()
    return {name: p.grad for name, p in net.named_parameters()} | {"x": x.grad, **dict(net.named_buffers())}


def loaded(model: nn.Module, x: Tensor, folder: Path) -> nn.Module:
    write_code(trace(model, x), folder / "network.py")
    spec = importlib.util.spec_from_file_location("network", folder / "network.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.load()
    assert isinstance(network, nn.Module)
    return network


def assert_trains_alike(model: nn.Module, network: nn.Module, x: Tensor) -> None:
    for training in (True, False):
        ours, theirs = (gradients(net, x, training) for net in (model, network))
        assert ours.keys() == theirs.keys()
        for name, gradient in ours.items():
            if gradient is None:
                assert theirs[name] is None, name
            else:
                torch.testing.assert_close(theirs[name], gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("name", WRITTEN)
def test_gradients_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    run, told = WRITTEN[name]
    model, x = Net(run).double(), torch.randn(3, 4).double()
    network = loaded(model, x, tmp_path)
    assert told in (tmp_path / "network.py").read_text()
    assert_trains_alike(model, network, torch.randn(5, 4).double())


def test_hooks_on_parameters_and_frozen_ones(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double(), torch.randn(3, 4).double()
    model[0].bias.requires_grad_(False)
    model[0].weight.register_hook(lambda g: g * 0.5)
    model[2].weight.register_hook(halved)
    assert_trains_alike(model, loaded(model, x, tmp_path), x)


class Saving(Net):
    """Has a hook of its own."""

    def __init__(self) -> None:
        super().__init__(hook_with_a_tensor)

    def saved(self, g: Tensor) -> None:
        self.gradient = g

    def forward(self, x: Tensor) -> Any:
        y = self.a(x)
        if y.requires_grad:
            y.register_hook(self.saved)
        return self.z(y)


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    model[1].register_full_backward_hook(lambda module, before, after: (before[0] * 2,))
    return model


def changed_data(net: Net, x: Tensor) -> Tensor:
    if torch.is_tensor(x) and x.requires_grad:  # nothing that a recording of plain inputs could see
        return net.z(net.a(x) * 1) + net.z(net.b(x)).detach()
    return net.z(net.a(x)) + net.z(net.b(x))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            partial(Net, lambda n, x: n.z(Kept.apply(n.a(x)))),
            r"custom function Kept \(applied at .*test_gradients.py:\d+\) .* uses 'TABLE', an object of class Tensor",
        ),
        (Saving, r"hook on a tensor \(registered at .*test_gradients.py:\d+\) .* the method saved of an object"),
        (hooked, r"does not train as the model does in eval mode: .* Hooks on the gradients of the module 1 are not"),
        (partial(Net, changed_data), r"does not train as the model does in eval mode: .* b.weight"),
    ],
)
def test_what_would_train_differently_is_refused(model: Callable[[], nn.Module], message: str, tmp_path: Path) -> None:
    graph = trace(model().double(), torch.randn(3, 4).double())
    with pytest.raises(ExportError, match=message):
        write_code(graph, tmp_path / "network.py")
    assert list(tmp_path.iterdir()) == []


def test_hooks_that_only_look_are_left_out(tmp_path: Path) -> None:
    model, x = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).double(), torch.randn(3, 4).double()
    seen: list[Any] = []
    model[1].register_full_backward_hook(lambda module, before, after: seen.append(after))
    network = loaded(model, x, tmp_path)
    assert_trains_alike(copy.deepcopy(model), network, x)


def test_writing_leaves_torch_and_the_functions_as_they_were() -> None:
    def places() -> list[Any]:
        owners = [(torch, "is_grad_enabled"), (Tensor, "register_hook"), (torch.inference_mode, "__enter__")]
        return [vars(owner)[name] for owner, name in [*owners, (Reversed, "forward"), (Cut, "forward")]]

    before = places()
    x = torch.randn(3, 4)
    code(trace(Net(WRITTEN["reversed"][0]), x))
    assert places() == before

    with pytest.raises(ExportError):
        code(trace(Saving(), x))
    assert places() == before


class AsItsInput(nn.Module):
    """Computes in the type of its input: in float64, other calls are made than those that were recorded in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return y @ torch.eye(6, dtype=torch.float64).to(x.dtype) * Reversed.apply(y, 1.0)


def test_a_model_that_follows_the_type_of_its_input(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = AsItsInput(), torch.randn(3, 4)
    ours, theirs = (gradients(net, x, True) for net in (model, loaded(model, x, tmp_path)))
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-6)
