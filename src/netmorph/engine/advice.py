"""Errors that PyTorch raises while a network is trained, in words that say what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from netmorph.engine.recipe import Recipe
from netmorph.errors import NetmorphError


class OutOfMemory(NetmorphError):
    """Training needs more memory than the device has."""


@contextmanager
def advice(recipe: Recipe, where: str) -> Iterator[None]:
    """Say what to do about errors of PyTorch that are no fault of the network.

    Args:
        where: of the training it is, for the message: "in epoch 3".
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise NetmorphError(
            f"batch normalization cannot train on a single sample: {error}. Raise batch_size, lower accumulate, or "
            "take more training images"
        ) from error
    except (MemoryError, RuntimeError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        # On the CPU, PyTorch says it with a plain RuntimeError.
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in told:
            advice = [] if recipe.bf16 else ["bf16"]
            if 2 * recipe.accumulate <= recipe.batch_size:
                advice.insert(0, f"accumulate={2 * recipe.accumulate} (the same steps, each in smaller parts)")
            raise OutOfMemory(
                f"out of memory {where}, with batches of {recipe.batch_size} in {recipe.accumulate} parts: "
                f"{told}. Try {', '.join([*advice, 'a lower batch_size or width'])}, or smaller images"
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
