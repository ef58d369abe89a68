"""From a name, or a user's own `module:function`, to a network."""

import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.errors import suggest
from netmorph.lazy import built_by, check_sized
from netmorph.memory import OutOfMemory, check_fits
from netmorph.zoo.inception import inception_resnet_small, inception_resnet_v2
from netmorph.zoo.layers import InputShape, ModelError
from netmorph.zoo.plain import lenet5, minivgg, mlp
from netmorph.zoo.residual import resnet, resnet9
from netmorph.zoo.transformer import gpt

Constructor = Callable[..., nn.Module]

MODELS: dict[str, Constructor] = {
    "mlp": mlp,
    "lenet5": lenet5,
    "minivgg": minivgg,
    "resnet": resnet,
    "resnet9": resnet9,
    "inception_resnet_v2": inception_resnet_v2,
    "inception_resnet_small": inception_resnet_small,
    "gpt": gpt,
}


@dataclass(frozen=True)
class Takes:
    """What a network takes, for those who look at it without data.

    Attributes:
        shape: of one input, where nobody says.
        classes: how many outputs, where nobody says.
        draw: random inputs [N, *shape], from the shape [N, *shape], the classes and a generator.
    """

    shape: InputShape
    classes: int
    draw: Callable[[tuple[int, ...], int, torch.Generator], Tensor]


NUMBERS = Takes((3, 32, 32), 10, lambda shape, classes, generator: torch.randn(shape, generator=generator))
TOKENS = Takes((64,), 256, lambda shape, classes, generator: torch.randint(classes, shape, generator=generator))

# Of the networks that take something else than `NUMBERS`.
TAKES = {
    "gpt": TOKENS,
    "inception_resnet_v2": replace(NUMBERS, shape=(3, 299, 299), classes=1000),
    "inception_resnet_small": replace(NUMBERS, shape=(3, 64, 64), classes=200),
}


def takes(name: str) -> Takes:
    """What the network of this name takes; a `module:function` is thought to take images."""
    return TAKES.get(name, NUMBERS)


def example(name: str, input_shape: InputShape, classes: int) -> Tensor:
    """Random inputs on which a network can be traced.

    Args:
        name: as for `build`.
        input_shape: as for `build`.
        classes: as for `build`.

    Returns:
        Always the same two inputs [2, *input_shape] (batch norm can be looked at in training mode too): int64 tokens
        below `classes` for networks that take text, float32 numbers for all others.
    """
    check_fits(8 * math.prod(input_shape), f"an example input of shape {tuple(input_shape)}")
    return takes(name).draw((2, *input_shape), classes, torch.Generator().manual_seed(0))


def build(name: str, input_shape: InputShape, classes: int, **options: Any) -> nn.Module:
    """Build a network.

    Args:
        name: of a network in `MODELS`, or `module:function` for your own.
        input_shape: of one input, without the batch: channels, height and width of images, `(features,)` of a table,
            `(context,)` of text.
        classes: number of outputs: classes, target columns or tokens of the vocabulary; at least one.
        **options: passed on, such as `width=0.25`.

    Raises:
        ModelError: no such network, a shape, class count or option it cannot take, or a function that returns
            something else than an nn.Module, or one whose lazy layers have no weights yet.
        OutOfMemory: a network of `MODELS` would not fit into the machine's memory.
    """
    constructor = resolve(name)
    if min(input_shape, default=0) < 1:
        raise ModelError(
            "input_shape must be the sizes of one input without the batch, at least 1 each, such as (3, 32, 32), "
            f"(features,) or (context,); got {tuple(input_shape)}"
        )
    if classes < 1:
        raise ModelError(f"a network needs at least one output, got classes={classes}")
    arguments = {"input_shape": tuple(input_shape), "classes": classes, **options}
    try:
        inspect.signature(constructor).bind(**arguments)
    except (TypeError, ValueError) as error:
        own = f"takes {', '.join(inspect.signature(constructor).parameters)}" if name in MODELS else None
        raise ModelError(
            f"{name} cannot be called with {', '.join(arguments)}: {error}; "
            f"it {own or 'must take input_shape, classes and the options given'}"
        ) from error
    try:
        if name in MODELS:
            with torch.device("meta"):  # its size, before any memory is taken
                held = sum(tensor.numel() * tensor.element_size() for tensor in constructor(**arguments).parameters())
            check_fits(held, name)
        model = constructor(**arguments)
    except (ModelError, OutOfMemory):
        raise
    except Exception as error:  # a user's function can raise anything
        told = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ModelError(f"{name}({told}) failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} returned {type(model).__name__}; it must return a torch.nn.Module")
    check_sized(model, ModelError, built_by(name))
    return model


def resolve(spec: str) -> Constructor:
    """The constructor for a name in `MODELS`, or for `module:function`.

    A user's function is called as `function(input_shape=(C, H, W), classes=K, **options)`, with the
    shape of one input as `build` tells it. Its module is imported, which runs it; the current folder is searched last
    and stays on the module search path.

    Raises:
        ModelError: no such network, module or function, or something that cannot be called.
    """
    if spec in MODELS:
        return MODELS[spec]
    module_name, colon, attribute = spec.partition(":")
    if not (colon and module_name and attribute) or os.sep in module_name:
        path = ", file or folder" if os.sep in spec else ""
        raise ModelError(
            f"no network{path} {spec!r}{suggest(spec, MODELS)}; choose from {', '.join(MODELS)}, "
            "or give your own as module:function"
        )
    constructor = getattr(_import(module_name), attribute, None)
    if constructor is None:
        names = vars(sys.modules[module_name])
        raise ModelError(
            f"the module {module_name} has no {attribute!r}{suggest(attribute, names)}; "
            "define a function of that name there"
        )
    if not callable(constructor):
        raise ModelError(
            f"{spec} is {type(constructor).__name__}, not a function; "
            "it must be callable as function(input_shape=(C, H, W), classes=K)"
        )
    return constructor  # type: ignore[no-any-return]


def _import(name: str) -> Any:
    if os.getcwd() not in sys.path:
        # The installed command does not search the current folder, where users keep their modules.
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(name)
    # Running a user's module can raise anything.
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ModelError(
                f"no module {name!r}; run from the folder that holds it, install it, or check the name "
                "(a module's name has no .py)"
            ) from error
        raise ModelError(f"importing {name} failed: {type(error).__name__}: {error}; mend that module") from error
