"""The journal: what the edits made of a network's structure, and files that hold it beside the weights.

An entry records the edit for people, and its effect for rebuilding: the modules put in, the shapes and attributes
that changed. So base constructor + journal + weights rebuild any network without tracing it, and without the rules
that were in force when it was edited.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from netmorph import zoo
from netmorph.edit.blocks import Spec
from netmorph.edit.carry import prepare
from netmorph.edit.plan import Plan
from netmorph.edit.replace import change, undone_on_error
from netmorph.edit.snapshot import Before, tensors_of
from netmorph.errors import NetmorphError
from netmorph.files import atomic_write
from netmorph.graph.journal import Description, Entry, Journal
from netmorph.tensor_files import restored, write_tensors

FORMAT = 3
_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
READABLE = (2, FORMAT)  # entries of format 2 tell no inverse


class LoadError(NetmorphError):
    """A file does not hold a network, or not one of the given base."""


@dataclass(frozen=True)
class Base:
    """How to build the network that the journal starts from.

    Attributes:
        name: a network of `netmorph.zoo`, or `module:function` of the user's own.
        arguments: `input_shape`, `classes` and whatever else it takes; plain values.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """Call the constructor. A `module:function` is imported: only for names that the user gave."""
        return zoo.build(self.name, **self.arguments)


def entry_of(plan: Plan, edit: Description, error: float, before: Before | None = None) -> Entry:
    """The entry of an edit that was made by this plan."""
    shapes = {name: list(tensor.shape) for name, tensor in plan.tensors.items()}
    replaced = before.parts[0].shapes if before is not None else {}
    return Entry(edit, error, list(plan.specs.items()), shapes, list(plan.attributes), replaced, plan.inverse, before)


def read_back(journal: Journal) -> Journal:
    """The same journal as a file gives it: without the parts that edits replaced, whose memory is free."""
    return tuple(Entry.from_json(json.loads(json.dumps(entry.as_json()))) for entry in journal)


def rebuild(model: nn.Module, journal: Journal, optimizers: Sequence[torch.optim.Optimizer] = ()) -> nn.Module:
    """Give a base model the structure after all edits, in place. Its changed tensors are zero: load weights next.

    Args:
        optimizers: of the base. They get the parameters of the result, in the groups where `apply` would have put them;
            load their state next, too.

    Raises:
        LoadError: the model is not the base that the journal was written for; it is as it was.
    """
    try:
        with undone_on_error() as undo:
            for entry in journal:
                _check_replaced(model, entry)
                modules = {path: Spec.from_json(told).build(model, path) for path, told in entry.modules}
                old, current = dict(model.named_parameters(remove_duplicate=False)), tensors_of(model)
                tensors = {name: current[name].detach().new_zeros(shape) for name, shape in entry.shapes.items()}
                change(model, modules, tensors, entry.attributes, undo)
                prepare(optimizers, old, dict(model.named_parameters(remove_duplicate=False)), (), {}, {})(undo)
    except LoadError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise LoadError(
            f"the journal does not fit this base: {entry.edit} cannot be made again ({type(error).__name__}: {error}). "
            "Was its constructor changed, or called with other arguments?"
        ) from error
    return model


def save(path: str | Path, model: nn.Module, journal: Journal = (), base: Base | None = None) -> None:
    """Write weights, journal and (where given) the base to one safetensors file, in one step.

    Args:
        path: the file, usually `*.safetensors`. An existing file is replaced only when the new one is complete.
        journal: `graph.journal`.

    Raises:
        SaveError: the file could not be written (a full disk, say), or its format has no such numbers; an older one is
            untouched.
    """
    # Each tensor gets memory of its own: the format refuses views of one another.
    tensors = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors_of(model).items()
    }
    header = {
        "format": FORMAT,
        "base": asdict(base) if base else None,
        "journal": [entry.as_json() for entry in journal],
    }
    atomic_write(Path(path), lambda file: write_tensors(tensors, file, {"netmorph": json.dumps(header)}))


def load(path: str | Path, base: Callable[..., nn.Module] | None = None) -> tuple[nn.Module, Journal]:
    """Read a network from its file: see `netmorph.load`, which takes runs, too."""
    if isinstance(base, nn.Module):
        raise LoadError("base= takes a function that builds the network before its first edit, not a network")
    path = Path(path)
    told, journal, tensors = _read(path)
    model = rebuild(_own_base(path, told) if base is None else _built(base, told), journal)
    _check_tensors(path, tensors_of(model), tensors)
    change(model, {}, tensors, [], [])
    return model, journal


def _check_replaced(model: nn.Module, entry: Entry) -> None:
    held = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    found = {name: tuple(tensor.shape) for name, tensor in held}
    different = [
        f"{name}: {tuple(shape)} when it was edited, {found.get(name, 'missing')} in the given one"
        for name, shape in sorted(entry.replaced.items())
        if found.get(name) != tuple(shape)
    ]
    if different:
        raise LoadError(f"the journal was written for another base: {_several(different)}")


def _built(base: Callable[..., nn.Module], told: Base | None) -> nn.Module:
    """What a function of the user's builds; where it needs arguments, with those that the file tells."""
    try:
        parameters = inspect.signature(base).parameters.values()
    except (TypeError, ValueError):  # of a function that is not written in Python
        return base()
    needed = [entry for entry in parameters if entry.default is entry.empty and entry.kind not in _COLLECTING]
    return base(**told.arguments) if told is not None and needed else base()


def _own_base(path: Path, told: Base | None) -> nn.Module:
    if told is None or told.name not in zoo.MODELS:
        where = f"its base is {told.name} with {told.arguments}" if told else "it does not tell its base"
        raise LoadError(
            f"{path}: {where}. Pass base= (--base on the command line), what builds the network before its first edit "
            "(names in files are not imported, so that loading never runs foreign code)"
        )
    try:
        return told.build()
    except (TypeError, ValueError) as error:
        raise LoadError(f"{path}: its base {told.name} cannot be built with {told.arguments}: {error}") from error


def _read(path: Path) -> tuple[Base | None, Journal, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = json.loads(metadata["netmorph"])
            # Copied, because tensors that lie in the file are aligned by the length of its header, and the last bits of
            # a product depend on that.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        if header["format"] in READABLE:
            base = Base(**header["base"]) if header["base"] else None
            return base, tuple(Entry.from_json(entry) for entry in header["journal"]), restored(tensors, metadata)
    except FileNotFoundError:
        raise LoadError(f"there is no file {path}") from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise LoadError(f"{path} is not a network saved by netmorph, or it is damaged: {error}") from error
    raise LoadError(f"{path} has format {header['format']}; this netmorph reads formats up to {FORMAT}")


def _check_tensors(path: Path, expected: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    found = {name: tuple(tensor.shape) for name, tensor in given.items()}
    different = [
        f"{name}: {found.get(name, 'missing')} in the file, {shapes.get(name, 'missing')} in the base with its journal"
        for name in sorted(shapes.keys() | found.keys())
        if shapes.get(name) != found.get(name)
    ]
    if different:
        raise LoadError(f"{path} was saved from another base: {_several(different)}")


def _several(told: list[str]) -> str:
    return "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")
