"""The singular values of what layers put out on a probe batch."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from netmorph.graph.running import run
from netmorph.measure.spectrum import Spectrum, SpectrumError, of_gram
from netmorph.observe.features import Batch, as_inputs, by_channel

LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding)


def feature_spectra(model: nn.Module, batches: Iterable[Batch]) -> dict[str, Spectrum]:
    """For each linear, convolution and embedding layer, the singular values of its outputs `[positions, channels]`.

    A position is a sample, times height and width of an image, times the length of a sequence. The features are taken
    as they are, not about their means, in eval mode; only their second moments `[channels, channels]` are kept, in
    float64, so that any number of batches fits. What is below `1.5e-8` of the largest singular value cannot be told
    from zero.

    Args:
        batches: of what the model takes (a tensor, a tuple or a dict).

    Raises:
        SpectrumError: there is no batch, or one tensor in place of a list, or no such layer; or features are NaN or
            infinite, and the message names the first.
        TraceError: the forward failed.
    """
    if isinstance(batches, Tensor):
        raise SpectrumError(f"the probe data is a list of batches, not one tensor {tuple(batches.shape)}: pass [x]")
    layers: dict[str, nn.Module] = {
        name: module for name, module in model.named_modules() if isinstance(module, LAYERS)
    }
    moments: dict[str, Tensor] = {}
    positions: dict[str, int] = {}
    types: dict[str, torch.dtype] = {}

    def seen(name: str, spatial: int, output: Tensor) -> None:
        features = by_channel(output.detach(), spatial)
        moments[name] = moments.get(name, 0) + (features.T @ features).cpu()
        positions[name] = positions.get(name, 0) + len(features)
        types[name] = output.dtype

    for batch in batches:
        run(model, as_inputs(batch), following=functools.partial(_watched, layers, seen))
    if not moments:
        raise SpectrumError(
            "no features were seen: the probe data holds no batch, or the forward calls no linear, convolution or "
            "embedding layer"
        )
    for name, moment in moments.items():
        if not bool(moment.isfinite().all()):
            raise SpectrumError(f"what {name!r} puts out on the probe data is NaN or infinite: it has no rank")
    return {name: _spectrum(moments[name], positions[name], types[name]) for name in layers if name in moments}


def _spectrum(moments: Tensor, rows: int, kind: torch.dtype) -> Spectrum:
    columns = len(moments)
    seen = math.sqrt(torch.finfo(torch.float64).eps) / max(rows, columns)
    return Spectrum(of_gram(moments)[: min(rows, columns)], rows, columns, max(torch.finfo(kind).eps, seen))


@contextlib.contextmanager
def _watched(layers: dict[str, nn.Module], seen: Callable[[str, int, Tensor], None]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, layer in layers.items():

            def left(module: nn.Module, args: object, output: Tensor, name: str = name) -> None:
                convolves = isinstance(module, nn.modules.conv._ConvNd)
                seen(name, output.dim() - 2 if convolves else 0, output)

            stack.callback(layer.register_forward_hook(left).remove)
        yield
