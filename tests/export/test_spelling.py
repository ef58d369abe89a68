"""Every operator that has a rule is written as Python that computes the same, however the network calls it.

The arguments are made up from each operator's schema: nothing has to be added here for a new rule, as long as some of
the tensors below suit its operator.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.export.merge import Step, complete
from netmorph.export.spelling import spelled
from netmorph.graph.recording import Call
from netmorph.graph.rules import RULES

Op = torch._ops.OpOverload
Arguments = dict[str, Any]

TRIES = 1000
LEFT_OUT = ("layout", "memory_format", "pin_memory")  # their numbers stand for names


def numbers(*shape: int) -> Tensor:
    """Different numbers between 0 and 1."""
    count = torch.Size(shape).numel()
    return ((torch.arange(count) * 7 % 31 + 1) / 33).reshape(shape)


TENSORS = [
    numbers(2, 4, 6, 6),
    numbers(2, 4, 4),
    numbers(4, 4),
    numbers(4),
    numbers(2, 3),
    numbers(3, 2),
    numbers(4, 4, 3, 3),
    numbers(2, 4, 6, 6, 6),
    numbers(4, 4, 3, 3, 3),
    numbers(4, 4, 3),
    numbers(1),
    torch.tensor(0.5),
    torch.tensor([[0, 1], [1, 0]]),
    torch.tensor([1, 0]),
    torch.tensor([3, 2]),
    torch.tensor(1),
    numbers(4) > 0.5,
    numbers(4, 4) > 0.5,
    numbers(2, 4, 6, 6) > 0.5,
    torch.tensor(True),
    torch.eye(4) * 4 + numbers(4, 4) @ numbers(4, 4).mT,
    numbers(4, 4, 2) + 0.5j,
    numbers(4) + 0.5j,
    numbers(2, 4, 4, 2),
    torch.zeros(4, dtype=torch.int32),
    torch.tensor([[0, 1, 3, 2]] * 4),
]
VALUES: dict[str, list[Any]] = {
    "Tensor": TENSORS,
    "Optional[Tensor]": [None, *TENSORS],
    "List[Tensor]": [[numbers(4), numbers(4)], [numbers(2, 3), numbers(3, 2)], [numbers(4, 4)] * 4],
    "List[Optional[Tensor]]": [[torch.tensor([1, 0])], [None, torch.tensor([1, 0])]],
    "int": [0, 1, 2, -1, 4],
    "bool": [False, True],
    "float": [0.5, 0.25],
    "number": [2, 0.5],
    "str": ["mean", "zeros", "same", "constant", "ij", "floor", "sum", "amax", "add", "multiply", "linear"],
    "Optional[int]": [1, 2],
    "Optional[float]": [0.25],
    "Optional[bool]": [True],
    "Optional[number]": [0.5, 1],
    "Optional[str]": ["floor", "none", "tanh"],
    "List[int]": [
        [1],
        [2, 2],
        [1, 1],
        [1, 2],
        [2, 3],
        [0, 1],
        [3, 3],
        [1, 0],
        [1, 1, 1],
        [0, 2, 1],
        [0, 1, 3, 2],
        [4, 4, 4],
    ],
    "Optional[List[int]]": [[1], [2, 2], [3, 3], [9, 9], [9], [5, 5, 5]],
    "Optional[List[float]]": [[2.0], [2.0, 2.0], [1.5, 1.5, 1.5]],
    "List[float]": [[2.0], [2.0, 2.0]],
    "Optional[ScalarType]": [torch.float64],
    "List[bool]": [[True, True, True], [True, True], [True]],
    "Optional[Device]": [torch.device("cpu")],
    "Device": [torch.device("cpu")],
    "Optional[Generator]": [None],
}
FLOATS = [tensor for tensor in TENSORS if tensor.is_floating_point()]
# What arguments of these names are, whatever their type.
NAMED: dict[str, list[Any]] = {"bias": [None, *FLOATS], "min_val": [0.25], "dtype": [torch.float64]}
X2, X4, FOUR = numbers(2, 4), numbers(4, 4), numbers(4)
NORM = {"running_mean": FOUR, "running_var": FOUR, "momentum": 0.1, "eps": 1e-5, "cudnn_enabled": False}
CELL = {"input": X2, "w_ih": X4, "w_hh": X4}
PARAMETERS = {"has_biases": False, "num_layers": 1, "dropout": 0.0, "train": False, "bidirectional": False}
BATCHED = {"input": numbers(3, 2, 4), "batch_first": False} | PARAMETERS
PACKED = {"data": numbers(3, 4), "batch_sizes": torch.tensor([2, 1])} | PARAMETERS


def recurrent(gates: int, **state: Any) -> Arguments:
    return {"params": [numbers(4 * gates, 4), numbers(4 * gates, 4)]} | state


def cell(gates: int, **state: Any) -> Arguments:
    return CELL | {"w_ih": numbers(4 * gates, 4), "w_hh": numbers(4 * gates, 4)} | state


STATE, PAIR = {"hx": numbers(1, 2, 4)}, {"hx": [numbers(1, 2, 4), numbers(1, 2, 4)]}
BAG = {
    **{"weight": X4, "indices": torch.tensor([1, 0]), "offsets": torch.tensor([0, 1]), "mode": 0, "sparse": False},
    **{"scale_grad_by_freq": False, "per_sample_weights": None, "include_last_offset": False},
}
POOL = {"self": numbers(2, 4, 6, 6), "kernel_size": [2, 2], "output_size": [3, 3], "random_samples": numbers(2, 4, 2)}
DEEP = {"kernel_size": [2, 2, 2], "output_size": [3, 3, 3], "random_samples": numbers(2, 4, 3)}
CONVOLVED = {
    **{"input": numbers(2, 4, 6, 6), "weight": numbers(4, 4, 3, 3), "stride": [1, 1], "padding": [0, 0]},
    **{"dilation": [1, 1], "transposed": False, "output_padding": [0, 0], "groups": 1},
}
QUANTIZED = {
    **{"self": X4, "scale": FOUR, "axis": 0, "quant_min": 0, "quant_max": 7},
    "zero_point": torch.zeros(4, dtype=torch.int32),
}
ROWS = {"self": X4, "dim": 0, "index": torch.tensor([1, 0])}
SPREAD = {"self": X4, "dim": 0, "index": torch.tensor([[0, 1], [1, 0]]), "src": X2, "reduce": "multiply"}
NORMED = {"input": X2, "normalized_shape": [4], "weight": FOUR, "bias": None}
SPOKEN = {"log_probs": numbers(3, 2, 4).log_softmax(2), "targets": torch.tensor([[1, 2], [2, 1]])}
MANY = {"self": numbers(2, 4, 3), "batch1": numbers(2, 4, 4), "batch2": numbers(2, 4, 3)}
# Where guessing does not lead to arguments that suit; by the operator's name, or by its overload's.
GIVEN: dict[str, Arguments] = {
    "einsum": {"equation": "ij,jk->ik", "tensors": [numbers(2, 3), numbers(3, 2)]},
    **{name: {"self": FOUR, "mat": X4, "vec": FOUR} for name in ("addmv", "addmv_")},
    **{name: {"self": X2, "mat1": X2, "mat2": X4} for name in ("addmm", "addmm_")},
    **dict.fromkeys(("baddbmm", "baddbmm_"), MANY),
    **{name: ROWS | {"source": X2} for name in ("index_copy", "index_copy_", "index_add", "index_add_")},
    **{name: ROWS | {"source": X2, "reduce": "amax"} for name in ("index_reduce", "index_reduce_")},
    **dict.fromkeys(("scatter.reduce", "scatter_.reduce"), SPREAD),
    **{name: SPREAD | {"reduce": "sum"} for name in ("scatter_reduce", "scatter_reduce_")},
    "segment_reduce": {"data": FOUR, "reduce": "sum", "lengths": torch.tensor([3, 1])},
    "affine_grid_generator": {"theta": numbers(2, 2, 3), "size": [2, 4, 3, 3], "align_corners": False},
    "grid_sampler": {
        **{"input": numbers(2, 4, 6, 6), "grid": numbers(2, 3, 3, 2), "interpolation_mode": 0, "padding_mode": 1},
        "align_corners": False,
    },
    "convolution": CONVOLVED | {"bias": FOUR},
    "convolution_backward": CONVOLVED
    | {"grad_output": numbers(2, 4, 4, 4), "bias_sizes": None, "output_mask": [True, True, False]},
    "ctc_loss.IntList": SPOKEN | {"input_lengths": [3, 3], "target_lengths": [2, 1]},
    "ctc_loss.Tensor": SPOKEN | {"input_lengths": torch.tensor([3, 3]), "target_lengths": torch.tensor([2, 1])},
    "fake_quantize_per_channel_affine": QUANTIZED,
    "_fake_quantize_learnable_per_channel_affine": QUANTIZED | {"zero_point": torch.zeros(4)},
    "fractional_max_pool2d": POOL,
    "fractional_max_pool3d": POOL | DEEP | {"self": numbers(2, 4, 6, 6, 6)},
    "linalg_norm.ord_str": {"self": X4, "ord": "fro"},
    "max_unpool2d": {
        "self": numbers(2, 2, 2, 2),
        "indices": torch.arange(16).reshape(2, 2, 2, 2),
        "output_size": [4, 4],
    },
    "max_unpool3d": {
        **{"self": numbers(1, 1, 2, 2, 2), "indices": torch.arange(8).reshape(1, 1, 2, 2, 2), "padding": [0, 0, 0]},
        **{"output_size": [4, 4, 4], "stride": [2, 2, 2]},
    },
    "native_layer_norm": NORMED | {"eps": 1e-5},
    "native_layer_norm_backward": NORMED
    | {"grad_out": X2, "mean": numbers(2, 1), "rstd": numbers(2, 1), "output_mask": [True, True, False]},
    "_log_softmax_backward_data": {"grad_output": X2, "output": X2, "dim": 1, "input_dtype": torch.float32},
    "_softmax_backward_data": {"grad_output": X2, "output": X2, "dim": 1, "input_dtype": torch.float32},
    "nll_loss2d": {"self": numbers(2, 4, 3, 3), "target": torch.zeros(2, 3, 3, dtype=torch.int64)},
    "batch_norm": {"input": X2, "weight": FOUR, "bias": None, "training": False} | NORM,
    "instance_norm": {"input": numbers(2, 4, 4), "weight": FOUR, "bias": None, "use_input_stats": True} | NORM,
    **{f"{name}.Tensor": {"self": FOUR, "min": FOUR / 2} for name in ("clamp", "clamp_", "clip", "clip_")},
    **{name: {"self": FOUR, "min": 0.25} for name in ("clamp", "clamp_", "clip", "clip_")},
    "col2im": {
        "self": numbers(2, 4, 4),
        **{"output_size": [3, 3], "kernel_size": [2, 2], "dilation": [1, 1], "padding": [0, 0], "stride": [1, 1]},
    },
    "embedding_bag.padding_idx": BAG | {"padding_idx": 0},
    "embedding_bag": BAG,
    "scatter.src": {"self": X4, "dim": 0, "index": torch.tensor([[0, 1], [1, 0]]), "src": X2},
    **{
        f"{kind}_pad3d": {"self": numbers(2, 3, 4, 4), "padding": [1, 0, 1, 1, 0, 1]}
        for kind in ("reflection", "replication")
    },
    "gru.data": PACKED | recurrent(3, **STATE),
    "gru.input": BATCHED | recurrent(3, **STATE),
    "lstm.data": PACKED | recurrent(4, **PAIR),
    "lstm.input": BATCHED | recurrent(4, **PAIR),
    "gru_cell": cell(3, hx=X2),
    "lstm_cell": cell(4, hx=[X2, X2]),
    **{f"rnn_{kind}.data": PACKED | recurrent(1, **STATE) for kind in ("relu", "tanh")},
    **{f"rnn_{kind}.input": BATCHED | recurrent(1, **STATE) for kind in ("relu", "tanh")},
    **{f"rnn_{kind}_cell": cell(1, hx=X2) for kind in ("relu", "tanh")},
    **{
        f"{kind}{dims}d{end}": {"input": numbers(2, 4, *[6] * dims), "output_size": [9] * dims, "scale_factors": None}
        | ({} if "nearest" in kind else {"align_corners": False})
        for kind, all_dims, end in (
            ("upsample_nearest", (1, 2, 3), ""),
            ("_upsample_nearest_exact", (1, 2, 3), ""),
            ("upsample_linear", (1,), ""),
            ("upsample_bilinear", (2,), ""),
            ("upsample_bicubic", (2,), ""),
            ("upsample_trilinear", (3,), ""),
            ("_upsample_bilinear", (2,), "_aa"),
            ("_upsample_bicubic", (2,), "_aa"),
        )
        for dims in all_dims
    },
}


def examples(op: Op) -> Iterator[Arguments]:
    """Arguments that the operator takes: the required ones, then with each of the others where that works."""
    chosen = random.Random(str(op))
    schema = [a for a in op._schema.arguments if not a.is_out]
    name = op._schema.name.removeprefix("aten::")
    given = GIVEN.get(f"{name}.{op._overloadname}", GIVEN.get(name))
    needed = [a for a in schema if not a.has_default_value()]
    guesses = ({a.name: chosen.choice(values_of(a)) for a in needed} for _ in range(TRIES))
    made = next((guess for guess in ([given] if given else guesses) if runs(op, guess)), None)
    if made is None:
        return
    yield made
    for argument in schema:
        if argument.has_default_value() and argument.name not in LEFT_OUT:
            more = (made | {argument.name: chosen.choice(values_of(argument))} for _ in range(8))
            yield from itertools.islice((guess for guess in more if runs(op, guess)), 1)


def values_of(argument: Any) -> list[Any]:
    kind = str(argument.type)
    return FLOATS if argument.name == "weight" and kind == "Tensor" else NAMED.get(argument.name, VALUES[kind])


def fresh(tree: Any) -> Any:
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, tree)


def seeded(call: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return call()


def runs(op: Op, given: Arguments) -> bool:
    try:
        made = seeded(lambda: op(**fresh(given)))
    except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError):
        return False
    tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
    return not tensors or any(tensor.numel() for tensor in tensors)


def as_written(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the text of a call computes; its arguments are changed where the operator does so."""
    call = Call(op, args, kwargs, (), "", "")
    step = Step(call, *complete(call))
    names: dict[str, Any] = {}

    def show(_: str, value: Any) -> str:
        if isinstance(value, list):
            return f"[{', '.join(show('', entry) for entry in value)}]"
        if isinstance(value, Tensor | torch.device):
            known = next((name for name, held in names.items() if held is value), f"x{len(names)}")
            names[known] = value
            return known
        return repr(value)

    text = spelled(step, show)
    try:
        return eval(text, {"torch": torch, "F": F} | names)
    except Exception as error:
        raise AssertionError(f"{op} is written {text!r}, which fails: {error}") from error


def assert_written(op: Op, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    one, other = fresh((args, kwargs)), fresh((args, kwargs))
    expected = seeded(lambda: op(*one[0], **one[1]))
    got = seeded(lambda: as_written(op, *other))
    pairs = zip(tree_leaves((expected, one)), tree_leaves((got, other)), strict=True)
    if "empty" in op._schema.name:
        pairs = zip([expected.shape], [got.shape], strict=True)
    for left, right in pairs:
        if isinstance(left, Tensor):
            torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)
        else:
            assert left == right


class Seen(TorchDispatchMode):
    """The operators that a Python function calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Op, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_dispatch__(self, func: Op, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append((func, *fresh((args, kwargs or {}))))
        return func(*args, **(kwargs or {}))


def spellings(op: Op, given: Arguments) -> Iterator[Callable[[], Any]]:
    """How a network may call this: the function in torch, the tensor's method."""
    name = op._schema.name.removeprefix("aten::")
    named = fresh(given)
    if callable(vars(torch).get(name)):
        places = {"self": "input"}
        yield lambda: vars(torch)[name](*named.values())
        yield lambda: vars(torch)[name](**{places.get(key, key): value for key, value in named.items()})
    if isinstance(given.get("self"), Tensor) and name in dir(Tensor):
        rest = {key: value for key, value in named.items() if key != "self"}
        yield lambda: getattr(named["self"], name)(*rest.values())
        yield lambda: getattr(named["self"], name)(**rest)


@functools.cache
def found(op: Op) -> list[Arguments]:
    return [*examples(op)]


def found_with_results(op: Op) -> list[Arguments]:
    """For an operator that puts its results into tensors: what the one that returns them takes, and empty tensors."""
    results = [a.name for a in op._schema.arguments if a.is_out]
    told = {a.name: str(a.type) for a in op._schema.arguments if not a.is_out}
    packet = op.overloadpacket
    every = [getattr(packet, overload) for overload in packet.overloads()]
    alike = [one for one in every if told.items() <= {a.name: str(a.type) for a in one._schema.arguments}.items()]
    returning = next((one for one in alike if not any(a.is_out for a in one._schema.arguments)), None)
    filled = []
    for given in found(returning) if returning else []:
        made = tree_leaves(seeded(functools.partial(returning, **fresh(given))))
        empty = {name: tensor.new_empty(0) for name, tensor in zip(results, made, strict=False) if tensor is not None}
        filled.append({name: given[name] for name in told if name in given} | empty)
    return [given for given in filled if runs(op, given)]


@pytest.mark.filterwarnings("ignore")  # of operators that are given odd numbers
@pytest.mark.parametrize("op", sorted(RULES, key=str), ids=str)
def test_every_rule_is_written_in_both_spellings(op: Op) -> None:
    with torch.inference_mode():
        assert found(op), f"nothing in TENSORS and VALUES suits {op._schema}; add what does, or an entry of GIVEN"
        for given in found(op):
            assert_written(op, (), given)
            for call in spellings(op, given):
                with Seen() as seen:
                    try:
                        call()
                    except (RuntimeError, IndexError, ValueError, TypeError, NotImplementedError):
                        continue
                for called, args, kwargs in seen.calls:
                    assert_written(called, args, kwargs)


def out_overloads() -> list[Op]:
    """Of the operators that have rules, those that put their result into a tensor that they get."""
    packets = {op.overloadpacket for op in RULES if op.namespace == "aten"}
    every = [getattr(packet, overload) for packet in packets for overload in packet.overloads()]
    return sorted((op for op in every if any(a.is_out for a in op._schema.arguments)), key=str)


@pytest.mark.filterwarnings("ignore")
def test_results_in_tensors_that_are_given() -> None:
    covered = set()
    with torch.inference_mode():
        for op in out_overloads():
            for given in found_with_results(op):
                assert_written(op, (), given)
                covered.add(str(op).removeprefix("aten."))
    assert {"div.out", "mul.out", "mv.out", "clamp_min.out", "cat.out", "matmul.out"} <= covered
    assert len(covered) > 500
