"""Hidden layers in closed form: Forward Projection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from netmorph.seeds import generator_of
from netmorph.solve.linear import as_linear, ridge
from netmorph.solve.moments import Moments, Pair, SolveError, check_pair, check_repeats
from netmorph.solve.penalties import choose_penalty


def project_forward(
    batches: Iterable[Pair],
    widths: Sequence[int],
    *,
    penalty: float = 10.0,
    activation: Callable[[], nn.Module] = nn.ReLU,
    seed: int = 0,
) -> nn.Sequential:
    """A perceptron in which each layer is solved by ridge regression, one pass over the data a layer, no gradients.

    Forward Projection (O'Shea & Rajendran, arXiv 2501.16476): before its activation a hidden layer is to give
    `sign(x Q) + sign(y U)`, a random code of its input `x` and one of the targets `y`, with `Q` and `U` drawn from a
    normal distribution. Its weights are the ridge regression to that. What a layer computes so carries the targets
    forward, and nothing comes back from the layers behind it. The last layer is solved for the targets themselves, with
    a penalty that `choose_penalty` takes by generalized cross-validation. The paper's code penalizes the bias; here it
    is free.

    Args:
        batches: features `[B, d]` and targets `[B, k]` (`one_hot` of classes), gone through once for each layer: a
            list, not an iterator.
        widths: units of each hidden layer.
        penalty: of the hidden layers, see `ridge`; 10 is what the authors' code takes for perceptrons.
        activation: makes the module behind each hidden layer.
        seed: draws the codes.

    Returns:
        Linear layers with activations between, in float32.

    Raises:
        SolveError: there are no widths, no batches, or see `ridge`.
    """
    if not widths or min(widths) < 1:
        raise SolveError(f"widths are the units of each hidden layer, 1 or more; got {list(widths)}")
    check_repeats(batches)
    generator = generator_of(seed)
    network = nn.Sequential()
    for width in widths:
        moments = Moments.of(_coded(network, batches, width, generator))
        network.extend([as_linear(ridge(moments, penalty)), activation()])
    moments = Moments.of(_through(network, batches))
    return network.append(as_linear(ridge(moments, choose_penalty(moments))))


def _coded(network: nn.Module, batches: Iterable[Pair], width: int, generator: torch.Generator) -> Iterator[Pair]:
    """What a hidden layer reads, and `sign(x Q) + sign(y U)`, `[B, width]`, whose `Q` and `U` the first batch draws."""
    codes: list[Tensor] = []
    for x, y in _through(network, batches):
        if not codes:
            sizes = (x.shape[1], width), (y.shape[1], width)
            codes = [torch.randn(size, generator=generator, dtype=torch.float64).to(x.device) for size in sizes]
        q, u = codes
        yield x, (x.double() @ q).sign() + (y.double() @ u).sign()


@torch.no_grad()
def _through(network: nn.Module, batches: Iterable[Pair]) -> Iterator[Pair]:
    for features, targets in batches:
        check_pair(features, targets)
        yield network(features.float()), targets
