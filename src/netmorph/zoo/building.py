"""From a name, or a user's own `module:function`, to a network."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from netmorph.errors import suggest
from netmorph.zoo.layers import InputShape, ModelError
from netmorph.zoo.plain import lenet5, minivgg, mlp
from netmorph.zoo.residual import resnet, resnet9

Constructor = Callable[..., nn.Module]

MODELS: dict[str, Constructor] = {
    "mlp": mlp,
    "lenet5": lenet5,
    "minivgg": minivgg,
    "resnet": resnet,
    "resnet9": resnet9,
}


def build(name: str, input_shape: InputShape, classes: int, **options: Any) -> nn.Module:
    """Build a network.

    Args:
        name: of a network in `MODELS`, or `module:function` for your own.
        input_shape: channels, height, width.
        classes: number of classes, at least two.
        **options: passed on, such as `width=0.25`.

    Raises:
        ModelError: no such network, a shape, class count or option it cannot take, or a function that returns
            something else than an nn.Module.
    """
    constructor = resolve(name)
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ModelError(f"input_shape must be channels, height and width, at least 1 each; got {tuple(input_shape)}")
    if classes < 2:
        raise ModelError(f"a classifier needs at least two classes, got {classes}")
    arguments = {"input_shape": tuple(input_shape), "classes": classes, **options}
    try:
        inspect.signature(constructor).bind(**arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{name} cannot be called with {', '.join(arguments)}: {error}; "
            "it must take input_shape, classes and the options given"
        ) from error
    try:
        model = constructor(**arguments)
    except ModelError:
        raise
    except Exception as error:  # a user's function can raise anything
        told = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise ModelError(f"{name}({told}) failed: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} returned {type(model).__name__}; it must return a torch.nn.Module")
    return model


def resolve(spec: str) -> Constructor:
    """The constructor for a name in `MODELS`, or for `module:function`.

    A user's function is called as `function(input_shape=(C, H, W), classes=K, **options)`. Its module is
    imported, which runs it; the current folder is searched last and stays on the module search path.

    Raises:
        ModelError: no such network, module or function, or something that cannot be called.
    """
    if spec in MODELS:
        return MODELS[spec]
    module_name, colon, attribute = spec.partition(":")
    if not (colon and module_name and attribute):
        raise ModelError(
            f"no network {spec!r}{suggest(spec, MODELS)}; choose from {', '.join(MODELS)}, "
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
