"""How much each channel of a group matters: functions `(group, samples) -> [n]`, the higher the more.

`samples.graph` is the traced model; what a score needs of its batches is computed once and kept there. Any function
of this form can be used wherever a score is asked for. `narrow_to` compares groups by score over the group's mean.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from netmorph.edit.reconstruct import pivots, running_means
from netmorph.graph import Group, Role, Site
from netmorph.observe.samples import Samples, Seen, channel_rows, channel_sums
from netmorph.widenings import WidthError

__all__ = [
    "SCORES",
    "Score",
    "activation",
    "batch_norm",
    "best",
    "contribution",
    "interpolative",
    "magnitude",
    "random",
    "taylor",
]

Score = Callable[[Group, Samples], Tensor]

# A variance below this, relative to the largest at first, is rounding.
ROUNDING = 1e-10
# By so much scores fall from one place to the next that would otherwise be equal.
TIE = 1e-9


def magnitude(group: Group, samples: Samples) -> Tensor:
    """The Euclidean norm of all weights that write or read a channel, over its mean in the group."""
    return _relative(_norms(samples, group, [*group.where(Role.WRITE), *group.where(Role.READ)]))


def batch_norm(group: Group, samples: Samples) -> Tensor:
    """The size of the batch norms' scales (Liu et al., arXiv 1708.06519); `magnitude` where no batch norm is."""
    scales = [site for site in group.where(Role.CARRY) if _is_batch_norm_scale(samples, site)]
    return _relative(_norms(samples, group, scales)) if scales else magnitude(group, samples)


def taylor(group: Group, samples: Samples) -> Tensor:
    """Taylor importance: by how much the loss would change without a channel, to first order, see `Samples.importance`.

    Raises:
        EditError: the samples have no loss.
    """
    return samples.importance[group.name]


def activation(group: Group, samples: Samples) -> Tensor:
    """The mean absolute activation where the channels are read; `magnitude` where no reader could be observed."""
    seen = _seen(group, samples)
    if not seen:
        return magnitude(group, samples)
    return torch.stack([_relative(reader.absolute) for reader in seen]).mean(0)


def interpolative(group: Group, samples: Samples) -> Tensor:
    """How much of a channel's activations those with higher scores leave unexplained.

    The `m` channels of the highest scores are those that an interpolative decomposition of rank `m` keeps (QR with
    column pivoting, arXiv 2110.15984), over all readers together; `magnitude` where no reader could be observed.
    """
    seen = _seen(group, samples)
    if not seen:
        return magnitude(group, samples)
    gram = torch.zeros(group.size, group.size, dtype=torch.float64)
    for reader in seen:
        covariance = reader.covariance
        gram += covariance / covariance.trace().clamp_min(torch.finfo(torch.float64).tiny)
    order, gains = pivots(gram)
    score = torch.zeros(group.size, dtype=torch.float64)
    score[order] = torch.tensor(gains, dtype=torch.float64).sqrt()
    return score


def contribution(group: Group, samples: Samples) -> Tensor:
    """How much a channel adds to what its readers compute, beyond what those with higher scores make up for.

    Channels are taken one by one, each time the one that leaves least of the readers' outputs unexplained, as
    `reconstruct` would explain them; the score is the root of the share that it explains. Outputs count in the scale
    that the batch norm behind them gives them, and the taps of a kernel as if they saw unrelated values. `magnitude`
    where no reader could be observed. Takes on the order of `n^3` operations.
    """
    readers = [
        _Reader(seen.covariance, _inner(samples, tensor, dim, group))
        for (name, tensor, dim), seen in samples.seen.items()
        if name == group.name
    ]
    if not readers:
        return magnitude(group, samples)
    order: list[int] = []
    gains: list[float] = []
    while len(order) < group.size:
        gain = torch.stack([reader.gains() for reader in readers]).mean(0)
        gain[order] = -1
        pivot = int(gain.argmax())
        order.append(pivot)
        gains.append(max(0.0, float(gain[pivot])))
        for reader in readers:
            reader.take(pivot)
    # One that helps only together with another comes behind it all the same.
    falling = torch.tensor(gains, dtype=torch.float64).cummin(0).values.sqrt()
    score = torch.zeros(group.size, dtype=torch.float64)
    score[order] = falling * (1 - TIE * torch.arange(group.size, dtype=torch.float64))
    return score


def random(group: Group, samples: Samples) -> Tensor:
    """Evenly drawn, by the samples' seed and the group's name: the baseline beside every score."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{samples.seed} {group.name}".encode()))
    return torch.rand(group.size, generator=generator, dtype=torch.float64)


SCORES: dict[str, Score] = {
    "magnitude": magnitude,
    "batch_norm": batch_norm,
    "taylor": taylor,
    "activation": activation,
    "interpolative": interpolative,
    "contribution": contribution,
    "random": random,
}


def best(score: Tensor, count: int) -> list[int]:
    """The channels of the `count` highest scores, in their old order; of equal ones the first.

    Raises:
        WidthError: there are not so many channels.
    """
    if not 1 <= count <= len(score):
        raise WidthError(f"between 1 and {len(score)} channels can be kept, got {count}")
    return sorted(score.argsort(descending=True, stable=True)[:count].tolist())


class _Reader:
    """What one reader's outputs lose without the channels that have not been taken: the trace of `left @ inner`.

    Args:
        covariance: float64 `[n, n]`: of the channels that it sees.
        inner: float64 `[n, n]`: products of their weights, added up over outputs and taps.
    """

    def __init__(self, covariance: Tensor, inner: Tensor) -> None:
        self._left, self._inner = covariance.clone(), inner
        self._explained = ((covariance @ inner) * covariance).sum(1)  # by each channel, times its variance
        self._whole = (covariance * inner).sum().clamp_min(torch.finfo(torch.float64).tiny)
        self._smallest = ROUNDING * covariance.diagonal().max()

    def gains(self) -> Tensor:
        """The share of all outputs' squares that each channel would explain of what is left."""
        variance = self._left.diagonal()
        usable = variance > self._smallest
        return torch.where(usable, self._explained / torch.where(usable, variance, 1.0), 0.0) / self._whole

    def take(self, pivot: int) -> None:
        """What follows from a channel by least squares is explained now."""
        column = self._left[pivot].clone()
        variance = column[pivot].clone()
        if variance <= self._smallest:
            return
        weighed = self._inner @ column
        through = self._left @ weighed
        self._explained += (column / variance).square() * (column @ weighed) - 2 * column * through / variance
        self._left.addr_(column, column, alpha=-1 / float(variance))


def _inner(samples: Samples, tensor: str, dim: int, group: Group) -> Tensor:
    """float64 `[n, n]`: products of a reader's weights of two channels, added up over its outputs and taps."""
    site = next(site for site in group.where(Role.READ) if (site.tensor, site.dim) == (tensor, dim))
    weight = dict(samples.graph.model.named_parameters())[tensor].detach().to("cpu", torch.float64)
    means = running_means(samples.graph).get(tensor, set())
    norm = samples.graph.modules[next(iter(means)).rpartition(".")[0]] if len(means) == 1 and dim else None
    if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None:
        scale = (norm.running_var.double() + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight.double())
        weight = weight * scale.detach().cpu().reshape(-1, *[1] * (weight.dim() - 1))
    rows = channel_rows(weight, site, group.atom)
    return rows @ rows.T


def _norms(samples: Samples, group: Group, sites: Iterable[Site]) -> Tensor:
    model = samples.graph.model
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    squares = torch.zeros(group.size, dtype=torch.float64)
    for site in sites:
        squares += channel_sums(tensors[site.tensor].detach().abs().double().square(), site, group.atom)
    return squares.sqrt()


def _relative(score: Tensor) -> Tensor:
    mean = score.mean()
    return score / mean if mean > 0 else torch.ones_like(score)


def _seen(group: Group, samples: Samples) -> list[Seen]:
    return [seen for (name, _, _), seen in samples.seen.items() if name == group.name]


def _is_batch_norm_scale(samples: Samples, site: Site) -> bool:
    path, _, name = site.tensor.rpartition(".")
    return name == "weight" and isinstance(samples.graph.modules[path], nn.modules.batchnorm._BatchNorm)
