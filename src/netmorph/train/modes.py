"""Train and eval mode for a while, module by module."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a model in train or eval mode for a while; every module gets its own mode back afterwards.

    What `stays_in_eval` names is in eval mode in both cases.
    """
    modes = [(module, module.training) for module in model.modules()]
    resting = stays_in_eval(model) if training else []
    try:
        model.train(training)
        for name in resting:
            model.get_submodule(name).training = False
        yield
    finally:
        for module, was in modes:
            module.training = was


def stays_in_eval(model: nn.Module) -> list[str]:
    """Names of the modules that training leaves in eval mode: those that are, beside others in train mode.

    They were put there to stay so, as frozen batch norms are. Where all of a model's modules are in eval mode, the
    model itself only holds them (`nn.Sequential(net.eval())`), and nothing can be told from it.
    """
    modes = {name: module.training for name, module in model.named_modules() if module is not model}
    if not model.training or not any(modes.values()):
        return []
    return [name for name, training in modes.items() if not training]
