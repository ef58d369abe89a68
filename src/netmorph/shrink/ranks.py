"""How many channels a group needs: ranks of what writes it, or of what its readers see of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch

from netmorph.errors import NetmorphError
from netmorph.graph import Group, Role
from netmorph.measure.spectrum import Rank, Spectrum, SpectrumError, effective_rank, of_gram, spectra
from netmorph.observe.samples import Samples, channel_rows
from netmorph.policy.narrowing import narrow_to
from netmorph.scores import Score, contribution

GroupSpectrum = Callable[[Group, Samples], Spectrum]


class ShrinkError(NetmorphError):
    """A network cannot be made smaller as asked."""


@dataclass(frozen=True)
class Wanted:
    """The widths that a network should get.

    Attributes:
        widths: by group; groups that are not named stay as they are.
        ranks: what they follow from, by group; empty where they follow from something else.
    """

    widths: Mapping[str, int]
    ranks: Mapping[str, float] = field(default_factory=dict)


# What chooses the widths of the next round, from what the network of this round computes on some batches.
Widths = Callable[[Samples], Wanted]


def activations(group: Group, samples: Samples) -> Spectrum:
    """Of what the readers of a group see, about its mean: singular values of `[positions, channels]`.

    Each reader counts alike. What is constant is no rank: it goes into biases (see `netmorph.reconstruct`). A group
    that nobody reads with weights of its own is judged by `weights`.

    Raises:
        SpectrumError: activations are NaN or infinite.
    """
    seen = [reader for (name, _, _), reader in samples.seen.items() if name == group.name]
    if not seen:
        return weights(group, samples)
    gram = torch.zeros(group.size, group.size, dtype=torch.float64)
    for reader in seen:
        covariance = reader.covariance
        if not bool(covariance.isfinite().all()):
            raise SpectrumError(
                f"what is read of group {group.name!r} on the samples is NaN or infinite: it has no rank"
            )
        # A variance that is the rounding of a mean is none.
        rounding = torch.finfo(torch.float32).eps * float(reader.mean.square().sum())
        if float(covariance.trace()) > rounding:
            gram += covariance / covariance.trace()
    positions = max(reader.count for reader in seen)
    return Spectrum(of_gram(gram), positions, group.size, torch.finfo(torch.float32).eps)


def weights(group: Group, samples: Samples) -> Spectrum:
    """Of the weights that write a group, side by side: singular values of `[channels, entries]`.

    Raises:
        SpectrumError: they are NaN or infinite, or nothing with weights writes the group.
    """
    parameters = dict(samples.graph.model.named_parameters())
    rows = [
        channel_rows(parameters[site.tensor].detach().double().cpu(), site, group.atom)
        for site in group.where(Role.WRITE)
        if site.tensor in parameters and parameters[site.tensor].dim() > 1
    ]
    if not rows:
        raise SpectrumError(f"no weight matrix writes group {group.name!r}: judge it by activations")
    (found,) = spectra({f"weights of group {group.name}": torch.cat(rows, 1)}).values()
    return replace(found, epsilon=torch.finfo(torch.float32).eps)


SPECTRA: dict[str, GroupSpectrum] = {spectrum.__name__: spectrum for spectrum in (activations, weights)}


def explaining(share: float) -> Rank:
    """The rank that explains a share of the variance: the fewest directions whose squared singular values add up to it.

    Args:
        share: above 0 and below 1, such as 0.99.

    Raises:
        ShrinkError: it is not.
    """
    if not 0 < share < 1:
        raise ShrinkError(f"a share of the variance is above 0 and below 1, such as 0.99; got {share}")

    def rank(spectrum: Spectrum) -> float:
        squares = torch.where(spectrum.values > spectrum.tolerance, spectrum.values, 0).square()
        missing = squares.sum() - squares.cumsum(0)
        return float((missing > (1 - share) * squares.sum()).sum() + 1) if squares.sum() > 0 else 0.0

    return rank


def by_rank(
    rank: Rank = effective_rank,
    spectrum: GroupSpectrum = activations,
    *,
    own: Mapping[str, Rank] | None = None,
    groups: Iterable[str] | None = None,
    multiple_of: int = 1,
    minimum: int = 1,
    fill: float = 1.0,
    growth: float = 1.0,
) -> Widths:
    """Widths that are the ranks of groups.

    Args:
        rank: of singular values: one of `netmorph.measure.SPECTRAL`, `explaining(0.99)` or any function of a
            `Spectrum`. The effective rank has no threshold to choose, and did best on MNIST (docs/shrink.md).
        spectrum: which singular values: of the `activations` or the `weights` of a group.
        own: ranks for groups by name, in place of `rank`: a threshold of its own for a layer.
        groups: those that may change; all that can.
        multiple_of: widths are rounded up to multiples.
        minimum: no group gets narrower. A group of rank zero is constant: one channel stands for it.
        fill: the share of a group's width that its rank should be. Below 1, some room is left ...
        growth: ... and a group whose rank is more than that share gets so many times its width (regrowing), so that a
            network finds its size from below as well as from above; 1 lets no group grow.

    Raises:
        ShrinkError: an argument makes no sense. When asked: activations do not vary at all, or there is no group.
    """
    if multiple_of < 1 or minimum < 1 or growth < 1 or not 0 < fill <= 1:
        raise ShrinkError(
            "multiple_of, minimum and growth are at least 1, and fill is above 0 and at most 1; got "
            f"multiple_of={multiple_of}, minimum={minimum}, growth={growth}, fill={fill}"
        )

    def widths(samples: Samples) -> Wanted:
        graph = samples.graph
        named = None if groups is None else {graph.group(name).name for name in groups}
        special = {graph.group(name).name: of for name, of in (own or {}).items()}
        chosen = [group for group in graph.editable() if named is None or group.name in named]
        if not chosen:
            raise ShrinkError("there is nothing to shrink: no group of channels may change. See netmorph groups")
        ranks = {group.name: special.get(group.name, rank)(spectrum(group, samples)) for group in chosen}
        if not any(ranks.values()):
            raise ShrinkError(
                "every group has rank zero: nothing in the network varies on these samples. Are the data constant, or "
                "all weights zero?"
            )
        wanted = {}
        for group in chosen:
            size, of_group = group.size, ranks[group.name]
            if growth > 1 and of_group > fill * size:
                most = math.inf if group.most is None else group.most
                wanted[group.name] = int(min(most, max(size + 1, round(growth * size))))
            else:
                least = min(size, max(minimum, group.least))
                rounded = multiple_of * math.ceil(max(1, round(of_group / fill)) / multiple_of)
                wanted[group.name] = min(size, max(least, rounded))
        return Wanted(wanted, ranks)

    return widths


def to_cost(
    *,
    flops: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    score: Score = contribution,
    multiple_of: int = 8,
) -> Widths:
    """Widths with which a network costs at most a share of what it does, see `netmorph.narrow_to`."""

    def widths(samples: Samples) -> Wanted:
        edit = narrow_to(
            samples.graph,
            flops=flops,
            params=params,
            latency=latency,
            score=score,
            samples=samples,
            multiple_of=multiple_of,
        )
        return Wanted({name: channels.m for name, channels in edit.changes.items()})

    return widths
