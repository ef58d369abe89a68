"""Fourier transforms, and complex numbers seen as pairs. Along the other dimensions channels pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Axis
from netmorph.graph.ops.passing import along, tensors
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.value import Value

aten = torch.ops.aten

TRANSFORMED = "a Fourier transform runs along this axis"


@rule(aten.fft_fft.default, aten.fft_ifft.default, aten.fft_rfft.default, aten.fft_irfft.default)
@rule(aten.fft_ihfft.default)
def transform(couple: Coupling, x: Value, length: int | None = None, dim: int = -1, *args: Any) -> list[Axis]:
    """Frequencies of one dimension, or back."""
    couple.number(length)
    return along(couple, x, dim, TRANSFORMED)


@rule(aten.fft_fft2.default, aten.fft_ifft2.default, aten.fft_rfft2.default, aten.fft_irfft2.default)
@rule(aten.fft_hfft2.default, aten.fft_ihfft2.default)
@rule(aten.fft_fftn.default, aten.fft_ifftn.default, aten.fft_rfftn.default, aten.fft_irfftn.default)
@rule(aten.fft_hfftn.default, aten.fft_ihfftn.default)
def transform_of_several(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """Frequencies of several dimensions; where only lengths are given, they are those of the last ones."""
    lengths: Sequence[int] | None = couple.call.named["s"]
    dims: Sequence[int] | None = couple.call.named["dim"]
    for length in lengths or ():
        couple.number(length)
    if dims is None and lengths is not None:
        dims = range(-len(lengths), 0)
    return along(couple, x, dims, TRANSFORMED)


@rule(aten.fft_fftshift.default, aten.fft_ifftshift.default)
def shifted(couple: Coupling, x: Value, dims: int | Sequence[int] | None = None) -> list[Axis]:
    """The zero frequency goes to the middle, or back."""
    return along(couple, x, dims, "moved along this axis")


@rule(aten.stft.default, aten.istft.default)
def spectrogram(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """Signals `[batch, length]` and their spectra in windows `[batch, frequency, time]`, each on its own."""
    signal = 2 if couple.call.op is aten.istft.default else 1
    batch = x.axes[: max(0, len(x.axes) - signal)]
    window = tensors(couple.call.named["window"])
    for axis in (*x.axes[len(batch) :], *(axis for value in window for axis in value.axes)):
        couple.freeze(axis, TRANSFORMED)
    return [*batch, *(couple.fixed(dim, TRANSFORMED) for dim in range(len(batch), len(couple.shape)))]


@rule(aten.view_as_complex.default, rearranges=True)
def pairs_as_complex(couple: Coupling, x: Value) -> list[Axis]:
    """`[..., 2]` -> `[...]`: pairs of real numbers are complex ones."""
    couple.freeze(x.axes[-1], "the real and the imaginary part")
    return x.axes[:-1]


@rule(aten.view_as_real.default, rearranges=True)
def complex_as_pairs(couple: Coupling, x: Value) -> list[Axis]:
    """`[...]` -> `[..., 2]`."""
    return [*x.axes, couple.fixed(-1, "the real and the imaginary part")]
