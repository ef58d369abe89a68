"""Lazy layers (`nn.LazyLinear` and its kin) have no weights before their first batch: what reads weights says so."""

from torch import nn

from netmorph.errors import NetmorphError
from netmorph.wording import listed


def without_size(model: nn.Module) -> list[str]:
    """Names of the parameters and buffers that the first batch will make."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    return [name for name, tensor in tensors if nn.parameter.is_lazy(tensor)]


RUN = "run the model once on a batch, so that its lazy layers get their weights, then try again"


def built_by(name: str) -> str:
    """What to do where a function builds the network."""
    return f"let {name} run the network that it builds once on a batch, so that its lazy layers get their weights"


def check_sized(model: nn.Module, error: type[NetmorphError] = NetmorphError, remedy: str = RUN) -> None:
    """Refuse a model of which some tensors have no size yet.

    Args:
        error: what is raised.
        remedy: what to do.

    Raises:
        NetmorphError: as the error that is given; there are such tensors.
    """
    lacking = without_size(model)
    if lacking:
        have = "has" if len(lacking) == 1 else "have"
        raise error(f"{listed([repr(name) for name in lacking])} {have} no size yet; {remedy}")
