"""Element by element: what meets at one place is the same channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from netmorph.graph.axis import Axis, size
from netmorph.graph.roots import Root
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.uses import Role
from netmorph.graph.value import Value

aten = torch.ops.aten

ACTIVATIONS = """
    relu relu_ relu6 relu6_ gelu gelu_ silu silu_ mish mish_ sigmoid sigmoid_ tanh tanh_ hardswish hardswish_
    hardsigmoid hardsigmoid_ hardtanh hardtanh_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ softplus
    log_sigmoid logit threshold threshold_ rrelu rrelu_ hardshrink softshrink dropout dropout_ feature_dropout
    feature_dropout_ alpha_dropout alpha_dropout_ feature_alpha_dropout
""".split()
FUNCTIONS = """
    exp exp_ exp2 expm1 log log_ log2 log10 log1p sqrt sqrt_ rsqrt rsqrt_ abs abs_ neg neg_ square square_
    reciprocal reciprocal_ sin sin_ cos cos_ tan sinh cosh asin acos atan erf erf_ erfc erfinv sign sgn floor floor_
    ceil round trunc frac clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ clip clip_ nan_to_num nan_to_num_
    isnan isinf isfinite logical_not logical_not_ bitwise_not bitwise_not_ positive real angle absolute
    absolute_ arccos arccosh acosh acosh_ arcsin arcsinh asinh asinh_ arctan arctanh atanh atan_ acos_ asin_ ceil_
    cosh_ sinh_ tan_ deg2rad rad2deg lgamma erfc_ erfinv_ exp2_ expm1_ log1p_ log2_ log10_ fix fix_ frac_
    trunc_ round_ sgn_ sign_ negative negative_ signbit sinc sinc_ i0 isneginf isposinf isreal special_entr
    special_erf special_erfc special_erfcx special_erfinv special_exp2 special_expit special_expm1 special_gammaln
    special_i0 special_i0e special_i1 special_i1e special_log1p special_log_ndtr special_ndtr special_ndtri
    special_round special_sinc
""".split()
COMBINATIONS = """
    add add_ sub sub_ mul mul_ div div_ rsub pow pow_ fmod remainder floor_divide maximum minimum fmax fmin atan2
    hypot xlogy logaddexp copysign lerp lerp_ addcmul addcmul_ addcdiv addcdiv_ where masked_fill masked_fill_ eq ne
    lt le gt ge logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_and_ bitwise_or_
    __and__ __or__ __xor__ eq_ isclose ne_ lt_ le_ gt_ ge_ not_equal not_equal_ greater greater_ greater_equal
    greater_equal_ less less_ less_equal less_equal_ logical_and_ logical_or_ logical_xor_ bitwise_xor_ __iand__
    __ior__ __ixor__ __lshift__ __rshift__ bitwise_left_shift bitwise_right_shift arctan2 arctan2_ atan2_ divide
    divide_ true_divide true_divide_ multiply multiply_ subtract subtract_ float_power fmod_ remainder_
    floor_divide_ copysign_ hypot_ xlogy_ heaviside heaviside_ logaddexp2 ldexp ldexp_ nextafter special_xlogy
    special_xlog1py gcd lcm complex polar
""".split()
COPIES = "detach_ zero_ fill fill_ expand_as zeros_like ones_like empty_like full_like".split()
# Of what is drawn, the recorder notices whether it was (dropout draws in training mode only), and that limits channels.
DRAWS = """
    rand_like randn_like bernoulli bernoulli_ uniform_ normal_ exponential_ random_ geometric_ cauchy_ log_normal_
    poisson binomial _standard_gamma
""".split()
KEEPING = """
    alias clone detach contiguous lift_fresh lift_fresh_copy type_as conj _conj conj_physical resolve_conj
    resolve_neg requires_grad_
""".split()


def overloads(names: list[str]) -> Iterator[torch._ops.OpOverload]:
    """Every variant of these operators that returns one tensor and is not given where to write it."""
    for name in names:
        packet = getattr(aten, name)
        for variant in packet.overloads():
            op = getattr(packet, variant)
            returned = op._schema.returns
            elsewhere = any(argument.is_out for argument in op._schema.arguments)
            if len(returned) == 1 and str(returned[0].type) == "Tensor" and not elsewhere:
                yield op


FACTORS = {aten.mul.Tensor, aten.mul_.Tensor, aten.div.Tensor, aten.div_.Tensor, aten.mul.Scalar, aten.div.Scalar}


@rule(*overloads([*ACTIVATIONS, *FUNCTIONS, *COMBINATIONS, *COPIES, *DRAWS]), aten.copy_.default)
@rule(
    aten.max.other,
    aten.min.other,
    aten.imag.default,
    aten.normal.Tensor_Tensor,
    aten.normal.Tensor_float,
    aten.normal.float_Tensor,
)
def pointwise(couple: Coupling, *args: Any, **kwargs: Any) -> list[Axis]:
    """Each output element depends on the elements at its own place only."""
    for given in (*args, *kwargs.values()):
        if isinstance(given, Root) and couple.call.op in FACTORS and isinstance(args[0], Value) and given is args[1]:
            power = -given.power if "div" in couple.call.op._schema.name else given.power
            couple.root(args[0], couple.sizes.axis(given.source, couple.where), power)
            continue
        couple.number(given)
    return couple.broadcast(*(a for a in (*args, *kwargs.values()) if isinstance(a, Value)))


@rule(*overloads(KEEPING), aten.to.device, aten.to.dtype, aten.to.dtype_layout, aten.to.other, rearranges=True)
def copied(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """The same elements, perhaps in another type or place."""
    return x.axes


@rule(aten.native_dropout.default)
def native_dropout(couple: Coupling, x: Value, *args: Any) -> list[list[Axis]]:
    """The result, and what was kept."""
    return [x.axes, x.axes]


@rule(aten.prelu.default)
def prelu(couple: Coupling, x: Value, weight: Value) -> list[Axis]:
    """One slope per channel (dimension 1), or one for all."""
    if size(weight.axes[0]) > 1 or (len(x.shape) > 1 and x.shape[1] == 1):
        couple.unify(x.axes[1], weight.axes[0])
        couple.use(weight, 0, Role.CARRY, 0.25)
        couple.attribute("num_parameters", weight.axes[0])
    else:
        couple.freeze(weight.axes[0], "one slope is shared by all channels")
    return x.axes


@rule(aten.zeros.default, aten.ones.default, aten.full.default, aten.empty.memory_format, aten.rand.default)
@rule(aten.randn.default)
def made(couple: Coupling, shape: list[int], *fill: Any, **kwargs: Any) -> list[Axis]:
    """A new tensor whose sizes the forward gives: they follow whatever they count."""
    for given in fill:
        couple.number(given)
    return [couple.axis_of(length) for length in shape]


@rule(aten.rand.generator, aten.randn.generator)
def made_from(couple: Coupling, shape: list[int], **kwargs: Any) -> list[Axis]:
    """The same, with random numbers of a stream of the forward's own."""
    return [couple.axis_of(length) for length in shape]


@rule(aten.normal.float_float)
def drawn(couple: Coupling, mean: float, deviation: float, shape: list[int], **kwargs: Any) -> list[Axis]:
    """A new tensor of one distribution."""
    return [couple.axis_of(length) for length in shape]


@rule(aten.randint_like.default, aten.randint_like.low_dtype)
def drawn_integers_like(couple: Coupling, like: Value, *bounds: Any, **kwargs: Any) -> list[Axis]:
    """Integers below a bound, as many as another tensor has elements."""
    for given in bounds:
        couple.number(given)
    return like.axes


@rule(aten.randint.default, aten.randint.low, aten.randint.generator, aten.randint.low_generator)
def drawn_integers(couple: Coupling, *args: Any, **kwargs: Any) -> list[Axis]:
    """A new tensor of integers below a bound; the sizes come behind the bounds."""
    *bounds, shape = args
    for given in bounds:
        couple.number(given)
    return [couple.axis_of(length) for length in shape]


@rule(aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default)
def made_like(couple: Coupling, like: Value, shape: list[int], *fill: Any, **kwargs: Any) -> list[Axis]:
    """A new tensor of given sizes; of the old one only the type matters."""
    axes: list[Axis] = made(couple, shape, *fill)
    return axes


@rule(aten.arange.default, aten.arange.start, aten.arange.start_step, aten.linspace.default, aten.eye.default)
@rule(
    aten.eye.m, aten.logspace.default, aten.scalar_tensor.default, aten.tril_indices.default, aten.triu_indices.default
)
@rule(aten.hann_window.default, aten.hann_window.periodic, aten.hamming_window.default, aten.hamming_window.periodic)
@rule(aten.blackman_window.default, aten.bartlett_window.default, aten.fft_fftfreq.default, aten.fft_rfftfreq.default)
@rule(aten.scalar_tensor.default, aten.randperm.default)
def counted(couple: Coupling, *args: Any, **kwargs: Any) -> list[Axis]:
    """Numbers that differ from place to place: nothing that meets them can change, nor what they count up to."""
    for given in args:
        couple.number(given)
    return [couple.fixed(dim, "its places are counted") for dim in range(len(couple.shape))]


@rule(aten._assert_async.default, aten._assert_async.msg, aten.item.default, aten.is_nonzero.default)
@rule(aten.size.int)
def no_tensor(couple: Coupling, *args: Any, **kwargs: Any) -> list[list[Axis]]:
    """Nothing that has axes comes out."""
    return []


@rule(aten.broadcast_tensors.default)
def broadcast_tensors(couple: Coupling, values: list[Value]) -> list[list[Axis]]:
    """All of them with the shape that they have together."""
    axes = couple.broadcast(*values)
    return [axes for _ in values]


@rule(aten.meshgrid.default, aten.meshgrid.indexing)
def meshgrid(couple: Coupling, values: list[Value], **kwargs: Any) -> list[list[Axis]]:
    """Coordinates: each tensor's own axis, in all combinations."""
    for value in values:
        for axis in value.axes:
            couple.freeze(axis, "spread over a grid")
    return [[couple.fixed(dim, "a grid") for dim in range(len(values))] for _ in values]


@rule(aten.outer.default)
def outer(couple: Coupling, left: Value, right: Value) -> list[Axis]:
    """All products of two vectors."""
    return [left.axes[0], right.axes[0]]
