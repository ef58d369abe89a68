"""What a network costs: parameters, and floating-point operations forward and backward.

One multiply-add is two FLOPs. Products that are summed are counted (matrix products, convolutions, attention, recurrent
layers); element-wise work, normalization and pooling are not, as is usual.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from netmorph.errors import NetmorphError
from netmorph.graph import RULES, Value
from netmorph.graph.couple import contractions_of
from netmorph.graph.running import no_fused_attention, untouched
from netmorph.lazy import check_sized
from netmorph.measure.prediction import flops_of

aten = torch.ops.aten


@dataclass(frozen=True)
class Cost:
    """Parameters of a network, and FLOPs for one sample.

    Attributes:
        parameters: number of scalars in all parameters, frozen ones included.
        flops: FLOPs of one sample's forward pass.
        training_flops: FLOPs of one sample's forward and backward pass.
    """

    parameters: int
    flops: int
    training_flops: int


def cost(model: nn.Module, examples: Any) -> Cost:
    """Parameters, and FLOPs per sample, of a model that takes a batch of inputs. The model is left as it was.

    Args:
        examples: what the model takes, as in `trace`: one argument, a tuple of positional or a dict of keyword
            arguments, in which tensors may be nested. The first tensor among them is a batch, of at least two inputs,
            because batch normalization cannot train on a single value per channel; a list of tensors is one as well.

    Raises:
        NetmorphError: the model does not take such a batch, or has lazy layers, or there is no tensor in the batch.
    """
    check_sized(model)
    count = samples_of(examples)
    try:
        forward = forward_flops(model, examples)
        training = training_flops(model, examples)
    except Exception as error:  # a user's forward can raise anything
        raise NetmorphError(
            f"{type(model).__name__} does not take {_told(examples)}: "
            f"{type(error).__name__}: {error}. Give inputs as the model takes them"
        ) from error
    return Cost(parameters(model), forward // count, training // count)


def samples_of(examples: Any) -> int:
    """How many inputs a batch holds."""
    if isinstance(examples, list):
        return max(1, len(examples))
    batches = [leaf for leaf in tree_leaves(examples) if isinstance(leaf, Tensor) and leaf.dim() and len(leaf)]
    if not batches:
        raise NetmorphError("a cost is counted on a batch of inputs, and these hold no tensor with a batch dimension")
    return len(batches[0])


def _told(examples: Any) -> str:
    shapes = [f"{tuple(leaf.shape)} ({leaf.dtype})" for leaf in tree_leaves(examples) if isinstance(leaf, Tensor)]
    return f"a batch of shape {', '.join(shapes)}"


def parameters(model: nn.Module) -> int:
    """Number of scalars in the model's parameters; a shared parameter counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def forward_flops(model: nn.Module, example_inputs: Any) -> int:
    """FLOPs of one call of the model in eval mode. The model is left as it was.

    Args:
        example_inputs: as in `trace`: one argument, a tuple of positional or a dict of keyword arguments, in which
            tensors may be nested.
    """
    with _counting(model, training=False), _counter() as counter:
        _call(model, example_inputs)
    return int(counter.get_total_flops())


def training_flops(model: nn.Module, example_inputs: Any) -> int:
    """FLOPs of one call of the model in train mode and of the gradients of its trainable parameters.

    Example inputs are given as for `forward_flops`.
    The gradient of the inputs themselves is not computed, as in training. The model is left as it was.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with _counting(model, training=True), _counter() as counter:
        outputs = [
            leaf
            for leaf in tree_leaves(_call(model, example_inputs))
            if isinstance(leaf, Tensor) and leaf.requires_grad
        ]
        if outputs:
            torch.autograd.grad(outputs, trainable, [torch.ones_like(o) for o in outputs], allow_unused=True)
    return int(counter.get_total_flops())


def _call(model: nn.Module, example_inputs: Any) -> object:
    given = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, example_inputs)
    args, kwargs = ((), given) if isinstance(given, dict) else (given if isinstance(given, tuple) else (given,), {})
    # The call works on copies of the buffers, so that running statistics stay.
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    return torch.func.functional_call(model, buffers, args, kwargs)


@contextmanager
def _counting(model: nn.Module, training: bool) -> Iterator[None]:
    """The mode to count in. The counter does not look into fused attention and recurrent layers: plain ones run."""
    with untouched(model), no_fused_attention(), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        model.train(training)
        yield


def _counter() -> FlopCounterMode:
    own = {op.overloadpacket: partial(_stated, op) for op in RULES if op.namespace != "aten"}
    return FlopCounterMode(display=False, custom_mapping=_CORRECTIONS | own)


def _by_rule(op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], out_shape: Any) -> list[int]:
    """FLOPs of each contraction that the operator's rule states; the counter gives shapes in the place of tensors."""
    args, kwargs, result = tree_map(_as_value, (args, kwargs, out_shape), is_leaf=_is_shape)
    outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Value)]
    return [flops_of([contraction]).at() for contraction in contractions_of(op, args, kwargs, outputs)]


def _is_shape(given: object) -> bool:
    return isinstance(given, torch.Size)


def _as_value(given: Any) -> Any:
    return Value(tuple(given), torch.float32) if _is_shape(given) else given


def _stated(op: OpOverload, *args: Any, out_shape: Any, **kwargs: Any) -> int:
    return sum(_by_rule(op, args, kwargs, out_shape))


def _convolution_backward_flops(
    grad_output: torch.Size,
    inputs: torch.Size,
    weight: torch.Size,
    _bias: Sequence[int] | None,
    _stride: Sequence[int],
    _padding: Sequence[int],
    _dilation: Sequence[int],
    transposed: bool,
    _output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
    **_: object,
) -> int:
    # The gradients of the input and of the weight cost what the forward does, each. torch 2.13 counts the weight's
    # `groups` times over.
    op = aten.conv_transpose2d.input if transposed else aten.conv2d.default  # their rules take any number of dimensions
    forward = _stated(op, inputs, weight, groups=groups, out_shape=grad_output)
    return forward * (int(output_mask[0]) + int(output_mask[1]))


def _attention(query: torch.Size, key: torch.Size, value: torch.Size) -> list[int]:
    op = aten.scaled_dot_product_attention.default
    return _by_rule(op, (query, key, value), {}, torch.Size((*query[:-1], value[-1])))


def _attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
    return sum(_attention(query, key, value))


def _attention_backward_flops(
    _grad_output: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object
) -> int:
    # The scores are computed again; either product has two gradients.
    scores, mixed = _attention(query, key, value)
    return 3 * scores + 2 * mixed


def _trilinear_flops(
    first: torch.Size,
    second: torch.Size,
    third: torch.Size,
    lacks_first: Sequence[int],
    lacks_second: Sequence[int],
    lacks_third: Sequence[int],
    summed: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    # A bilinear layer and its gradients: a product of two tensors is summed, then multiplied by the third and summed.
    longest: dict[int, int] = {}
    for shape, lacks in ((first, lacks_first), (second, lacks_second), (third, lacks_third)):
        rank = len(shape) + len(lacks)
        longest |= dict(zip((dim for dim in range(rank) if dim not in lacks), shape, strict=True))
    left = math.prod(length for dim, length in longest.items() if dim not in {*summed} & {*lacks_third})
    return 2 * (math.prod(longest.values()) + left)


def _recurrent_flops(
    inputs: torch.Size, input_weight: torch.Size, hidden_weight: torch.Size, *_: object, **__: object
) -> int:
    return 2 * prod(inputs[:-1]) * (prod(input_weight) + prod(hidden_weight))


def _recurrent_backward_flops(*args: Any, **kwargs: Any) -> int:
    return 2 * _recurrent_flops(*args, **kwargs)


# What torch's counter does not know, or counts wrongly.
_CORRECTIONS: dict[object, Callable[..., int]] = {
    aten.mv: partial(_stated, aten.mv.default),
    aten.dot: partial(_stated, aten.dot.default),
    aten.vdot: partial(_stated, aten.vdot.default),
    aten.addmv: partial(_stated, aten.addmv.default),
    aten.addmm_: partial(_stated, aten.addmm_.default),
    aten.baddbmm_: partial(_stated, aten.baddbmm_.default),
    aten.addmv_: partial(_stated, aten.addmv_.default),
    aten._trilinear: _trilinear_flops,
    aten.convolution_backward: _convolution_backward_flops,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    aten.mkldnn_rnn_layer: _recurrent_flops,
    aten.mkldnn_rnn_layer_backward: _recurrent_backward_flops,
}
