"""What becomes of a job: a result, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from netmorph.files import SaveError

Job = TypeVar("Job")
Result = TypeVar("Result")
Handler = Callable[[Job], Result]
Factory = Callable[[], Handler[Job, Result]]


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """A job with its result, or with why it failed."""

    job: Job
    result: Result | None
    failure: str | None = None


def attempt(handle: Handler[Job, Result], job: Job) -> Outcome[Job, Result]:
    """Do a job: one network's error is its own, and the search goes on; a disk that is full is everybody's.

    Raises:
        SaveError: what the job made cannot be written.
    """
    try:
        return Outcome(job, handle(job))
    except SaveError:
        raise
    except Exception as error:
        return Outcome(job, None, reason(error))


def reason(error: BaseException) -> str:
    """An error as records tell it."""
    memory = "out of memory, " if is_out_of_memory(error) else ""
    return f"{memory}{type(error).__name__}: {error}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation was refused, by Python, a GPU or PyTorch's own allocator, which has no error of its own."""
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return True
    return isinstance(error, MemoryError | torch.OutOfMemoryError)
