"""What rules say of products: dimensions that meet are as long, and a result is zero where its scales are."""

from typing import Any

import pytest
import torch
from rule_cases import ADVICE, DISTINCT, build
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netmorph.graph import trace
from netmorph.graph.record import Call

pytestmark = [pytest.mark.filterwarnings(advice) for advice in ADVICE]

# Products and norms, which have a parameter of their own.
SCALED = """
    conv1d, conv2d, conv3d, conv1d same, conv2d same, conv3d same, conv_transpose1d, conv_transpose2d,
    conv_transpose3d, depthwise, grouped, grouped transposed, pad reflect, linear weight, matmul weight, mm weight,
    weight matmul, matmul vector, vector matmul, mv, dot, vdot, addmm, einsum weight, batch_norm, batch_norm untracked,
    grouped transposed to one each, depthwise transposed, depthwise transposed to two each, bilinear, tensordot weight,
    inner weight, linalg.matmul weight, native_layer_norm, convolution,
    instance_norm, layer_norm, layer_norm of all, rms_norm, group_norm, group_norm of one, group_norm of each
"""
NAMES = [" ".join(name.split()) for name in SCALED.split(",")]


def calls_of(name: str) -> list[Call]:
    return [call for call in trace(*build(name)).recording.calls if call.module.startswith("between")]


@pytest.mark.parametrize("name", DISTINCT)
def test_dimensions_that_meet_are_as_long(name: str) -> None:
    for call in calls_of(name):
        for contraction in call.contractions:
            weight, (result, *_) = contraction.weight.shape, call.outputs
            for dim, place in contraction.read:
                assert contraction.input is not None
                assert contraction.input.shape[dim] % weight[place] == 0  # each of several groups has so many
            assert all(weight[place] == result.shape[dim] for place, dim in contraction.write)


class Results(TorchDispatchMode):
    """Keeps what operators return, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[torch._ops.OpOverload, list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.kept.append((func, [leaf.clone() for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]))
        return result


def scales(call: Call) -> list[str]:
    """The parameters that scale a call's result; none where one of its scales is no parameter."""
    names = [value.name for value in call.scales if value.name is not None]
    return names if len(names) == len(call.scales) else []


def test_who_has_scales() -> None:
    assert [name for name in DISTINCT if any(map(scales, calls_of(name)))] == [
        name for name in DISTINCT if name in NAMES
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_zero_where_its_scales_are(name: str) -> None:
    model, x = build(name)
    (call,) = [call for call in trace(model, x).recording.calls if call.module.startswith("between") and scales(call)]
    with torch.inference_mode(), Results() as before:
        model(x)
    with torch.no_grad():
        for parameter in scales(call):
            model.get_parameter(parameter).zero_()
    with torch.inference_mode(), Results() as after:
        model(x)
    places = [place for place, (op, _) in enumerate(before.kept) if op is call.op]
    assert any(bool(before.kept[place][1][0].any()) and not after.kept[place][1][0].any() for place in places)
