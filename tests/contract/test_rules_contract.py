"""Every op rule, on a small model that uses the op: what the rule allows is exact, and narrowing is masking."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from checks import EXACT, assert_true_attributes, mask_readers, outputs, relative, widths
from torch import Tensor, nn

from netmorph.edit import WIDENINGS, apply, narrow, random_pad, widen
from netmorph.graph import RULES, Allow, Graph, Role, trace
from netmorph.graph.ops.elementwise import BINARY, UNARY
from netmorph.graph.record import record

aten = torch.ops.aten
Function = Callable[..., Tensor]


class Model(nn.Module):
    """Two convolutions to 4 channels, the op under test, a linear layer over all that comes out."""

    def __init__(self, function: Function | nn.Module, **parameters: Tensor) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.between = Between(function, parameters)
        with torch.no_grad():
            size = self.features(torch.randn(2, 2, 4, 4)).shape[1]
        self.head = nn.Linear(size, 3)

    def features(self, x: Tensor) -> Tensor:
        # positive, so that logarithms and roots are defined
        return self.between(F.softplus(self.left(x)), F.softplus(self.right(x))).to(x.dtype).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Between(nn.Module):
    """The op: a function of two feature maps `[N, 4, H, W]` and parameters, or a module of one of them."""

    def __init__(self, function: Function | nn.Module, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            setattr(self, name, nn.Parameter(value))
        self.names = list(parameters)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if isinstance(self.function, nn.Module):
            return self.function(x)
        return self.function(x, y, *(getattr(self, name) for name in self.names))


CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


def spread(rank: int) -> Function:
    """Feature maps as `rank` spatial dimensions."""
    return {1: lambda x: x.flatten(2), 2: lambda x: x, 3: lambda x: x.unsqueeze(-1)}[rank]


def in_rank(rank: int, module: nn.Module) -> nn.Module:
    return nn.Sequential(Spread(rank), module)


class Spread(nn.Module):
    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    def forward(self, x: Tensor) -> Tensor:
        return spread(self.rank)(x)


NUMBERS = {"dropout": (0.5, False), "dropout_": (0.5, False), "feature_dropout": (0.5, False)} | {
    "alpha_dropout": (0.5, False), "clamp": (0.1, 0.5), "clamp_": (0.1, 0.5), "clamp_min": (0.4,), "clamp_min_": (0.4,),
    "clamp_max": (0.4,),
}  # fmt: skip


def unary(name: str) -> Function:
    op = getattr(aten, name).default
    if name == "bitwise_not":
        return lambda x, y: op(x > 0.5)
    if name == "empty_like":  # what it holds is arbitrary
        return lambda x, y: op(x).copy_(x)
    if name in ("zero_", "zeros_like", "ones_like"):
        return lambda x, y: op(x.clone()) + y
    return lambda x, y: op(x, *NUMBERS.get(name, ()))


COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
CASES: dict[str, Function | nn.Module | tuple[Function, dict[str, Tensor]]] = (
    {name: unary(name) for name in UNARY}
    | {f"{name}.Tensor": (lambda op: lambda x, y: op(x, y))(getattr(aten, name).Tensor) for name in BINARY}
    | {
        f"{name}.Scalar": (lambda op: lambda x, y: op(x, 0.7))(getattr(aten, name).Scalar)
        for name in (*COMPARISONS, "add", "sub", "mul", "div", "rsub")
    }
    | {f"conv{rank}d": in_rank(rank, CONVOLUTIONS[rank](4, 3, 1)) for rank in (1, 2, 3)}
    | {f"conv{rank}d same": in_rank(rank, CONVOLUTIONS[rank](4, 3, 3, padding="same")) for rank in (1, 2, 3)}
    | {f"conv_transpose{rank}d": in_rank(rank, TRANSPOSED[rank](4, 3, 2)) for rank in (1, 2, 3)}
    | {
        "pow": lambda x, y: aten.pow.Tensor_Scalar(x, 1.5),
        "pow_": lambda x, y: aten.pow_.Scalar(x, 1.5),
        "pow tensor": lambda x, y: aten.pow.Tensor_Tensor(x, y),
        "to.dtype": lambda x, y: aten.to.dtype(x, torch.float64),
        "to.device": lambda x, y: aten.to.device(x, "cpu", torch.float64),
        "to.dtype_layout": lambda x, y: aten.to.dtype_layout(x, dtype=torch.float64),
        "_to_copy": lambda x, y: aten._to_copy.default(x, dtype=torch.float64),
        "fill_": lambda x, y: aten.fill_.Scalar(x.clone(), 2.0) * y,
        "masked_fill": lambda x, y: aten.masked_fill.Scalar(x, y > 0.6, 0.0),
        "maximum": torch.maximum,
        "minimum": torch.minimum,
        "where": lambda x, y: torch.where(x > y, x, 2 * y),
        "addcmul": lambda x, y: torch.addcmul(x, x, y),
        "addcdiv": lambda x, y: torch.addcdiv(x, x, y),
        "lerp": lambda x, y: torch.lerp(x, y, 0.3),
        "lerp tensor": lambda x, y: torch.lerp(x, y, x),
        "logical_and": lambda x, y: torch.logical_and(x > 0.5, y > 0.5),
        "logical_or": lambda x, y: torch.logical_or(x > 0.5, y > 0.5),
        "type_as": lambda x, y: x.type_as(y),
        "copy_": lambda x, y: x.clone().copy_(y),
        "div mode": lambda x, y: torch.div(x, y, rounding_mode="floor"),
        "expand_as": lambda x, y: x.mean((2, 3), keepdim=True).expand_as(y),
        "rsub tensor": lambda x, y: torch.rsub(x, y),
        "new_zeros": lambda x, y: x + x.new_zeros(2, 1, 4, 4),
        "new_ones": lambda x, y: x + x.new_ones(()),
        "new_full": lambda x, y: x + x.new_full((4,), 2.0),
        "new_empty": lambda x, y: x + x.new_empty(1).fill_(1.0),
        "prelu": nn.PReLU(4),
        "prelu shared": nn.PReLU(),
        "depthwise": nn.Conv2d(4, 8, 3, groups=4),
        "grouped": nn.Conv2d(4, 6, 3, groups=2),
        "grouped transposed": nn.ConvTranspose2d(4, 6, 3, groups=2),
        "linear": lambda x, y: F.linear(x.flatten(1), y.flatten(1)),
        "linear weight": (
            lambda x, y, w, b: F.linear(x.mean((2, 3)), w, b),
            {"w": torch.randn(5, 4), "b": torch.ones(5)},
        ),
        "conv2d of activations": lambda x, y: F.conv2d(x, y),
        "matmul weight": (lambda x, y, w: x.mean((2, 3)) @ w, {"w": torch.randn(4, 5)}),
        "mm weight": (lambda x, y, w: torch.mm(x.mean((2, 3)), w), {"w": torch.randn(4, 5)}),
        "matmul": lambda x, y: x.flatten(2).transpose(1, 2) @ y.flatten(2),
        "bmm": lambda x, y: torch.bmm(x.flatten(2), y.flatten(2).transpose(1, 2)),
        "embedding": (
            lambda x, y, table: x + F.embedding(torch.tensor([1, 0]), table)[:, :, None, None],
            {"table": torch.randn(3, 4)},
        ),
        "layer scale": (lambda x, y, scale: x * scale, {"scale": torch.rand(4, 1, 1)}),
        "batch_norm": nn.BatchNorm2d(4),
        "batch_norm plain": nn.BatchNorm2d(4, affine=False),
        "instance_norm": nn.InstanceNorm2d(4, affine=True),
        "layer_norm": (
            lambda x, y, w, b: F.layer_norm(x.movedim(1, -1), w.shape, w, b),
            {"w": torch.rand(4), "b": torch.rand(4)},
        ),
        "layer_norm of all": nn.LayerNorm((4, 4, 4)),
        "rms_norm": (lambda x, y, w: F.rms_norm(x.movedim((1,), (-1,)), w.shape, w), {"w": torch.rand(4)}),
        "group_norm": nn.GroupNorm(2, 4),
        "group_norm of one": nn.GroupNorm(1, 4),
        "group_norm of each": nn.GroupNorm(4, 4),
        "softmax": lambda x, y: x.softmax(1),
        "softmax of space": lambda x, y: x.flatten(2).softmax(-1),
        "log_softmax": lambda x, y: x.log_softmax(1),
        "_softmax": lambda x, y: aten._softmax.default(x, 1, False),
        "_log_softmax": lambda x, y: aten._log_softmax.default(x, 1, False),
        "max_pool1d": in_rank(1, nn.MaxPool1d(2)),
        "max_pool2d": nn.MaxPool2d(2),
        "max_pool3d": in_rank(3, nn.MaxPool3d((2, 2, 1))),
        "avg_pool1d": in_rank(1, nn.AvgPool1d(2)),
        "avg_pool2d": nn.AvgPool2d(2),
        "avg_pool3d": in_rank(3, nn.AvgPool3d((2, 2, 1))),
        "adaptive_avg_pool1d": in_rank(1, nn.AdaptiveAvgPool1d(3)),
        "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d(3),
        "adaptive_avg_pool3d": in_rank(3, nn.AdaptiveAvgPool3d(1)),
        "adaptive_max_pool2d": lambda x, y: F.adaptive_max_pool2d(x, 2),
        "max_pool2d_with_indices": lambda x, y: F.max_pool2d(x, 2, return_indices=True)[0],
        "upsample_nearest2d": nn.Upsample(scale_factor=2),
        "upsample_bilinear2d": nn.Upsample(scale_factor=2, mode="bilinear"),
        "upsample_bicubic2d": nn.Upsample(scale_factor=2, mode="bicubic"),
        "pad": lambda x, y: F.pad(x, (1, 1, 0, 2)),
        "pad reflect": nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"),
        "constant_pad_nd": lambda x, y: aten.constant_pad_nd.default(x, [1, 1], 0.5),
        "view": lambda x, y: x.view(x.size(0), -1, 2, x.size(3)),
        "reshape": lambda x, y: x.transpose(1, 2).reshape(x.size(0), -1),
        "_unsafe_view": lambda x, y: aten._unsafe_view.default(x, [x.size(0), -1]),
        "reshape_as": lambda x, y: x.flatten(1).reshape_as(y),
        "view_as": lambda x, y: x.flatten(1).view_as(y),
        "unflatten": lambda x, y: x.flatten(1).unflatten(1, (-1, 4, 4)),
        "squeeze.dim": lambda x, y: x.mean((2, 3), keepdim=True).squeeze(3),
        "squeeze.dims": lambda x, y: x.mean((2, 3), keepdim=True).squeeze((2, 3)),
        "squeeze": lambda x, y: x.mean((2, 3), keepdim=True).squeeze(),
        "unsqueeze": lambda x, y: x.unsqueeze(1) * 2,
        "unsqueeze in front of space": lambda x, y: x.unsqueeze(2).squeeze(2),
        "permute": lambda x, y: x.permute(0, 2, 3, 1),
        "swapaxes": lambda x, y: x.swapaxes(1, 2),
        "t": lambda x, y: x.mean((2, 3)).t().t(),
        "numpy_T": lambda x, y: x.mean((2, 3)).T.T,
        "expand": lambda x, y: x.mean((2, 3), keepdim=True).expand(-1, -1, 4, 4) * y,
        "cat": lambda x, y: torch.cat([x, y], 1),
        "cat the same": lambda x, y: torch.cat([x, x * y], 1),
        "cat of space": lambda x, y: torch.cat([x, y], 2),
        "concat": lambda x, y: torch.concat([x, y], 1),
        "stack": lambda x, y: torch.stack([x, y], 2),
        "chunk": lambda x, y: torch.cat(x.chunk(2, 1)[::-1], 1) + y,
        "split": lambda x, y: x.split(2, 3)[1],
        "split_with_sizes": lambda x, y: x.split([1, 3], 2)[0],
        "unbind": lambda x, y: x.unbind(2)[0],
        "slice": lambda x, y: x[:, :, 1:] + y[:, :, :-1],
        "slice of all": lambda x, y: x[:, 0:] + y,
        "narrow": lambda x, y: x.narrow(2, 0, 2),
        "select": lambda x, y: x[:, :, 0],
        "select a channel": lambda x, y: x[:, 0] + y.mean(1),
        "mean": lambda x, y: x.mean((2, 3)),
        "mean of channels": lambda x, y: x.mean(1),
        "sum": lambda x, y: x.sum((2, 3), keepdim=True),
        "sum of channels": lambda x, y: x.sum(1),
        "amax": lambda x, y: x.amax((2, 3)),
        "amax of channels": lambda x, y: x.amax(1),
        "amin": lambda x, y: x.amin((2, 3)),
        "var": lambda x, y: x.var((2, 3)),
        "var correction": lambda x, y: torch.var(x, (2, 3), correction=0),
        "std correction": lambda x, y: torch.std(x, (2, 3), correction=0),
        "std": lambda x, y: x.std((2, 3)),
        "std of channels": lambda x, y: x.std(1),
        "norm": lambda x, y: torch.linalg.vector_norm(x, dim=(2, 3)),
        "norm of channels": lambda x, y: x / torch.linalg.vector_norm(x, dim=1, keepdim=True),
        "attention": lambda x, y: F.scaled_dot_product_attention(
            *[z.flatten(2).transpose(1, 2) for z in (x, y, x + y)]
        ),
    }
)  # fmt: skip


def build(name: str) -> tuple[Model, Tensor]:
    torch.manual_seed(0)
    case = CASES[name]
    function, parameters = case if isinstance(case, tuple) else (copy.deepcopy(case), {})
    return Model(function, **parameters).double().eval(), torch.randn(2, 2, 4, 4).double()


@pytest.mark.parametrize("name", CASES)
def test_what_the_rule_allows_is_exact(name: str) -> None:
    model, x = build(name)
    before = outputs(model, x)
    graph = trace(model, x)
    free = [group.name for group in graph.editable()]
    for place in free:
        for method in widths(graph.group(place)):
            width = widths(graph.group(place))[method]
            graph = apply(graph, widen(graph, place, width, WIDENINGS[method]))
            assert graph.journal[-1].error <= EXACT[torch.float64], f"{method}: {graph.group(place)}"
            assert relative(before, outputs(model, x)) <= EXACT[torch.float64], f"{method}: {graph.group(place)}"
    for place in free:
        graph = apply(graph, widen(graph, place, 2 * graph.group(place).size, random_pad))
    assert [tuple(t.shape) for t in outputs(model, x)] == [(2, 3)]
    assert_true_attributes(model)


@pytest.mark.parametrize("name", CASES)
def test_narrowing_is_masking(name: str) -> None:
    model, x = build(name)
    graph = trace(model, x)
    for group in graph.editable():
        if group.size == 1 or group.name not in graph.groups:  # with one group left, a convolution is not grouped
            continue
        group = graph.group(group.name)
        masked = copy.deepcopy(model)
        mask_readers(Graph(**(vars(graph) | {"model": masked})), group, [group.size - 1])
        graph = apply(graph, narrow(graph, group.name, range(group.size - 1)))
        if group.allow == Allow.ANY and group.where(Role.READ):
            assert relative(outputs(masked, x), outputs(model, x)) <= EXACT[torch.float64], group
    assert_true_attributes(model)


# Free where the op keeps channels apart; what else the rules say of the convolution's channels.
LIMITS = {
    "layer_norm": Allow.UNIFORM,
    "rms_norm": Allow.UNIFORM,
    "layer_norm of all": Allow.UNIFORM,
    "group_norm of one": Allow.UNIFORM,
    "mean of channels": Allow.UNIFORM,
    "amax of channels": Allow.UNIFORM,
    "softmax": Allow.INEXACT,
    "log_softmax": Allow.INEXACT,
    "_softmax": Allow.INEXACT,
    "_log_softmax": Allow.INEXACT,
    "sum of channels": Allow.INEXACT,
    "std of channels": Allow.INEXACT,
    "norm of channels": Allow.INEXACT,
    "matmul": Allow.INEXACT,
    "chunk": Allow.FROZEN,
    "select a channel": Allow.FROZEN,
    "grouped transposed": Allow.FROZEN,
    "linear": Allow.INEXACT,
    "conv2d of activations": Allow.INEXACT,
    "attention": Allow.INEXACT,
    "group_norm": Allow.UNIFORM,  # within a group
    "group_norm of each": Allow.UNIFORM,
}


@pytest.mark.parametrize("name", CASES)
def test_the_channels_are_as_free_as_the_op_lets_them(name: str) -> None:
    groups = [group for group in trace(*build(name)).groups.values() if group.name.startswith("left")]
    free = [group for group in groups if not group.name.startswith("left.in")]
    assert min(group.allow for group in free) == LIMITS.get(name, Allow.ANY), [str(group) for group in free]


def test_every_rule_is_exercised() -> None:
    recorded = set()
    for name in CASES:
        model, x = build(name)
        recorded |= {call.op for call in record(model, (x,)).calls}
    assert set(RULES) - recorded == set()
