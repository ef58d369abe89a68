"""Element by element: what meets at one place is the same channel."""

from __future__ import annotations

from typing import Any

import torch

from netmorph.graph.axis import Axis, size
from netmorph.graph.record import Value
from netmorph.graph.rules import Coupling, rule

aten = torch.ops.aten

UNARY = """
    relu relu_ relu6 relu6_ gelu gelu_ silu silu_ mish mish_ sigmoid sigmoid_ tanh tanh_ hardswish hardswish_
    hardsigmoid hardsigmoid_ hardtanh hardtanh_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ softplus
    log_sigmoid exp exp_ log sqrt sqrt_ rsqrt rsqrt_ abs abs_ neg neg_ square sin cos erf reciprocal
    sign floor ceil round dropout dropout_ feature_dropout alpha_dropout clone detach detach_ alias
    contiguous lift_fresh lift_fresh_copy zero_ clamp clamp_ clamp_min clamp_min_ clamp_max logical_not bitwise_not
    zeros_like ones_like empty_like
""".split()
UNARY_OVERLOADS = [
    aten.pow.Tensor_Scalar, aten.pow_.Scalar, aten.to.dtype, aten.to.device, aten.to.dtype_layout,
    aten._to_copy.default,
    aten.fill_.Scalar, aten.rsub.Scalar, aten.eq.Scalar, aten.ne.Scalar, aten.lt.Scalar, aten.le.Scalar,
    aten.gt.Scalar, aten.ge.Scalar, aten.masked_fill.Scalar,
]  # fmt: skip
BINARY = "add add_ sub sub_ mul mul_ div div_ eq ne lt le gt ge".split()
BINARY_OVERLOADS = [
    aten.maximum.default, aten.minimum.default, aten.where.self, aten.addcmul.default, aten.addcdiv.default,
    aten.lerp.Scalar, aten.lerp.Tensor, aten.logical_and.default, aten.logical_or.default, aten.type_as.default,
    aten.pow.Tensor_Tensor, aten.copy_.default, aten.div.Tensor_mode, aten.expand_as.default, aten.rsub.Tensor,
    *(getattr(aten, name).Scalar for name in ("add", "sub", "mul", "div")),
]  # fmt: skip


@rule(*(getattr(aten, name).default for name in UNARY))
@rule(*UNARY_OVERLOADS, *BINARY_OVERLOADS, *(getattr(aten, name).Tensor for name in BINARY))
def pointwise(couple: Coupling, *args: Any, **kwargs: Any) -> list[Axis]:
    """Each output element depends on the elements at its own place only; numbers do not matter."""
    return couple.broadcast(*(a for a in (*args, *kwargs.values()) if isinstance(a, Value)))


@rule(aten.prelu.default)
def prelu(couple: Coupling, x: Value, weight: Value) -> list[Axis]:
    """One slope per channel (dimension 1), or one for all."""
    if size(weight.axes[0]) > 1 or (len(x.shape) > 1 and x.shape[1] == 1):
        couple.unify(x.axes[1], weight.axes[0])
        couple.attribute("num_parameters", weight.axes[0])
    else:
        couple.freeze(weight.axes[0], "one slope is shared by all channels")
    return x.axes


@rule(aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default)
def constant(couple: Coupling, like: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """A new tensor of a given shape; of the old one only the type matters."""
    return [couple.fixed(dim, "a constant tensor that the forward makes") for dim in range(len(couple.shape))]
