"""A traced network as a `torch.export` program, and as ONNX."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from netmorph.errors import require
from netmorph.export.errors import ExportError
from netmorph.export.merge import batch_size, with_batch
from netmorph.export.targets import check_target
from netmorph.files import atomic_write
from netmorph.graph import Graph
from netmorph.graph.running import untouched

LARGEST = 1536 * 2**20  # bytes of weights; PyTorch's exporter puts more into another file, named after the first


def exported(graph: Graph, *, free_batch: bool = True) -> torch.export.ExportedProgram:
    """The network in eval mode as `torch.export` sees it; `torch.export.save` writes it.

    Args:
        free_batch: the program takes any number of samples; otherwise as many as the example inputs hold.

    Raises:
        ExportError: the forward cannot be exported, for instance because it branches on data; or because it fixes the
            batch size and `free_batch` is on.
    """
    size = batch_size(graph.inputs)
    # torch.export takes a batch of one for a number that never changes.
    inputs = with_batch(graph.inputs, max(size, 2)) if free_batch and size else graph.inputs
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    shapes = _shapes(inputs) if free_batch and size else None
    with untouched(graph.model), torch.no_grad(), _quiet():
        graph.model.eval()
        try:
            return torch.export.export(graph.model, args, kwargs, dynamic_shapes=shapes)
        except Exception as error:  # whatever the forward and the exporter raise
            advice = " If the forward fixes the batch size, export with free_batch=False." if shapes else ""
            told = str(error).strip().partition("\n")[0]
            raise ExportError(
                f"torch.export cannot export this network: {type(error).__name__}: {told}.{advice} "
                "Plain code (netmorph.export.code) records what runs and takes more networks"
            ) from error


def write_exported(graph: Graph, path: str | Path, *, free_batch: bool = True) -> None:
    """Write `exported(graph)` to a file, usually `*.pt2`.

    Raises:
        ExportError: see `exported`; or the file holds the weights of a network.
        SaveError: the file could not be written.
    """
    check_target(Path(path))
    program = exported(graph, free_batch=free_batch)

    def write(file: Path) -> None:
        with _Opened(file) as opened:  # by its name, torch would want the ending .pt2
            torch.export.save(program, opened)

    atomic_write(Path(path), write)


class _Opened(io.FileIO):
    """A file that keeps what goes wrong for when it is closed.

    PyTorch's writer ends in a C++ destructor, and an error there would abort the whole process.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb")
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        """All of it, or as far as there is space."""
        left = memoryview(data).cast("B")
        try:
            while self.failure is None and len(left):
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.failure = error
        return memoryview(data).nbytes

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Close the file.

        Raises:
            OSError: something was not written.
        """
        super().__exit__(kind, error, trace)
        if self.failure is not None:
            raise self.failure


def onnx(graph: Graph, path: str | Path, *, free_batch: bool = True) -> None:
    """Write the network in eval mode to one ONNX file, which holds up to 1.5 GiB of weights.

    Args:
        path: the file, usually `*.onnx`; replaced only when the new one is complete.
        free_batch: see `exported`.

    Raises:
        MissingExtra: the packages onnx and onnxscript are not installed.
        ExportError: the network cannot be exported, has an operator that ONNX lacks, or is too large; or the file holds
            the weights of a network.
        SaveError: the file could not be written.
    """
    check_target(Path(path))
    for package in ("onnx", "onnxscript"):
        require(package, "onnx")
    program = exported(graph, free_batch=free_batch)
    with _quiet():
        try:
            made = torch.onnx.export(program, dynamo=True, verbose=False)
        except Exception as error:  # the exporter's own classes of errors are private
            told = str(error).strip().partition("\n")[0]
            raise ExportError(f"the network cannot be written as ONNX: {type(error).__name__}: {told}") from error
    if made is None:
        raise ExportError("the network cannot be written as ONNX: PyTorch's exporter gave nothing back")
    held = [value.const_value for value in made.model.graph.initializers.values()]
    weights = sum(tensor.nbytes for tensor in held if tensor is not None)
    if weights > LARGEST:
        raise ExportError(
            f"the network has {weights / 2**30:.1f} GiB of weights, and one ONNX file takes {LARGEST / 2**30:.1f} GiB; "
            "write it with write_exported (--torch on the command line) or write_code (--code)"
        )
    atomic_write(Path(path), lambda file: made.save(file))


def _shapes(inputs: Any) -> Any:
    """For each input, which of its dimensions is the batch."""
    size, batch = batch_size(inputs), torch.export.Dim("batch")

    def free(leaf: Any) -> Any:
        return {0: batch} if isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[0] == size else None

    return tree_map(free, inputs)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporters warn about their own insides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
