"""A traced network as Python code that needs nothing but PyTorch."""

from __future__ import annotations

import inspect
import keyword
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path

from netmorph.export.body import Body, body, is_list, literal
from netmorph.export.check import check
from netmorph.export.errors import ExportError
from netmorph.export.merge import Forward, merged
from netmorph.export.modules import module_statements
from netmorph.export.targets import metadata
from netmorph.files import atomic_write
from netmorph.graph import Graph
from netmorph.graph.running import Inputs
from netmorph.graph.value import Value
from netmorph.tensor_files import check_types, write_tensors

RESERVED = {"self", "torch", "nn", "F", "batch", "device"}
SMALL = 64  # captured tensors up to so many numbers are written into the code
LISTED = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16}
LISTED |= {torch.float32, torch.float64, torch.complex64, torch.complex128}  # the others take no list of numbers
TITLE = "written by netmorph as plain PyTorch"  # so begins code that may be overwritten
BEGINNING = 1000
MARK = "netmorph.export"  # in the metadata of weights that `write_code` wrote: those may be overwritten

HEADER = '''"""{title}

    from {module} import load
    network = load()  # with the weights of {module}.safetensors beside this file

It takes {takes}, in that order.{notes}
"""

from __future__ import annotations

from pathlib import Path
{imports}
import torch
{functional}from safetensors.torch import load_file
from torch import nn

{definitions}
class Network({kind}):
    def __init__(self) -> None:
        super().__init__()
'''

PAIRS = """    # The file holds complex128 as pairs of float64.
    paired = [name for name in tensors if name in own and own[name].dtype == torch.complex128]
    tensors |= {name: torch.view_as_complex(tensors[name]) for name in paired if tensors[name].dtype == torch.float64}
"""

LOAD = '''

def load(path: str | Path | None = None) -> Network:
    """The network with its weights: those beside this file, or of another file."""
    network = Network()
    tensors = load_file(path or Path(__file__).with_suffix(".safetensors"))
    own = dict(network.named_parameters()) | dict(network.named_buffers())
{pairs}    shapes, given = ({name: tensor.shape for name, tensor in held.items()} for held in (own, tensors))
    if shapes != given:
        different = sorted({name for name, _ in shapes.items() ^ given.items()})
        raise ValueError(f"the weights are of another network: they differ in {different}")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
    return network
'''


def code(graph: Graph) -> str:
    """Python code that defines a traced network, and imports nothing but torch, safetensors and the standard library.

    The code defines `Network`, an `nn.Module` whose parameters and buffers have the names of the original's, so that
    either loads the other's `state_dict`; `load()` reads the weights that `write_code` puts beside it. PyTorch's own
    layers stay what they are; what the rest of the model computes is written out call by call. Sizes that count
    channels are attributes, so that the network can be traced and edited again. The batch size stays free, and dropout
    and batch norm follow `.training`, where the model can be recorded that way; the code's first lines tell otherwise.
    Other sizes of the example inputs are those of the code, which refuses others if it depends on them. What the
    forward runs with gradients switched off stands under `torch.no_grad()`; custom autograd functions, and hooks on
    tensors and parameters, are copied as text with all that they use.

    The code is run before it is given. It must compute what the model does, leave the same in its buffers, and give the
    same gradients of parameters and inputs (in float64, if the model can be copied and computes in that), to 1e-10
    (float64) or 1e-4 relative: in eval mode, and in training mode with the same seed, where that mode was recorded and
    the model gives the same twice.

    Raises:
        ExportError: the model returns something else than tensors in tuples, lists and dicts; a custom function or a
            hook uses more than torch, numbers and functions of files; or the code does not compute what the model does,
            or does not train as it does.
    """
    return _written(graph, "network")[0]


def write_code(graph: Graph, path: str | Path) -> Path:
    """Write `code(graph)` to a file `*.py`, and the weights beside it to `*.safetensors`.

    Older files that this function wrote are replaced, and no others. Both files are complete before
    the first one gets its name, the weights.

    Returns:
        The path of the weights.

    Raises:
        ExportError: see `code`; or the name is not that of a Python file; or one of the files is there and holds
            something else.
        SaveError: a file could not be written.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise ExportError(f"code goes into a file that Python can import, such as network.py; got {path}")
    weights = path.with_suffix(".safetensors")
    if path.is_file() and TITLE not in path.read_bytes()[:BEGINNING].decode(errors="replace"):
        raise ExportError(
            f"{path} exists and was not written by netmorph. Give the code another name, or move that file"
        )
    if os.path.exists(weights) and MARK not in (metadata(weights) or {}):
        raise ExportError(
            f"the weights would go into {weights}, which exists and holds something else: perhaps the network that "
            "netmorph.save wrote. Give the code another name, or move that file"
        )
    text, tensors = _written(graph, path.stem)

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")
        atomic_write(weights, lambda beside: write_tensors(tensors, beside, {MARK: f"the weights of {path.name}"}))

    atomic_write(path, write)
    return weights


def _written(graph: Graph, name: str) -> tuple[str, dict[str, Tensor]]:
    check_types(_held(graph.model))
    forward = merged(graph)
    arguments, extraction, inputs = _inputs(graph, forward)
    made = body(graph.model, forward, inputs)
    checks = _shape_checks(forward, inputs, made.follows_shape)
    statements = [*extraction, *checks, *made.statements]
    modules = module_statements(graph.model, made)
    text = "".join(
        (
            _header(graph, forward, made, name, inputs),
            _lines(modules),
            _lines(_constants(made, forward)),
            f"\n    def forward({', '.join(['self', *arguments])}):\n",
            _lines(statements),
        )
    )
    tensors = {
        tensor_name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for tensor_name, tensor in _tensors(graph.model, made, forward).items()
    }
    pairs = PAIRS if any(tensor.dtype == torch.complex128 for tensor in tensors.values()) else ""
    text += LOAD.replace("{pairs}", pairs)
    check(graph, forward, text, tensors)
    return text, tensors


def _lines(statements: list[str]) -> str:
    return "".join(f"        {line}\n" if line else "\n" for line in statements)


def _header(graph: Graph, forward: Forward, made: Body, name: str, inputs: dict[Value, str]) -> str:
    takes = ", ".join(f"{told} {_shape(value, forward)}" for value, told in inputs.items())
    copies = made.copies
    text = "\n".join([*made.statements, *copies.definitions])
    return HEADER.format(
        title=f"{type(graph.model).__name__}, {TITLE}.",
        module=name,
        takes=takes,
        notes=f"\n{forward.note}".replace("\\", "/").replace('"', "'") if forward.note else "",
        kind="nn.ModuleList" if is_list(graph.model) else "nn.Module",
        functional="import torch.nn.functional as F\n" if "F." in text else "",
        imports="".join(f"{line}\n" for line in copies.imports),
        definitions="".join(f"\n{text}\n\n" for text in copies.definitions),
    )


def _shape(value: Value, forward: Forward) -> str:
    sizes = ["N" if _follows(value, forward) and not dim else str(size) for dim, size in enumerate(value.shape)]
    return f"[{', '.join(sizes)}]"


def _follows(value: Value, forward: Forward) -> bool:
    return forward.free and bool(value.shape) and value.shape[0] == forward.batch


def _shape_checks(forward: Forward, inputs: dict[Value, str], needed: bool) -> list[str]:
    if not needed and forward.free:
        return []
    lines = []
    for value, name in inputs.items():
        free = _follows(value, forward)
        lines += [
            f"if {name}.shape{'[1:]' if free else ''} != {value.shape[free:]}:",
            f'    raise ValueError(f"{name} must be {_shape(value, forward)}, not {{tuple({name}.shape)}}")',
        ]
    return lines


def _inputs(graph: Graph, forward: Forward) -> tuple[list[str], list[str], dict[Value, str]]:
    """The names of the arguments, statements that take tensors out of nested ones, and the name of each tensor."""
    given: Inputs = graph.inputs
    if isinstance(given, dict):
        named = list(given.items())
    else:
        parameters = inspect.signature(graph.model.forward).parameters.values()
        known = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        named = list(zip([*known, *(f"x{n}" for n in range(len(known), len(given)))], given, strict=False))
    left = iter(forward.inputs)
    arguments, extraction, names = [], [], {}
    for told, value in named:
        name = f"{told}_" if told in RESERVED or keyword.iskeyword(told) or not told.isidentifier() else told
        tensors = [(keystr(path), leaf) for path, leaf in tree_flatten_with_path(value)[0] if isinstance(leaf, Tensor)]
        arguments += [name] if tensors else []
        for number, (place, _) in enumerate(tensors):
            inner = f"{name}_{number}" if place else name
            extraction += [f"{inner} = {name}{place}"] if place else []
            names[next(left)] = inner
    return arguments, extraction, names


def _constants(made: Body, forward: Forward) -> list[str]:
    lines = []
    for value, name in made.constants.items():
        tensor = forward.constants[value]
        small = tensor.numel() <= SMALL and tensor.dtype in LISTED
        dtype = f"dtype={tensor.dtype}"
        shape = tuple(tensor.shape)
        text = f"torch.tensor({literal(tensor.tolist())}, {dtype})" if small else f"torch.zeros({shape}, {dtype})"
        lines.append(f"self.register_buffer({name!r}, {text}, persistent=False)")
    return lines


def _tensors(model: nn.Module, made: Body, forward: Forward) -> dict[str, Tensor]:
    return _held(model) | {name: forward.constants[value] for value, name in made.constants.items()}


def _held(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())
