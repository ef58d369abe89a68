"""Products: FLOPs as rules state them, PyTorch counts them and a hand does, at any width; what rules say scales."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from architectures import networks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rule_cases import ADVICE, DISTINCT, build
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netmorph import apply, measure, rule, trace
from netmorph.edit import narrow_all
from netmorph.graph import RULES, Contraction, Coupling, Graph, Value
from netmorph.graph.recording import Call
from netmorph.measure.cost import training_flops
from netmorph.measure.prediction import predict_flops

pytestmark = [pytest.mark.filterwarnings(advice) for advice in ADVICE]

# The two convolutions before the operator of a case.
BEFORE = 2 * 2 * 2 * (4 * 2 * 9) * 16
# By case: the multiply-adds of the operator itself on [2, 4, 4, 4], by hand.
CONTRACTING = {
    "conv1d": 2 * 16 * 12, "conv2d": 2 * 16 * 12, "conv3d": 2 * 16 * 12,
    "conv1d same": 2 * 16 * 12 * 3, "conv2d same": 2 * 16 * 12 * 9, "conv3d same": 2 * 16 * 12 * 27,
    "conv_transpose1d": 2 * 16 * 12 * 2, "conv_transpose2d": 2 * 16 * 12 * 4, "conv_transpose3d": 2 * 16 * 12 * 8,
    "depthwise": 2 * 4 * 8 * 9, "grouped": 2 * 4 * 6 * 2 * 9, "grouped transposed": 2 * 16 * 4 * 3 * 9,
    "grouped transposed to one each": 2 * 16 * 4 * 9, "depthwise transposed": 2 * 16 * 4 * 9,
    "depthwise transposed to two each": 2 * 16 * 8 * 9, "complex weight": 2 * 16 * 4 * 5,
    "complex weight of two": 2 * 16 * 4 * 5, "fused observed fake_quant": 2 * 5 * 4,
    "bilinear": 2 * 5 * 4 * 4 + 2 * 5 * 4, "tensordot": 2 * 4 * 4 * 16, "tensordot weight": 2 * 16 * 4 * 5,
    "inner": 2 * 4 * 4 * 4 * 4, "inner weight": 2 * 16 * 4 * 5, "linalg.matmul weight": 2 * 4 * 5,
    "addmm_": 2 * 4 * 4, "baddbmm_": 2 * 4 * 4 * 4, "addmv_": 2 * 4,
    "convolution": 2 * 16 * 12, "convolution transposed": 2 * 16 * 12, "convolution_backward": 2 * 16 * 16,
    "conv2d of activations": 2 * 2 * 4 * 4 * 4, "pad reflect": 2 * 16 * 12 * 9,
    "linear": 2 * 2 * 64, "linear weight": 2 * 5 * 4, "linear of a transposed weight": 2 * 5 * 4,
    "_weight_norm": 2 * 5 * 4, "_weight_norm of all": 2 * 5 * 4,
    "matmul weight": 2 * 5 * 4, "mm weight": 2 * 5 * 4, "weight matmul": 2 * 5 * 4 * 16,
    "matmul vector": 2 * 16 * 4, "vector matmul": 2 * 16 * 4, "mv": 2 * 4, "dot": 4, "vdot": 4,
    "matmul": 2 * 16 * 4 * 16, "bmm": 2 * 4 * 16 * 4, "addmm": 2 * 5 * 4, "baddbmm": 2 * 4 * 4 * 4, "addmv": 2 * 4,
    "einsum": 2 * 4 * 4 * 4 * 4, "einsum weight": 2 * 4 * 5, "einsum implicit": 2 * 4 * 4 * 4,
    "attention": 2 * 16 * 16 * 8, "attention with a scale": 2 * 16 * 16 * 8,
    "attention of heads": 2 * 4 * 4 * 4 * 8, "attention with a mask": 2 * 4 * 4 * 4 * 8,
    "lstm": 2 * 16 * 12 * 7, "gru": 2 * 16 * 9 * 7, "rnn_tanh": 2 * 16 * 3 * 7, "rnn_relu": 2 * 16 * 3 * 7,
    "lstm packed": 14 * 12 * 7, "gru packed": 14 * 9 * 7, "rnn_tanh packed": 14 * 3 * 7, "rnn_relu packed": 14 * 3 * 7,
    "lstm_cell": 2 * 12 * 7, "gru_cell": 2 * 9 * 7, "rnn_tanh_cell": 2 * 3 * 7, "rnn_relu_cell": 2 * 3 * 7,
}  # fmt: skip


# Products and norms, which have a parameter of their own.
SCALED = """
    conv1d, conv2d, conv3d, conv1d same, conv2d same, conv3d same, conv_transpose1d, conv_transpose2d,
    conv_transpose3d, depthwise, grouped, grouped transposed, pad reflect, linear weight, matmul weight, mm weight,
    weight matmul, matmul vector, vector matmul, mv, dot, vdot, addmm, einsum weight, batch_norm, batch_norm untracked,
    grouped transposed to one each, depthwise transposed, depthwise transposed to two each, bilinear, tensordot weight,
    inner weight, linalg.matmul weight, native_layer_norm, convolution,
    instance_norm, layer_norm, layer_norm of all, rms_norm, group_norm, group_norm of one, group_norm of each
"""
SCALED_CASES = [" ".join(name.split()) for name in SCALED.split(",")]


@dataclass(frozen=True)
class Traced:
    """A case's network, traced once for all that is asked of it."""

    name: str
    graph: Graph
    calls: list[Call]


@pytest.fixture(scope="module", params=DISTINCT)
def traced(request: pytest.FixtureRequest) -> Traced:
    graph = trace(*build(request.param))
    calls = [call for call in graph.recording.calls if call.module.startswith("between")]
    return Traced(request.param, graph, calls)


def test_predicted_counted_and_by_hand(traced: Traced) -> None:
    model, graph = traced.graph.model, traced.graph
    expected = BEFORE + 2 * CONTRACTING.get(traced.name, 0) + 2 * 2 * model.head.weight.numel()
    assert predict_flops(graph).at() == measure.flops(model, graph.inputs) == expected


def test_what_contracts_has_a_hand_count(traced: Traced) -> None:
    assert any(call.contractions for call in traced.calls) == (traced.name in CONTRACTING)


def test_dimensions_that_meet_are_as_long(traced: Traced) -> None:
    for call in traced.calls:
        for contraction in call.contractions:
            weight, (result, *_) = contraction.weight.shape, call.outputs
            for dim, place in contraction.read:
                assert contraction.input is not None
                assert contraction.input.shape[dim] % weight[place] == 0  # each of several groups has so many
            assert all(weight[place] == result.shape[dim] for place, dim in contraction.write)


def test_who_has_scales(traced: Traced) -> None:
    assert any(map(scales, traced.calls)) == (traced.name in SCALED_CASES)


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


@pytest.mark.parametrize("name", SCALED_CASES)
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


@pytest.mark.parametrize("name", CONTRACTING)
def test_at_other_widths(name: str) -> None:
    model, x = build(name)
    graph = trace(model, x)
    check_narrowed(graph, {group.name: group.size // 2 for group in graph.editable() if group.size > 3})


@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.data())
def test_of_random_architectures_at_random_widths(network: tuple[nn.Module, Tensor], data: st.DataObject) -> None:
    graph = trace(*network)
    check_narrowed(graph, {group.name: data.draw(st.integers(1, group.size)) for group in graph.editable()})


def check_narrowed(graph: Graph, widths: dict[str, int]) -> None:
    """Predicted and counted FLOPs agree as the network is, and when it has these widths."""
    flops = predict_flops(graph)
    assert flops.at() == measure.flops(graph.model, graph.inputs)
    predicted = flops.at({graph.group(name).atom: width for name, width in widths.items()})
    if kept := {name: range(width) for name, width in widths.items() if width < graph.group(name).size}:
        apply(graph, narrow_all(graph, kept))
    assert predicted == measure.flops(graph.model, graph.inputs)


RECURRENT = [
    nn.LSTM(5, 6), nn.GRU(5, 6, 2, bidirectional=True), nn.RNN(5, 6, bias=False), nn.LSTM(5, 6, 2, proj_size=4),
]  # fmt: skip


@pytest.mark.parametrize("layer", RECURRENT, ids=str)
def test_recurrent_layers_at_other_widths(layer: nn.RNNBase) -> None:
    inputs, head = nn.Linear(3, 5), nn.Linear((layer.proj_size or 6) * (1 + layer.bidirectional), 2)
    model = Apply(lambda layers, x: layers[2](layers[1](layers[0](x))[0]), nn.ModuleList([inputs, layer, head]))
    graph = trace(model.double(), torch.randn(7, 2, 3, dtype=torch.float64))
    names = [group.name for group in graph.editable()]
    assert names == ["layer.0", "layer.1", *(["layer.1.proj_size"] if layer.proj_size else [])]
    check_narrowed(graph, dict(zip(names, (4, 3, 2), strict=False)))


class Apply(nn.Module):
    """A function of what goes in, and of a layer."""

    def __init__(self, function: Callable[..., Tensor], layer: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs) if self.layer is None else self.function(self.layer, *inputs)


def einsum(equation: str) -> Apply:
    return Apply(lambda *inputs: torch.einsum(equation, *inputs))


def attention(**options: bool) -> Apply:
    return Apply(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options))


def last(layer: nn.Module) -> Apply:
    return Apply(lambda layer, x: layer(x)[0], layer)


# Further forms: the model, the shapes of its inputs, its multiply-adds by hand.
FORMS: dict[str, tuple[nn.Module, list[tuple[int, ...]], int]] = {
    "matrix by vector": (Apply(torch.matmul), [(5, 3), (3,)], 15),
    "vector by matrix": (Apply(torch.matmul), [(3,), (3, 5)], 15),
    "vector by vector": (Apply(torch.matmul), [(3,), (3,)], 3),
    "batches that are broadcast": (Apply(torch.matmul), [(5, 1, 2, 3), (6, 3, 4)], 5 * 6 * 24),
    "addmm scaled": (Apply(lambda b, x, w: torch.addmm(b, x, w, beta=0.5, alpha=2)), [(4,), (2, 3), (3, 4)], 24),
    "linear of a vector": (nn.Linear(3, 4), [(3,)], 12),
    "linear over places": (nn.Linear(3, 4), [(2, 5, 3)], 120),
    "convolution unbatched": (nn.Conv2d(3, 4, 3, stride=2), [(3, 7, 7)], 9 * 4 * 27),
    "convolution dilated": (nn.Conv1d(3, 4, 3, dilation=2), [(2, 3, 9)], 2 * 5 * 4 * 9),
    "transposed strided": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1), [(2, 4, 5, 5)], 2 * 25 * 24 * 9),
    "bilinear by einsum": (einsum("bi,oij,bj->bo"), [(2, 3), (5, 3, 4), (2, 4)], 2 * 5 * 3 * 4 + 2 * 5 * 4),
    "einsum outer": (einsum("a,b->ab"), [(3,), (4,)], 0),
    "einsum element-wise": (einsum("ab,ab->ab"), [(3, 4), (3, 4)], 0),
    "einsum sums one first": (einsum("abc,bd->ad"), [(2, 3, 4), (3, 5)], 2 * 3 * 5),
    "einsum broadcast": (einsum("ab,bc->ac"), [(2, 3), (1, 4)], 0),
    "einsum diagonal": (einsum("aab,bc->ac"), [(2, 2, 3), (3, 4)], 24),
    "einsum chain": (einsum("ab,bc,cd,de->ae"), [(2, 3), (3, 4), (4, 5), (5, 6)], 24 + 40 + 60),
    "einsum late": (einsum("ab,cd,de,bc->ae"), [(2, 3), (4, 5), (5, 6), (3, 4)], 24 * 30 + 12 * 12),
    "einsum dots": (einsum("...ij,...jk"), [(5, 1, 2, 3), (6, 3, 4)], 5 * 6 * 24),
    "einsum along a path": (
        Apply(lambda *inputs: torch.ops.aten.einsum.default("ab,cd,de,bc->ae", inputs, path=[0, 3, 0, 1, 0, 1])),
        [(2, 3), (4, 5), (5, 6), (3, 4)], 24 + 120 + 48,
    ),
    "attention causal": (attention(is_causal=True), [(2, 4, 6, 8)] * 3, 2 * 4 * 6 * 6 * 16),
    "attention across": (attention(), [(2, 4, 6, 8), (2, 4, 5, 8), (2, 4, 5, 3)], 2 * 4 * 6 * 5 * 11),
    "attention with shared keys": (attention(enable_gqa=True), [(2, 4, 6, 8), (2, 2, 5, 8), (2, 2, 5, 8)], 3840),
    "attention without heads": (attention(), [(2, 6, 8)] * 3, 2 * 6 * 6 * 16),
    "lstm both ways, two layers": (last(nn.LSTM(3, 5, 2, bidirectional=True)), [(7, 2, 3)], 14 * 40 * (8 + 15)),
    "lstm projected": (last(nn.LSTM(3, 5, proj_size=2)), [(7, 2, 3)], 14 * (20 * 3 + 20 * 2 + 2 * 5)),
    "gru without bias": (last(nn.GRU(3, 5, bias=False)), [(7, 2, 3)], 14 * 15 * 8),
    "rnn of one sample": (last(nn.RNN(3, 5)), [(7, 3)], 7 * 5 * 8),
    "attention layer": (
        Apply(lambda layer, x: layer(x, x, x)[0], nn.MultiheadAttention(8, 2)), [(5, 2, 8)], 10 * 32 * 8 + 2 * 25 * 16
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_further_forms(name: str, dtype: torch.dtype) -> None:
    model, shapes, expected = FORMS[name]
    inputs = tuple(torch.randn(shape, dtype=dtype) for shape in shapes)
    model = model.to(dtype).eval()
    assert predict_flops(trace(model, inputs)).at() == measure.flops(model, inputs) == 2 * expected


@torch.library.custom_op("flops_contract::project", mutates_args=())
def project(x: Tensor, weight: Tensor) -> Tensor:
    """`[..., in] @ [in, out]`."""
    return x @ weight


def test_an_operator_of_a_user_counts_as_its_rule_states() -> None:
    @rule(torch.ops.flops_contract.project.default)
    def projected(couple: Coupling, x: Value, weight: Value) -> list:
        couple.contract(Contraction((*x.axes, weight.axes[1]), weight, x))
        return [*x.axes[:-1], weight.axes[1]]

    inputs = torch.randn(5, 2, 3), torch.randn(3, 4)
    try:
        model = Apply(project)
        assert predict_flops(trace(model, inputs)).at() == measure.flops(model, inputs) == 2 * 120
    finally:
        del RULES[torch.ops.flops_contract.project.default]


def test_the_gradients_of_vector_products_are_counted() -> None:
    model = Apply(lambda layer, x: torch.mv(x, layer.weight[0]), nn.Linear(3, 1))
    assert training_flops(model, torch.randn(5, 3)) == 2 * 15 + 2 * 15
