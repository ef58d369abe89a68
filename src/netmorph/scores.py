"""How much each channel of a group matters: functions `(group, samples) -> [n]`, the higher the more.

`samples.graph` is the traced model; what a score needs of its batches is computed once and kept there. Any function
of this form can be used wherever a score is asked for. `narrow_to` compares groups by score over the group's mean.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from netmorph.edit.reconstruct import pivots
from netmorph.graph import Group, Role, Site
from netmorph.observe.samples import Samples, Seen, channel_sums
from netmorph.widenings import WidthError

__all__ = [
    "SCORES",
    "Score",
    "activation",
    "batch_norm",
    "best",
    "interpolative",
    "magnitude",
    "random",
    "taylor",
]

Score = Callable[[Group, Samples], Tensor]


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
