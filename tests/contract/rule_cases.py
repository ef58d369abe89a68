"""A call of every operator that has a rule, for `check_rule`: a function of two feature maps, or a module of one."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from index_cases import INDICES, ORDERED
from product_cases import PRODUCTS, SPECTRA
from rule_models import Function, Model, Recurrent, checked, from_schema, in_rank, kinds, tokens, windowed
from torch import Tensor, nn

from netmorph.graph import RULES
from netmorph.graph.ops.elementwise import ACTIVATIONS, COMBINATIONS, COPIES, DRAWS, FUNCTIONS, overloads
from netmorph.graph.ops.gradients import SLOPES
from netmorph.graph.ops.space import POOLING, RESIZING

aten = torch.ops.aten
SIDE_BY_SIDE = 16
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLING_WITH_INDICES = [
    aten.max_pool1d_with_indices.default, aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default,
    aten.adaptive_max_pool1d.default, aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default,
]  # fmt: skip

Case = Function | nn.Module | tuple[Function, dict[str, Tensor]]
# One rule is that of all of these.
FAMILY = {
    str(op).removeprefix("aten.").removesuffix(".default"): op
    for op in overloads([*ACTIVATIONS, *FUNCTIONS, *COMBINATIONS, *COPIES])
}
ELEMENTWISE: dict[str, Case] = {name: from_schema(op) for name, op in FAMILY.items()} | {
    "copy_": lambda x, y: x.clone().copy_(y),
    "max of two": lambda x, y: torch.max(x, y),
    "min of two": lambda x, y: torch.min(x, y),
    "native_dropout": lambda x, y: torch.native_dropout(x, 0.5, False)[0],
    "prelu": nn.PReLU(4),
    "prelu shared": nn.PReLU(),
    "layer scale": (lambda x, y, scale: x * scale, {"scale": torch.rand(4, 1, 1)}),
    "clone": lambda x, y: x.clone(),
    "detach": lambda x, y: x.detach(),
    "contiguous": lambda x, y: x.transpose(1, 3).contiguous(),
    "lift_fresh": lambda x, y: x * torch.tensor(0.5),
    "type_as": lambda x, y: x.type_as(y),
    "to.dtype": lambda x, y: x.to(torch.float64),
    "to.device": lambda x, y: x.to("cpu", torch.float64),
    "to.dtype_layout": lambda x, y: x.cpu(),
    "zeros": lambda x, y: x + torch.zeros(x.shape),
    "ones": lambda x, y: x + torch.ones(x.shape[1], 1, 1),
    "full": lambda x, y: x + torch.full((4, 1), 2.0),
    "empty": lambda x, y: torch.empty(x.shape, dtype=x.dtype).copy_(x),
    "new_zeros": lambda x, y: x + x.new_zeros(2, 1, 4, 4),
    "new_ones": lambda x, y: x + x.new_ones(()),
    "new_full": lambda x, y: x + x.new_full((4,), 2.0),
    "new_empty": lambda x, y: x + x.new_empty(1).fill_(1.0),
    "arange": lambda x, y: x + torch.arange(4),
    "arange from": lambda x, y: x + torch.arange(1, 5),
    "arange in steps": lambda x, y: x + torch.arange(0, 8, 2),
    "linspace": lambda x, y: x + torch.linspace(0, 1, 4),
    "eye": lambda x, y: x + torch.eye(4),
    "arange of channels": lambda x, y: x + torch.arange(x.shape[1])[:, None, None],
    "item": checked(lambda x: x.amax((0, 2, 3)).sum().item()),
    "size.int": checked(lambda x: aten.size.int(x, 0)),
    "is_nonzero": checked(lambda x: bool(x.sum())),
    "_assert_async": checked(lambda x: torch._assert_async((x > 0.5).any())),
    "_assert_async with a message": checked(lambda x: torch._assert_async((x > 0.5).any(), "negative")),
    "broadcast_tensors": lambda x, y: torch.broadcast_tensors(x, y[:, :, :1])[1],
    "meshgrid": lambda x, y: x + torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")[0],
    "meshgrid without indexing": lambda x, y: x + aten.meshgrid.default([torch.arange(4), torch.arange(4)])[0],
    "outer": lambda x, y: torch.outer(x.mean((0, 2, 3)), y.mean((0, 2, 3)))[None].expand(2, -1, -1),
}
CHANNELS: dict[str, Case] = (
    {f"conv{rank}d": in_rank(rank, CONVOLUTIONS[rank](4, 3, 1)) for rank in (1, 2, 3)}
    | {f"conv{rank}d same": in_rank(rank, CONVOLUTIONS[rank](4, 3, 3, padding="same")) for rank in (1, 2, 3)}
    | {f"conv_transpose{rank}d": in_rank(rank, TRANSPOSED[rank](4, 3, 2)) for rank in (1, 2, 3)}
    | {
        "depthwise": nn.Conv2d(4, 8, 3, groups=4),
        "grouped": nn.Conv2d(4, 6, 3, groups=2),
        "grouped transposed": nn.ConvTranspose2d(4, 6, 3, groups=2),
        "grouped transposed to one each": nn.ConvTranspose2d(4, 2, 3, groups=2),
        "depthwise transposed": nn.ConvTranspose2d(4, 4, 3, groups=4),
        "depthwise transposed to two each": nn.ConvTranspose2d(4, 8, 3, groups=4, bias=False),
        "linear": lambda x, y: F.linear(x.flatten(1), y.flatten(1)),
        "linear weight": (
            lambda x, y, w, b: F.linear(x.mean((2, 3)), w, b),
            {"w": torch.randn(5, 4), "b": torch.ones(5)},
        ),
        "linear of a transposed weight": (lambda x, y, w: F.linear(x.mean((2, 3)), w.t()), {"w": torch.randn(4, 5)}),
        "conv2d of activations": lambda x, y: F.conv2d(x, y),
        "matmul weight": (lambda x, y, w: x.mean((2, 3)) @ w, {"w": torch.randn(4, 5)}),
        "mm weight": (lambda x, y, w: torch.mm(x.mean((2, 3)), w), {"w": torch.randn(4, 5)}),
        "weight matmul": (lambda x, y, w: w @ x.flatten(2), {"w": torch.randn(5, 4)}),
        "matmul vector": (lambda x, y, w: x.movedim(1, -1) @ w, {"w": torch.randn(4)}),
        "vector matmul": (lambda x, y, w: w @ x.flatten(2), {"w": torch.randn(4)}),
        "mv": (lambda x, y, w: torch.mv(x.mean((2, 3)), w)[:, None], {"w": torch.randn(4)}),
        "vdot": (lambda x, y, w: y + torch.vdot(x.mean((0, 2, 3)), w), {"w": torch.randn(4)}),
        "dot": (lambda x, y, w: y + torch.dot(x.mean((0, 2, 3)), w), {"w": torch.randn(4)}),
        "matmul": lambda x, y: x.flatten(2).transpose(1, 2) @ y.flatten(2),
        "bmm": lambda x, y: torch.bmm(x.flatten(2), y.flatten(2).transpose(1, 2)),
        "addmm": (
            lambda x, y, b, w: torch.addmm(b, x.mean((2, 3)), w), {"b": torch.randn(5), "w": torch.randn(4, 5)}
        ),
        "baddbmm": lambda x, y: torch.baddbmm(y[:, :, 0], x[:, :, 0], x.mean(1), beta=0.5),
        "addmv": (lambda x, y, w: torch.addmv(y[:, 0, 0, 0], x.mean((2, 3)), w)[:, None], {"w": torch.randn(4)}),
        "einsum": lambda x, y: torch.einsum("nchw,nchv->nhwv", x, y),
        "einsum weight": (lambda x, y, w: torch.einsum("n...hw,...d->nd", x, w), {"w": torch.randn(4, 5)}),
        "einsum implicit": lambda x, y: torch.einsum("nchw,nchw", x, y) + y,
        "embedding_bag": (
            lambda x, y, table: x + F.embedding_bag(torch.tensor([[1, 0], [2, 1]]), table)[:, :, None, None],
            {"table": torch.randn(3, 4)},
        ),
        "embedding": (
            lambda x, y, table: x + F.embedding(torch.tensor([1, 0]), table)[:, :, None, None],
            {"table": torch.randn(3, 4)},
        ),
        "attention": lambda x, y: F.scaled_dot_product_attention(*tokens(x, y, x + y)),
        "attention with a scale": lambda x, y: F.scaled_dot_product_attention(*tokens(x, y, x + y), scale=0.5),
        "attention of heads": lambda x, y: F.scaled_dot_product_attention(x, y.exp(), y, attn_mask=y.mean((0, 1))),
        "attention with a mask": lambda x, y: F.scaled_dot_product_attention(x, x.exp(), x, attn_mask=y),
        "batch_norm": nn.BatchNorm2d(4),
        "batch_norm plain": nn.BatchNorm2d(4, affine=False),
        "batch_norm untracked": nn.BatchNorm2d(4, track_running_stats=False),
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
        "_weight_norm": (
            lambda x, y, v, g: F.linear(x.mean((2, 3)), torch._weight_norm(v, g, 0)),
            {"v": torch.randn(5, 4), "g": torch.rand(5, 1)},
        ),
        "_weight_norm of all": (
            lambda x, y, v, g: F.linear(x.mean((2, 3)), torch._weight_norm(v, g, -1)),
            {"v": torch.randn(5, 4), "g": torch.rand(())},
        ),
    }
)  # fmt: skip
SPACE: dict[str, Case] = {
    str(op).removeprefix("aten."): windowed(op)
    for op in [*overloads(POOLING), *(getattr(aten, name).vec for name in RESIZING), *POOLING_WITH_INDICES]
} | {
    "pad": lambda x, y: F.pad(x, (1, 1, 0, 2)),
    "pad reflect": nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"),
    "pad channels": lambda x, y: F.pad(x, (0, 0, 0, 0, 1, 1)),
    "constant_pad_nd": lambda x, y: torch.constant_pad_nd(x, [1, 1], 0.5),
    "grid_sampler": lambda x, y: F.grid_sample(x, 0.1 * torch.ones(2, 3, 3, 2, dtype=x.dtype), align_corners=False),
    "unfold": lambda x, y: F.unfold(x, 2),
    "fold": lambda x, y: F.fold(F.unfold(x, 2), (4, 4), 2) + y,
    "windows": lambda x, y: x.unfold(2, 2, 1),
    "pixel_shuffle": lambda x, y: F.pixel_shuffle(torch.stack([x, y, x, y], 2).flatten(1, 2), 2),
    "pixel_shuffle of few": lambda x, y: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x, y: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda x, y: F.channel_shuffle(torch.cat([x, y], 1), 2),
}
SHAPES: dict[str, Case] = {
    "view": lambda x, y: x.view(x.size(0), -1, 2, x.size(3)),
    "reshape": lambda x, y: x.transpose(1, 2).reshape(x.size(0), -1),
    "reshape_as": lambda x, y: x.flatten(1).reshape_as(y),
    "view_as": lambda x, y: x.flatten(1).view_as(y),
    "unflatten": lambda x, y: x.flatten(1).unflatten(1, (-1, 4, 4)),
    "ravel": lambda x, y: x.ravel().view(x.shape),
    "squeeze.dim": lambda x, y: x.mean((2, 3), keepdim=True).squeeze(3),
    "squeeze.dims": lambda x, y: x.mean((2, 3), keepdim=True).squeeze((2, 3)),
    "squeeze": lambda x, y: x.mean((2, 3), keepdim=True).squeeze(),
    "unsqueeze": lambda x, y: x.unsqueeze(1) * 2,
    "unsqueeze in front of space": lambda x, y: x.unsqueeze(2).squeeze(2),
    "permute": lambda x, y: x.permute(0, 2, 3, 1),
    "transpose": lambda x, y: x.transpose(1, -1),
    "swapaxes": lambda x, y: x.swapaxes(1, 2),
    "swapdims": lambda x, y: x.swapdims(1, 2),
    "movedim": lambda x, y: x.movedim(1, 3),
    "movedim of several": lambda x, y: x.movedim((1, 2), (3, 1)),
    "moveaxis": lambda x, y: x.moveaxis(1, 3),
    "moveaxis of several": lambda x, y: x.moveaxis((1, 2), (3, 1)),
    "t": lambda x, y: x.mean((2, 3)).t().t(),
    "T": lambda x, y: x.mean((2, 3)).T.T,
    "mT": lambda x, y: x.flatten(2).mT,
    "adjoint": lambda x, y: x.flatten(2).adjoint(),
    "expand": lambda x, y: x.mean((2, 3), keepdim=True).expand(-1, -1, 4, 4) * y,
    "broadcast_to": lambda x, y: x.mean((2, 3), keepdim=True).broadcast_to(y.shape) * y,
    "repeat": lambda x, y: x.repeat(1, 2, 1, 1),
    "tile": lambda x, y: torch.tile(x, (2, 1)),
    "repeat_interleave": lambda x, y: x.repeat_interleave(2, 1),
    "repeat_interleave flat": lambda x, y: x.repeat_interleave(2).view(x.size(0), -1),
    "cat": lambda x, y: torch.cat([x, y], 1),
    "cat the same": lambda x, y: torch.cat([x, x * y], 1),
    "cat of space": lambda x, y: torch.cat([x, y], 2),
    "cat with nothing": lambda x, y: torch.cat([x[:, x.shape[1] :], x], 1),
    "concat": lambda x, y: torch.concat([x, y], 1),
    "stack": lambda x, y: torch.stack([x, y], 2),
}
CUTS: dict[str, Case] = {
    "chunk": lambda x, y: torch.cat(x.chunk(2, 1)[::-1], 1) + y,
    "chunk gates": lambda x, y: x.chunk(2, 1)[0] * x.chunk(2, 1)[1].sigmoid(),
    "chunk in unequal pieces": lambda x, y: x.chunk(3, 1)[0],
    "chunk that leaves a rest": lambda x, y: torch.cat([x, x[:, :1]], 1).chunk(2, 1)[0],
    "split": lambda x, y: x.split(2, 3)[1],
    "split of channels": lambda x, y: x.split(x.shape[1] // 2, 1)[1] + y.split(x.shape[1] // 2, 1)[0],
    "split by a number": lambda x, y: x.split(2, 1)[1],
    "split_with_sizes": lambda x, y: x.split([1, 3], 2)[0],
    "split_with_sizes of channels": lambda x, y: x.split([1, 3], 1)[1],
    "split.sizes": lambda x, y: aten.split.sizes(x, [1, 3], 2)[0],
    "tensor_split": lambda x, y: torch.tensor_split(x, 2, 1)[0],
    "tensor_split at": lambda x, y: torch.tensor_split(x, [1, 2], 1)[1],
    "unbind": lambda x, y: x.unbind(2)[0],
    "slice": lambda x, y: x[:, :, 1:] + y[:, :, :-1],
    "slice of all": lambda x, y: x[:, 0:] + y,
    "slice of channels": lambda x, y: x[:, : x.shape[1] // 2] + x[:, x.shape[1] // 2 :],
    "slice from the end": lambda x, y: x[:, :-1],
    "slice in steps": lambda x, y: x[:, ::2],
    "narrow": lambda x, y: x.narrow(2, 0, 2),
    "narrow of channels": lambda x, y: x.narrow(1, 1, 2),
    "select": lambda x, y: x[:, :, 0],
    "select a channel": lambda x, y: x[:, 0] + y.mean(1),
    "multinomial": lambda x, y: x + torch.multinomial(x.flatten(1), 1)[:, :, None, None],
    "glu": nn.GLU(1),
}
REDUCTIONS: dict[str, Case] = {
    name: function
    for call in ("mean", "sum", "amax", "amin", "var", "std", "logsumexp")
    for name, function in {
        call: lambda x, y, call=call: getattr(x, call)((2, 3), keepdim=True),
        f"{call} of channels": lambda x, y, call=call: getattr(x, call)(1),
    }.items()
} | {
    f"{call} of all": lambda x, y, call=call: x + getattr(y, call)().reshape(1)
    for call in ("mean", "sum", "max", "min", "std", "norm")
} | {
    "max": lambda x, y: x.max(2).values,
    "min of channels": lambda x, y: x.min(1, keepdim=True).values,
    "prod": lambda x, y: x.prod(2),
    "all": lambda x, y: (x > 0.5).all(2),
    "any of channels": lambda x, y: (x > 0.5).any(1),
    "all of all": lambda x, y: x + (y > 0.5).all(),
    "is all true": lambda x, y: x + torch._is_all_true(y > 0.5),
    "is any true": lambda x, y: x + torch._is_any_true(y > 0.5),
    "any of all": lambda x, y: x + (y > 0.5).any(),
    "var correction": lambda x, y: torch.var(x, (2, 3), correction=0),
    "std correction": lambda x, y: torch.std(x, (2, 3), correction=0),
    "var_mean": lambda x, y: torch.stack(torch.var_mean(x, (2, 3)), 1),
    "std_mean": lambda x, y: torch.stack(torch.std_mean(x, (2, 3)), 1),
    "var_mean correction": lambda x, y: torch.stack(torch.var_mean(x, 1, correction=0), 1),
    "std_mean correction": lambda x, y: torch.stack(torch.std_mean(x, (2, 3), correction=0), 1),
    "vector_norm": lambda x, y: torch.linalg.vector_norm(x, dim=(2, 3)),
    "vector_norm of channels": lambda x, y: x / torch.linalg.vector_norm(x, dim=1, keepdim=True),
}  # fmt: skip
DRAWN: dict[str, Case] = {
    str(op).removeprefix("aten.").removesuffix(".default"): from_schema(op) for op in overloads(DRAWS)
} | {
    "rand": lambda x, y: x + torch.rand(x.shape),
    "randn": lambda x, y: x + torch.randn(x.shape),
    "rand of a stream": lambda x, y: x + torch.rand(x.shape, generator=torch.Generator()),
    "randn of a stream": lambda x, y: x + torch.randn(x.shape, generator=torch.Generator()),
    "normal": lambda x, y: torch.normal(x, y.exp()),
    "normal around": lambda x, y: torch.normal(x, 0.5),
    "normal as wide": lambda x, y: torch.normal(0.5, x.exp()),
    "normal of a shape": lambda x, y: x + torch.normal(0.5, 2.0, x.shape),
    "randint": lambda x, y: x + torch.randint(3, x.shape),
    "randint from": lambda x, y: x + torch.randint(1, 3, x.shape),
    "randint of a stream": lambda x, y: x + torch.randint(3, x.shape, generator=torch.Generator()),
    "randint from, of a stream": lambda x, y: x + torch.randint(1, 3, x.shape, generator=torch.Generator()),
    "randint_like": lambda x, y: x + torch.randint_like(x, 3),
    "randint_like from": lambda x, y: x + torch.randint_like(x, 1, 3),
    "dropout that draws": lambda x, y: F.dropout(x, 0.5, training=True),
    "dropout of maps": lambda x, y: F.dropout2d(x, 0.5, training=True),
}  # fmt: skip
GRADIENTS: dict[str, Case] = {
    str(op).removeprefix("aten.").removesuffix(".default"): from_schema(op) for op in overloads(SLOPES)
} | {
    "_unsafe_view": lambda x, y: aten._unsafe_view.default(x, [x.shape[0], x.shape[1], 16]),
    "_softmax": lambda x, y: aten._softmax.default(x, 1, False),
    "_log_softmax": lambda x, y: aten._log_softmax.default(x, 1, False),
    "_softmax_backward_data": lambda x, y: aten._softmax_backward_data.default(x, y, 1, x.dtype),
    "_log_softmax_backward_data": lambda x, y: aten._log_softmax_backward_data.default(x, y, 1, x.dtype),
    "native_layer_norm": (
        lambda x, y, w, b: torch.native_layer_norm(x.movedim(1, -1), w.shape, w, b, 1e-5)[0],
        {"w": torch.rand(4), "b": torch.rand(4)},
    ),
    "native_layer_norm_backward": (
        lambda x, y, w, b: aten.native_layer_norm_backward.default(
            x.movedim(1, -1),
            *(y.movedim(1, -1), w.shape, y.mean(1)[..., None], y.std(1)[..., None], w, b, [True, False, False]),
        )[0],
        {"w": torch.rand(4), "b": torch.rand(4)},
    ),
    "convolution": (
        lambda x, y, w: aten.convolution.default(x, w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1),
        {"w": torch.randn(3, 4, 1, 1)},
    ),
    "convolution transposed": (
        lambda x, y, w: aten.convolution.default(x, w, None, [1, 1], [0, 0], [1, 1], True, [0, 0], 1),
        {"w": torch.randn(4, 3, 1, 1)},
    ),
    "convolution_backward": (
        lambda x, y, w: aten.convolution_backward.default(
            x, y, w, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True, False, False]
        )[0],
        {"w": torch.randn(4, 4, 1, 1)},
    ),
}  # fmt: skip
RECURRENT: dict[str, Case] = {
    "lstm": Recurrent(nn.LSTM(4, 3, batch_first=True)),
    "gru": Recurrent(nn.GRU(4, 3, batch_first=True)),
    "rnn_tanh": Recurrent(nn.RNN(4, 3, batch_first=True)),
    "rnn_relu": Recurrent(nn.RNN(4, 3, nonlinearity="relu", batch_first=True)),
    "lstm packed": Recurrent(nn.LSTM(4, 3, batch_first=True), packed=True),
    "gru packed": Recurrent(nn.GRU(4, 3, batch_first=True), packed=True),
    "rnn_tanh packed": Recurrent(nn.RNN(4, 3, batch_first=True), packed=True),
    "rnn_relu packed": Recurrent(nn.RNN(4, 3, nonlinearity="relu", batch_first=True), packed=True),
    "lstm_cell": Recurrent(nn.LSTMCell(4, 3)),
    "gru_cell": Recurrent(nn.GRUCell(4, 3)),
    "rnn_tanh_cell": Recurrent(nn.RNNCell(4, 3)),
    "rnn_relu_cell": Recurrent(nn.RNNCell(4, 3, nonlinearity="relu")),
}

CASES: dict[str, Case] = (
    ELEMENTWISE
    | DRAWN
    | GRADIENTS
    | CHANNELS
    | SPACE
    | SHAPES
    | CUTS
    | REDUCTIONS
    | RECURRENT
    | INDICES
    | ORDERED
    | SPECTRA
    | PRODUCTS
)
# Of the element-wise family, those that its rule gets with arguments of the same kinds: it says the same of each.
KINDS: dict[tuple[object, ...], list[str]] = {}
for name, op in FAMILY.items():
    KINDS.setdefault((RULES[op], *kinds(op)), []).append(name)
EXEMPLARY = {names[0] for names in KINDS.values()} | {"relu", "add.Tensor", "where.self", "mul_.Tensor"}
DISTINCT = [name for name in CASES if name not in FAMILY or name in EXEMPLARY]
# The others run side by side in one network.
TOGETHER = {
    f"{chunk[0]} to {chunk[-1]}": chunk
    for names in KINDS.values()
    for start in range(0, len(names), SIDE_BY_SIDE)
    if (chunk := [name for name in names[start : start + SIDE_BY_SIDE] if name not in EXEMPLARY])
}
# Some operators tell that they would rather be called in another way.
ADVICE = [
    "ignore:torch.meshgrid",
    "ignore:The reduce argument of torch.scatter",
    "ignore:index_reduce",
    "ignore:reduction. 'mean' divides",
]


def case(name: str) -> tuple[Function | nn.Module, list[Tensor], dict[str, Tensor]]:
    """The call, feature maps `[2, 4, 4, 4]` of positive numbers (for logarithms and roots), and its parameters."""
    torch.manual_seed(0)
    told = CASES[name]
    function, parameters = told if isinstance(told, tuple) else (told, {})
    maps = [2 * torch.rand(2, 4, 4, 4) + 0.05 for _ in range(1 if isinstance(function, nn.Module) else 2)]
    return function, maps, parameters


def build(name: str) -> tuple[Model, Tensor]:
    """A network around the case's operator, in float64, and its input."""
    torch.manual_seed(0)
    told = CASES[name]
    function, parameters = told if isinstance(told, tuple) else (copy.deepcopy(told), {})
    return Model(function, **parameters).double().eval(), torch.randn(2, 2, 4, 4).double()


def side_by_side(names: list[str]) -> tuple[Function, list[Tensor]]:
    """A call of several element-wise operators, each on the same two feature maps, and these."""
    functions = [from_schema(FAMILY[name]) for name in names]
    _, maps, _ = case(names[0])
    return lambda x, y: [function(x, y) for function in functions], maps
