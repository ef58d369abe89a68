"""Candidates for the rank of a whole network: one number, to be compared across architectures.

Only those that look at the input-output Jacobian depend on the function alone; `docs/network-rank.md` measures what
each of them satisfies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.measure.cuts import narrowest_cut
from netmorph.measure.jacobian import jacobian_participation, jacobian_rank
from netmorph.measure.matrices import weight_matrices
from netmorph.measure.probing import check_finite
from netmorph.measure.spectrum import Spectrum, effective_rank, spectra
from netmorph.observe.features import Batch

NetworkRank = Callable[[Graph, Iterable[Batch]], float]


def layer_ranks(graph: Graph, batches: Iterable[Batch]) -> float:
    """The numerical ranks of the layers' matrices, summed, over the sum of their shorter sides.

    Ranks are those of `numpy.linalg.matrix_rank`, in the type of the weights.

    Args:
        graph: a traced network, of which `weight_matrices` tells the matrices.
        batches: not looked at.

    Raises:
        EditError: no weight is a matrix, or weights are not finite.
    """
    found = _spectra(graph)
    return sum(spectrum.rank() for spectrum in found) / sum(len(spectrum.values) for spectrum in found)


def log_effective_rank(graph: Graph, batches: Iterable[Batch]) -> float:
    """The mean over layers of the entropy of the normalized singular values, over the logarithm of the smaller side.

    The entropy is the logarithm of the effective rank (Roy and Vetterli, The effective rank, EUSIPCO 2007). A layer
    whose smaller side is 1 has nothing to tell and is left out; a zero matrix counts as 0. Arguments and errors are
    those of `layer_ranks`, or there is no layer of two channels.
    """
    shares = [
        math.log(max(1.0, effective_rank(spectrum))) / math.log(len(spectrum.values))
        for spectrum in _spectra(graph)
        if len(spectrum.values) > 1
    ]
    if not shares:
        raise EditError("every layer of the network has one channel, of which no effective rank can be told")
    return sum(shares) / len(shares)


NETWORK_RANKS: dict[str, NetworkRank] = {
    "layer_ranks": layer_ranks,
    "log_effective_rank": log_effective_rank,
    "jacobian_participation": jacobian_participation,
    "jacobian_rank": jacobian_rank,
    "narrowest_cut": narrowest_cut,
}


def _spectra(graph: Graph) -> list[Spectrum]:
    check_finite(graph.model)
    found = [*spectra(weight_matrices(graph)).values()]
    if not found:
        raise EditError("no parameter of the network is a matrix, so no layer has a rank")
    return found
