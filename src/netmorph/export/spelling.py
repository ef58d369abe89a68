"""How an operator call reads in Python: the table of spellings, and what to do for the rest."""

from __future__ import annotations

import inspect
import keyword
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from netmorph.export.merge import Step
from netmorph.graph.value import Value

Show = Callable[[str, Any], str]  # the text of the argument of this name

# Operators with a tensor method, or a function in `torch`, that takes the same arguments in the same order; a method is
# called on the argument `self`, whichever place that has.
METHODS = set(
    """abs add all amax amin any argmax argmin bernoulli bmm chunk clamp clamp_max clamp_min clone contiguous copy cos
    cumsum detach div eq erf exp expand expand_as flatten flip float floor gather ge gt index_select le
    log log_softmax logical_and logical_not logical_or lt masked_fill matmul max mean min movedim mul ne neg new_empty
    new_full new_ones new_zeros norm normal permute pow prod random relu repeat repeat_interleave reshape roll round
    rsqrt scatter sigmoid sign sin softmax split sqrt square squeeze std sub sum t tanh to topk transpose tril triu
    type_as reshape_as sort trunc unbind unflatten unfold uniform unsqueeze var view view_as zero""".split()
)
FUNCTIONS = set(
    """addcmul addmm arange baddbmm bucketize cat concat cross einsum empty empty_like eye fill full full_like linspace
    maximum meshgrid minimum ones ones_like outer rand rand_like randn randn_like scalar_tensor stack where zeros
    zeros_like""".split()
)
# Functions of torch.nn.functional with the operator's names of arguments (but for those renamed or left out).
FUNCTIONAL = set(
    """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d avg_pool1d avg_pool2d avg_pool3d celu conv1d conv2d
    conv3d conv_transpose1d conv_transpose2d conv_transpose3d dropout gelu glu group_norm hardsigmoid hardswish
    hardtanh layer_norm leaky_relu linear max_pool1d max_pool2d max_pool3d mish pad pixel_shuffle pixel_unshuffle prelu
    relu6 rms_norm scaled_dot_product_attention selu silu softplus""".split()
)
RENAMED = {"train": "training", "self": "input"}
BY_NAME = ("alpha",)  # in front of others, it was an argument of another meaning
LEFT_OUT = ("cudnn_enabled", "cudnn_enable", "layout", "pin_memory")
INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "matmul": "@"}


def spelled(step: Step, show: Show) -> str:
    """The call as an expression.

    Args:
        show: the text of one argument, from its name and value.
    """
    op = step.call.op
    name = op._schema.name.removeprefix("aten::")
    base = name.removesuffix("_")
    positional = [argument.name for argument in op._schema.arguments if not argument.kwarg_only]
    arguments = dict(zip(positional, step.args, strict=True)) | step.kwargs
    given = _without_defaults(step, arguments)
    written_to = [argument.name for argument in op._schema.arguments if argument.is_out]
    if written_to == ["out"] and name in INFIX:
        return f"torch.{name}({_listed(step, given, show)})"
    if op.namespace == "aten" and not written_to:
        if name in SPECIAL:
            text = SPECIAL[name](given, show)
            if text is not None:
                return text
        if base in FUNCTIONAL and "generator" not in given and (base == name or _has_inplace(base)):
            inplace = {"inplace": True} if base != name else {}
            return f"F.{base}({_listed(step, given | inplace, show)})"
        if base in METHODS and name in dir(Tensor) and _is_tensor(step):
            others = {key: value for key, value in given.items() if key != "self"}
            return f"{show('self', given['self'])}.{name}({_listed(step, others, show, without='self')})"
        if name in FUNCTIONS:
            return f"torch.{name}({_listed(step, given, show)})"
    shown = [show(name, value) for name, value in zip(positional, step.args, strict=True)]
    named = [f"{name}={show(name, value)}" for name, value in step.kwargs.items()]
    packet, _, overload = str(op).rpartition(".")
    return f"{attribute(f'torch.ops.{packet}', overload)}({', '.join(shown + named)})"


def attribute(owner: str, key: str) -> str:
    """`owner.key`, also where the key is no identifier."""
    plain = key.isidentifier() and not keyword.iskeyword(key)
    return f"{owner}.{key}" if plain else f"getattr({owner}, {key!r})"


def _has_inplace(name: str) -> bool:
    function = vars(F)[name]
    return isinstance(function, FunctionType) and "inplace" in inspect.signature(function).parameters


def _is_tensor(step: Step) -> bool:
    """Whether the argument that a method is called on is a tensor."""
    return any(
        argument.name == "self" and str(argument.type) == "Tensor" for argument in step.call.op._schema.arguments
    )


def _without_defaults(step: Step, arguments: dict[str, Any]) -> dict[str, Any]:
    given = {}
    for argument in step.call.op._schema.arguments:
        if argument.name in LEFT_OUT or argument.name not in arguments:
            continue
        value = arguments[argument.name]
        default = argument.default_value if argument.has_default_value() else ...
        plain = not isinstance(value, Value)
        if plain and (value == default or (isinstance(value, list) and value and value == [default] * len(value))):
            continue
        given[argument.name] = value
    return given


def _listed(step: Step, given: dict[str, Any], show: Show, without: str = "") -> str:
    """Arguments by position as far as none is left out, then by name."""
    names = [argument.name for argument in step.call.op._schema.arguments if not argument.kwarg_only]
    positional = [name for name in names if name != without]
    texts = []
    for place, (name, value) in enumerate(given.items()):
        in_order = positional[place : place + 1] == [name]
        text = show(name, value)
        texts.append(text if in_order and name not in BY_NAME else f"{RENAMED.get(name, name)}={text}")
    return ", ".join(texts)


def _infix(sign: str) -> Callable[[dict[str, Any], Show], str | None]:
    def text(given: dict[str, Any], show: Show) -> str | None:
        return f" {sign} ".join(show(*entry) for entry in given.items()) if len(given) == 2 else None

    return text


def _batch_norm(given: dict[str, Any], show: Show) -> str:
    x, weight, bias, mean, variance = (
        show(name, given.get(name)) for name in ("input", "weight", "bias", "running_mean", "running_var")
    )
    rest = ", ".join(f"{name}={show(name, given[name])}" for name in ("training", "momentum", "eps"))
    return f"F.batch_norm({x}, {mean}, {variance}, {weight}, {bias}, {rest})"


def _bernoulli(given: dict[str, Any], show: Show) -> str | None:
    if isinstance(given.get("p", 0.5), float):
        return None
    return f"torch.ops.aten.bernoulli.Tensor({show('self', given['self'])}, {show('p', given['p'])})"


def _embedding(given: dict[str, Any], show: Show) -> str | None:
    rows = {"padding_idx", "weight", "indices"}
    if not set(given) <= rows:
        return None
    padding = f", padding_idx={given['padding_idx']}" if "padding_idx" in given else ""
    return f"F.embedding({show('indices', given['indices'])}, {show('weight', given['weight'])}{padding})"


def _slice(given: dict[str, Any], show: Show) -> str | None:
    start, end, step = (given.get(name) for name in ("start", "end", "step"))
    dim = given.get("dim", 0)
    bounds = [
        "" if start in (None, 0) else show("start", start),
        "" if end is None or end == sys.maxsize else show("end", end),
        *([show("step", step)] if step not in (None, 1) else []),
    ]
    return _picked(given["self"], dim, ":".join(bounds), show)


def _picked(x: Any, dim: int, text: str, show: Show) -> str | None:
    if dim < -1:
        return None
    return f"{show('self', x)}[{'..., ' if dim == -1 else ':, ' * dim}{text}]"


def _index(given: dict[str, Any], show: Show) -> str:
    places = ", ".join(":" if entry is None else show("indices", entry) for entry in given["indices"])
    return f"{show('self', given['self'])}[{places}]"


SPECIAL: dict[str, Callable[[dict[str, Any], Show], str | None]] = {
    **{name: _infix(sign) for name, sign in INFIX.items()},
    "batch_norm": _batch_norm,
    "bernoulli": _bernoulli,
    "embedding": _embedding,
    "slice": _slice,
    "select": lambda given, show: _picked(given["self"], given["dim"], show("index", given["index"]), show),
    "index": _index,
    "lift_fresh": lambda given, show: f"{show('self', given['self'])}.clone()",
    "split_with_sizes": lambda given, show: (
        f"{show('self', given['self'])}.split({show('split_sizes', given['split_sizes'])}, {given.get('dim', 0)})"
    ),
}
