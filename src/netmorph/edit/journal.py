"""The journal: what the edits made of a network's structure, and files that hold it beside the weights.

An entry records the edit for people, and its effect for rebuilding: the modules put in, the shapes and attributes
that changed. So base constructor + journal + weights rebuild any network without tracing it, and without the rules
that were in force when it was edited.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netmorph import zoo
from netmorph.edit.blocks import GONE, Spec
from netmorph.edit.carry import prepare
from netmorph.edit.plan import Plan
from netmorph.edit.replace import change, change_entries, undone_on_error
from netmorph.edit.snapshot import Before, tensors_of
from netmorph.errors import NetmorphError
from netmorph.files import SaveError, atomic_write
from netmorph.graph.held import look, root
from netmorph.graph.journal import Description, Edits, Entry, Journal, sizes_in
from netmorph.lazy import built_by, check_sized
from netmorph.memory import check_fits
from netmorph.memory_layout import laid_out
from netmorph.tensor_files import DamagedFile, FileError, ForeignFile, read_sealed, read_told, write_sealed

FORMAT = 4
_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
READABLE = (2, 3, FORMAT)  # entries of format 2 tell no inverse, those of 3 put modules into no container


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
                specs = {path: Spec.from_json(told) for path, told in entry.modules}
                modules = {path: spec.build(model, path) for path, spec in specs.items() if not spec.changes_entries}
                inserted = {path: spec.entry(model, path) for path, spec in specs.items() if spec.kind == "entry"}
                removed = [path for path, spec in specs.items() if spec == GONE]
                old = dict(model.named_parameters(remove_duplicate=False))
                change_entries(model, inserted, removed, undo)
                current = tensors_of(model)
                _check_attributes(model, entry)
                _check_size(current, entry)
                tensors = {name: current[name].detach().new_zeros(shape) for name, shape in entry.shapes.items()}
                change(model, modules, tensors, entry.attributes, undo)
                prepare(optimizers, old, dict(model.named_parameters(remove_duplicate=False)), (), {}, {})(undo)
    except LoadError:
        raise
    except Exception as error:  # a file may come from anyone, and ask for anything
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
        SaveError: the file could not be written (a full disk, say), or its format has no such numbers, or lazy layers
            have no weights yet; an older file is untouched.
    """
    check_sized(model, SaveError)
    header = header_of(journal, base)
    atomic_write(Path(path), lambda file: write_sealed(tensors_of(model), file, header))


def header_of(journal: Journal, base: Base | None) -> dict[str, Any]:
    """What a network's file tells beside its tensors: plain values."""
    return {
        "format": FORMAT,
        "base": asdict(base) if base else None,
        "journal": [entry.as_json() for entry in journal],
    }


def load(path: str | Path, base: Callable[..., nn.Module] | None = None) -> tuple[nn.Module, Journal]:
    """Read a network from its file: see `netmorph.load`, which takes runs, too."""
    if isinstance(base, nn.Module):
        raise LoadError("base= takes a function that builds the network before its first edit, not a network")
    path = Path(path)
    return _made(path, *_read(path), base)


def loaded(
    path: Path, header: dict[str, Any], tensors: dict[str, Tensor], base: Callable[..., nn.Module] | None
) -> tuple[nn.Module, Journal]:
    """A network that lies in a file among others: as `load`, of what a file of its own would hold.

    Args:
        path: for messages.
        header: see `header_of`.
    """
    return _made(path, base_in(header), _journal_of(header), tensors, base)


def load_onto(path: str | Path, model: nn.Module, journal: Journal) -> Journal:
    """Give a network the edits that a file tells after those it has, and the file's weights, in place.

    Args:
        journal: of the model; the file's begins with it.

    Returns:
        The file's journal.

    Raises:
        LoadError: see `load`; or the file was edited less often than the model.
    """
    path = Path(path)
    _, whole, tensors = _read(path)
    if len(whole) < len(journal):
        raise LoadError(f"{path} tells {len(whole)} edits, and the network has {len(journal)}: it is another one")
    _filled(path, rebuild(model, whole[len(journal) :]), tensors)
    return (*journal, *whole[len(journal) :])


def _made(
    path: Path,
    told: Base | None,
    journal: Journal,
    tensors: dict[str, Tensor],
    base: Callable[..., nn.Module] | None,
) -> tuple[nn.Module, Journal]:
    model = _own_base(path, told) if base is None else _built(base, told)
    check_sized(model, LoadError, built_by("base="))
    return _filled(path, rebuild(model, journal), tensors), Edits(journal)


def _filled(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> nn.Module:
    """The model with the tensors of a file, as they lay in memory when they were saved."""
    _check_tensors(path, tensors_of(model), tensors)
    change(model, {}, tensors, [], [])
    for name, tensor in tensors_of(model).items():
        if tensor.stride() != tensors[name].stride():
            tensor.data = laid_out(tensor.data, tensors[name].stride())
    return model


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


def _check_attributes(model: nn.Module, entry: Entry) -> None:
    """Refuse what no edit sets: what a module has beside the sizes that it holds, and another kind of value."""
    own = vars(nn.Module()).keys()
    for path, name, value in entry.attributes:
        place = f"{path}.{name}"
        if root(name) in own or "__" in name:
            raise LoadError(f"the journal sets {place}, which is no size")
        try:
            held = look(model.get_submodule(path), name)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError):
            raise LoadError(f"the journal sets {place}, and there is none in the given base") from None
        try:
            plain = sizes_in(held)
        except TypeError:
            raise LoadError(f"the journal sets {place}, which holds {type(held).__name__}, no size") from None
        if isinstance(plain, tuple) is not isinstance(value, tuple):
            raise LoadError(f"the journal sets {place} to {value!r}, and it holds {plain!r}")


def _check_size(current: dict[str, Tensor], entry: Entry) -> None:
    shapes = {name: entry.shapes.get(name, tensor.shape) for name, tensor in current.items()}
    needed = sum(math.prod(shape) * current[name].element_size() for name, shape in shapes.items())
    check_fits(needed, f"the network after {entry.edit}")


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
        tensors, header = read_sealed(path, unsealed=True)
        if header["format"] in READABLE:
            return base_in(header), _journal_of(header), tensors
    except FileNotFoundError:
        raise LoadError(f"there is no file {path}") from None
    except (DamagedFile, ForeignFile) as error:
        raise LoadError(f"{path} is not a network saved by netmorph, or it is damaged: {error}") from error
    except NetmorphError as error:
        raise LoadError(str(error)) from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise LoadError(f"{path} is not a network saved by netmorph, or it is damaged: {error}") from error
    raise LoadError(f"{path} has format {header['format']}; this netmorph reads formats up to {FORMAT}")


def told_base(path: Path) -> Base | None:
    """What a file says that its network was built from, if anything.

    Raises:
        LoadError: it is no network that was saved by netmorph.
    """
    try:
        return base_in(read_told(path))
    except FileNotFoundError:
        raise LoadError(f"there is no file {path}") from None
    except (DamagedFile, ForeignFile) as error:
        raise LoadError(f"{path} is not a network saved by netmorph, or it is damaged: {error}") from error
    except FileError as error:
        raise LoadError(f"{path} is not a network saved by netmorph, or it is damaged: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise LoadError(f"{path} is not a network saved by netmorph, or it is damaged: {error}") from error


def _journal_of(header: dict[str, Any]) -> Journal:
    return tuple(Entry.from_json(entry) for entry in header["journal"])


def base_in(header: dict[str, Any]) -> Base | None:
    """What a header says that its network was built from, if anything."""
    told = header["base"]
    if not told:
        return None
    name, arguments = told["name"], told.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise TypeError(f"a base has a name and arguments, not {told!r}")
    return Base(name, arguments)


def _check_tensors(path: Path, expected: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    def told(tensors: dict[str, Tensor], name: str) -> str:
        return f"{tuple(tensors[name].shape)}" if name in tensors else "missing"

    different = [
        f"{name}: {told(given, name)} in the file, {told(expected, name)} in the base with its journal"
        for name in sorted(expected.keys() | given.keys())
        if told(expected, name) != told(given, name)
    ]
    if different:
        raise LoadError(f"{path} was saved from another base: {_several(different)}")
    kinds = [
        f"{name}: {given[name].dtype} in the file, {tensor.dtype} in the base"
        for name, tensor in expected.items()
        if _kind(given[name]) != _kind(tensor)
    ]
    if kinds:
        raise LoadError(f"{path} holds numbers of another kind than its base: {_several(kinds)}")


def _kind(tensor: Tensor) -> object:
    """Floating-point numbers may be converted to others; all else is what it is."""
    if tensor.is_complex():
        return "complex"
    return "real" if tensor.is_floating_point() else tensor.dtype


def _several(told: list[str]) -> str:
    return "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")
