"""From what the user types for a network to the network, and inputs on which it can be traced."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from netmorph import zoo
from netmorph.chain.learnt import KEPT, Kept
from netmorph.cli.ending import WrongUse
from netmorph.edit import Journal
from netmorph.edit.journal import LoadError, told_base
from netmorph.errors import NetmorphError, suggest
from netmorph.lazy import built_by, check_sized
from netmorph.run.opening import file_of, load, run_and_id
from netmorph.zoo import ModelError
from netmorph.zoo.vision import vision_library

LIBRARIES = ("timm", "torchvision")
SUFFIX = ".safetensors"
CHAIN = "netmorph.chain:network_of"


@dataclass(frozen=True)
class Wanted:
    """A network as asked for on the command line.

    Attributes:
        model: a network of the zoo, `module:function`, `timm:name`, `torchvision:name`, a file that `save` wrote, a
            run's folder, `RUN:ID`, or the folder of a chain.
        base: what a file's network was built from, in the same words.
        shape: of one input, without the batch; None for the network's own.
        classes: how many outputs; None for the network's own.
        options: arguments of the constructor.
    """

    model: str
    base: str | None = None
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    options: dict[str, Any] | None = None


def other_than(wanted: Wanted, against: str | None, base: str | None, options: dict[str, Any]) -> Wanted | None:
    """The network that another one is compared with, in the same shape and with as many classes; None if none is.

    Raises:
        NetmorphError: something is said of the other network, but not which one it is.
    """
    if against is not None:
        return replace(wanted, model=against, base=base, options=options)
    if base or options:
        raise WrongUse("--against-option and --against-base are of the other network; name it with --against")
    return None


def is_chain(model: str) -> bool:
    """Whether this is the folder of a chain that was found."""
    return (Path(model) / KEPT).is_file()


def check_known(model: str) -> None:
    """Refuse a network that there is not, before anything else is asked for or loaded.

    Raises:
        NetmorphError: there is no such name, function, file or run.
    """
    library, colon, _ = model.partition(":")
    if is_chain(model) or run_and_id(model)[0] is not None or (colon and library in LIBRARIES):
        return
    if model.endswith(SUFFIX):
        _check_there(Path(model))
    else:
        zoo.resolve(model)


def start(model: str | None, options: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """The network that a training begins with, by a name that a run can keep, and its constructor's arguments.

    The folder of a chain is the function that reads it.
    """
    if model is None or not is_chain(model):
        return model, options
    return CHAIN, {"folder": str(Path(model).resolve()), **options}


def check_same_chain(model: str | None, options: Mapping[str, Any]) -> None:
    """Refuse to go on with another chain than a run began with.

    Args:
        options: the constructor's arguments that the run keeps.
    """
    _, given = start(model, {})
    if given and given["folder"] != options.get("folder"):
        own = options.get("folder")
        raise NetmorphError(f"the run began with the chain in {own}, and goes on with it; got {model}")


def shape_of(text: str | None) -> tuple[int, ...] | None:
    """`3x224x224` as numbers."""
    if text is None:
        return None
    try:
        shape = tuple(map(int, text.lower().split("x")))
    except ValueError:
        shape = (0,)
    if min(shape) < 1:
        raise WrongUse(f"--input takes the sizes of one input without the batch, such as 3x224x224; got {text!r}")
    return shape


def network(wanted: Wanted) -> tuple[nn.Module, Any, Journal]:
    """The network, example inputs, and the journal of its edits.

    Raises:
        NetmorphError: there is no such network, or it cannot be built as asked.
    """
    path = Path(wanted.model) if is_chain(wanted.model) else file_of(wanted.model)
    if path.suffix != SUFFIX:
        if wanted.base is not None:
            raise WrongUse(f"--base is for networks in a file, *{SUFFIX}, or of a run; got {wanted.model}")
        model, inputs = _built(wanted, wanted.model)
        return model, inputs, ()
    base, inputs = _base_of(wanted, path)
    model, journal = load(path, lambda: base)
    return model, inputs, journal


def edited(wanted: Wanted) -> tuple[Callable[[], nn.Module], Any, Journal]:
    """What makes the network of before its first edit, example inputs, and the journal.

    Raises:
        NetmorphError: as `network`.
    """
    _, inputs, journal = network(wanted)
    path = file_of(wanted.model)
    return lambda: _base_of(wanted, path)[0], inputs, journal


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise LoadError(f"there is no file {path}; expected one that netmorph.save wrote, a run's folder, or RUN:ID")


def _base_of(wanted: Wanted, path: Path) -> tuple[nn.Module, Any]:
    """The network that a file's edits began with, and example inputs."""
    _check_there(path)
    told = told_base(path)
    name, arguments = (told.name, dict(told.arguments)) if told else (None, {})
    if wanted.base is not None:
        known = arguments if name == wanted.base else {}  # of this base the file knows how it was called
        shape, classes = known.pop("input_shape", None), known.pop("classes", None)
        asked = replace(
            wanted,
            shape=wanted.shape or (tuple(shape) if shape else None),
            classes=wanted.classes or classes,
            options={**known, **(wanted.options or {})},
        )
        return _built(asked, wanted.base)
    if told is None or told.name not in zoo.MODELS:
        raise LoadError(
            f"{path} holds edits and weights; say with --base which network was edited, such as --base "
            f"{told.name if told else 'mypackage.nets:build'} (a name in a file is not imported on its own)"
        )
    inputs = zoo.example(told.name, wanted.shape or tuple(arguments["input_shape"]), arguments["classes"])
    try:
        return told.build(), inputs
    except (TypeError, ValueError) as error:
        raise LoadError(f"{path}: its base {told.name} cannot be built with {arguments}: {error}") from error


def _built(wanted: Wanted, name: str) -> tuple[nn.Module, Any]:
    library, colon, rest = name.partition(":")
    options = wanted.options or {}
    if is_chain(name):
        kept = Kept.load(Path(name) / KEPT)
        return kept.network, kept.input.example()
    if colon and library in LIBRARIES:
        return _of_library(library, rest, wanted.shape, options)
    takes = zoo.takes(name)
    shape, classes = wanted.shape or takes.shape, wanted.classes or takes.classes
    if name in zoo.MODELS:
        return zoo.build(name, shape, classes, **options), zoo.example(name, shape, classes)
    return _own(name, shape, classes, options)


def _own(name: str, shape: tuple[int, ...], classes: int, options: dict[str, Any]) -> tuple[nn.Module, Any]:
    """A user's function; it may return the network, or the network and its example inputs."""
    function = zoo.resolve(name)
    arguments = {"input_shape": shape, "classes": classes}
    try:
        takes = inspect.signature(function).parameters
        all_names = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
        arguments = {key: value for key, value in arguments.items() if key in takes or all_names} | options
        made = function(**arguments)
    except Exception as error:  # a user's function can raise anything
        told = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ModelError(f"{name}({told}) failed: {type(error).__name__}: {error}") from error
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, zoo.example(name, shape, classes))
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{name} returned {type(model).__name__}; it must return a torch.nn.Module, or one and its example inputs"
        )
    check_sized(model, ModelError, built_by(name))
    return model, inputs


def _of_library(
    library: str, name: str, shape: tuple[int, ...] | None, options: dict[str, Any]
) -> tuple[nn.Module, Any]:
    package = vision_library(library)
    models = importlib.import_module("torchvision.models") if library == "torchvision" else package
    if name not in models.list_models():
        raise ModelError(f"{library} has no model {name!r}{suggest(name, models.list_models())}")
    create = models.get_model if library == "torchvision" else models.create_model
    try:
        model = create(name, **options)
    except (TypeError, ValueError, RuntimeError, AssertionError, KeyError) as error:
        raise ModelError(f"{library} cannot build {name} with {options}: {type(error).__name__}: {error}") from error
    return model, _random(shape or _own_shape(library, models, name))


def _own_shape(library: str, models: ModuleType, name: str) -> tuple[int, ...]:
    """Of the images that a network was made for, as its library tells."""
    if library == "timm":
        shape: tuple[int, ...] = models.get_pretrained_cfg(name).input_size
        return shape
    length: int = models.get_model_weights(name).DEFAULT.transforms.keywords["crop_size"]
    return 3, length, length


def _random(shape: tuple[int, ...]) -> torch.Tensor:
    """Two inputs, so that batch norm can be looked at in training mode too."""
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
