"""What a network costs: parameters, and floating-point operations forward and backward.

One multiply-add is two FLOPs. Matrix products, convolutions and attention are counted; element-wise work,
normalization and pooling are not, as is usual.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from netmorph.errors import NetmorphError
from netmorph.graph.running import no_fused_attention, untouched

Inputs = Tensor | Sequence[Tensor]


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


def cost(model: nn.Module, input_shape: Sequence[int]) -> Cost:
    """Parameters, and FLOPs per sample, of a model that takes a batch of `input_shape` (batch axis left out).

    Counted on a batch of two, because batch normalization cannot train on a single value per channel.
    The model is left as it was.

    Raises:
        NetmorphError: the model does not take such a batch.
    """
    batch = 2
    parameter = next(model.parameters(), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    example = torch.rand(batch, *input_shape, generator=generator).to(parameter)
    try:
        forward = flops(model, example)
        training = training_flops(model, example)
    except Exception as error:  # a user's forward can raise anything
        raise NetmorphError(
            f"{type(model).__name__} does not take a batch of shape {tuple(example.shape)}: "
            f"{type(error).__name__}: {error}. "
            f"Give the shape of one input without its batch axis; {tuple(input_shape)} was given"
        ) from error
    return Cost(parameters(model), forward // batch, training // batch)


def parameters(model: nn.Module) -> int:
    """Number of scalars in the model's parameters; a shared parameter counts once."""
    return sum(parameter.numel() for parameter in model.parameters())


def flops(model: nn.Module, example_inputs: Inputs) -> int:
    """FLOPs of one call of the model in eval mode. The model is left as it was."""
    with _counting(model, training=False), _counter() as counter:
        _call(model, example_inputs)
    return int(counter.get_total_flops())


def training_flops(model: nn.Module, example_inputs: Inputs) -> int:
    """FLOPs of one call of the model in train mode and of the gradients of its trainable parameters.

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


def _call(model: nn.Module, example_inputs: Inputs) -> object:
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    # The call works on copies of the buffers, so that running statistics stay.
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    return torch.func.functional_call(model, buffers, tuple(tensor.detach() for tensor in inputs))


@contextmanager
def _counting(model: nn.Module, training: bool) -> Iterator[None]:
    """The mode to count in. The counter does not look into fused attention and recurrent layers: plain ones run."""
    with untouched(model), no_fused_attention(), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        model.train(training)
        yield


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=_CORRECTIONS)


def _convolution_backward_flops(
    grad_output: Sequence[int],
    inputs: Sequence[int],
    weight: Sequence[int],
    _bias: Sequence[int] | None,
    _stride: Sequence[int],
    _padding: Sequence[int],
    _dilation: Sequence[int],
    transposed: bool,
    _output_padding: Sequence[int],
    _groups: int,
    output_mask: Sequence[bool],
    **_: object,
) -> int:
    # Per position and sample each weight is used once for the gradient of the input and once for its own:
    # either gradient costs what the forward pass does. torch 2.13 counts the weight's `groups` times over.
    positions = prod((inputs if transposed else grad_output)[2:])
    forward = 2 * inputs[0] * positions * prod(weight)
    return forward * (int(output_mask[0]) + int(output_mask[1]))


def _attention_flops(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[-2] * (width + value[-1])


def _attention_backward_flops(
    _grad_output: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    # The scores are computed again, then the gradients of query, key (each `width`), scores and value.
    batch, heads, length, width = query
    return 2 * batch * heads * length * key[-2] * (3 * width + 2 * value[-1])


def _recurrent_flops(
    inputs: Sequence[int], input_weight: Sequence[int], hidden_weight: Sequence[int], *_: object, **__: object
) -> int:
    steps_and_samples = inputs[0] * inputs[1]
    return 2 * steps_and_samples * (prod(input_weight) + prod(hidden_weight))


def _recurrent_backward_flops(
    inputs: Sequence[int], input_weight: Sequence[int], hidden_weight: Sequence[int], *_: object, **__: object
) -> int:
    return 2 * _recurrent_flops(inputs, input_weight, hidden_weight)


_CORRECTIONS: dict[object, Callable[..., int]] = {
    torch.ops.aten.convolution_backward: _convolution_backward_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    torch.ops.aten.mkldnn_rnn_layer: _recurrent_flops,
    torch.ops.aten.mkldnn_rnn_layer_backward: _recurrent_backward_flops,
}
