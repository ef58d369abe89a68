"""What a look at a network finds: the measures of all its matrices, and at times the singular values themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netmorph.data import Dataset
from netmorph.measure import SPECTRAL, Spectrum, feature_spectra, matrices_of, spectra, weight_matrices
from netmorph.tasks import Numbers
from netmorph.train.inputs import prepare, reference
from netmorph.train.modes import mode

PROBE = 512  # training samples of which gradients and features are measured
Measures = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Look:
    """What was found after an epoch, by layer in the order of the network.

    Attributes:
        epoch: its number; 0 is before the first.
        train: the task's numbers while the weights moved in that epoch.
        validation: the task's numbers.
        weights, gradients, features: by layer and measure (see `netmorph.measure.SPECTRAL`); None is infinite. Features
            are what the layer puts out.
        values: the singular values of the weights, by layer; none at most looks.
    """

    epoch: int
    train: Numbers
    validation: Numbers
    weights: Measures
    gradients: Measures
    features: Measures
    values: Mapping[str, list[float]]


def look(
    model: nn.Module, dataset: Dataset, epoch: int, train: Numbers, validation: Numbers, *, keep_values: bool
) -> Look:
    """Measure a network on the first training samples; it is left as it is.

    Raises:
        SpectrumError: weights, gradients or features hold NaN or infinite entries.
    """
    inputs, targets = next(dataset.train.cut(PROBE))
    inputs = prepare(inputs, dataset, reference(model))
    weights = spectra(weight_matrices(model))
    gradients = spectra(matrices_of(model, _gradients(model, dataset, inputs, targets.to(inputs.device))))
    return Look(
        epoch,
        dict(train),
        dict(validation),
        _measured(weights),
        _measured(gradients),
        _measured(feature_spectra(model, [inputs])),
        {layer_of(name): [_short(value) for value in found.values.tolist()] for name, found in weights.items()}
        if keep_values
        else {},
    )


def layer_of(name: str) -> str:
    """The layer that a matrix belongs to: one name for its weights, gradients and features."""
    return name.removesuffix(".weight")


def _gradients(model: nn.Module, dataset: Dataset, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    with mode(model, training=False), torch.enable_grad():
        loss = dataset.task.loss(model(inputs), targets)
        found = torch.autograd.grad(loss, list(named.values()))
    return dict(zip(named, found, strict=True))


def _measured(found: Mapping[str, Spectrum]) -> Measures:
    return {
        layer_of(name): {
            kind: _short(value) if math.isfinite(value := of(spectrum)) else None for kind, of in SPECTRAL.items()
        }
        for name, spectrum in found.items()
    }


def _short(value: float) -> float:
    """Six digits: more would be rounding, and fill the disk."""
    return float(f"{value:.6g}")
