"""Errors that PyTorch raises while a network is trained, in words that say what to change."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from netmorph.errors import NetmorphError
from netmorph.memory import out_of_memory
from netmorph.train.recipe import Recipe


class OutOfMemory(NetmorphError):
    """Training needs more memory than the device has."""


@contextmanager
def advice(recipe: Recipe, where: str, remedies: Sequence[str] | None = None) -> Iterator[None]:
    """Say what to do about errors of PyTorch that are no fault of the network.

    Args:
        where: of the training it is, for the message: "in epoch 3".
        remedies: what to try first if memory runs out; None proposes smaller parts and bfloat16, as the recipe allows.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise NetmorphError(
            f"batch normalization cannot train on a single sample: {error}. Raise batch_size, lower accumulate, or "
            "take more training samples"
        ) from error
    except (MemoryError, RuntimeError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        if out_of_memory(error):
            first = _remedies(recipe) if remedies is None else remedies
            raise OutOfMemory(
                f"out of memory {where}, with batches of {recipe.batch_size} in {recipe.accumulate} parts: "
                f"{told}. Try {', '.join([*first, 'a lower batch_size or width'])}, or smaller images"
            ) from error
        if "finished reduction in the prior iteration" in told:
            raise NetmorphError(
                "a parameter got no gradient in a training step, which several processes cannot share: freeze those "
                "that the forward pass leaves out (requires_grad_(False)), or train in one process"
            ) from error
        if recipe.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise NetmorphError(
                f"torch.compile failed: {told}. Leave compile out, or see whether a C++ compiler is installed"
            ) from error
        raise


def _remedies(recipe: Recipe) -> list[str]:
    found = [] if recipe.bf16 else ["bf16"]
    if 2 * recipe.accumulate <= recipe.batch_size:
        found.insert(0, f"accumulate={2 * recipe.accumulate} (the same steps, each in smaller parts)")
    return found
