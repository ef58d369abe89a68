"""Which detached layers take the features of a chain, and the stitch in front of one where shapes differ.

A stitch is plain PyTorch: a map of the channels at each position (a 1x1 convolution, a linear layer), and a pool or an
upsampling where sizes differ. Its map is fitted by least squares on features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from netmorph.bank.entry import Entry, Signature
from netmorph.bank.errors import BankError, CannotAttach
from netmorph.edit.blocks import CONVOLUTIONS, layers, set_dense
from netmorph.measure.cost import Cost, cost

POOLS: dict[int, type[nn.Module]] = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
Pair = tuple[Tensor, Tensor]  # features, and what a map shall make of them


def fits(features: Signature, entry: Entry) -> bool:
    """Whether an entry takes features as they are, without a stitch."""
    return entry.input.takes(features)


def can_attach(features: Signature, entry: Entry) -> bool:
    """Whether an entry takes features as they are or behind a stitch."""
    return fits(features, entry) or _stitch(features, entry.input) is not None


def attachable(features: Signature, entries: Sequence[Entry], stitches: bool = True) -> tuple[Entry, ...]:
    """The entries that take features.

    Args:
        stitches: those that need a stitch, too.

    Raises:
        BankError: there are no entries at all.
        CannotAttach: none of them takes these features; the message tells what they take.
    """
    if not entries:
        raise BankError("there is nothing to attach: the bank is empty; put a network into it with netmorph bank add")
    found = tuple(entry for entry in entries if (can_attach if stitches else fits)(features, entry))
    if not found:
        taken = sorted({str(entry.input) for entry in entries})
        several = ", ".join(taken[:6]) + (f" and {len(taken) - 6} more" if len(taken) > 6 else "")
        raise CannotAttach(
            f"none of the {len(entries)} entries takes features of shape {features}; they take {several}. "
            "Bring the data to one of these shapes, or add a network that takes it"
        )
    return found


def stitch_for(features: Signature, entry: Entry) -> nn.Module | None:
    """What brings features to the shape that an entry saw at home, with a map that is not fitted yet; None if it fits.

    Raises:
        CannotAttach: nothing here does that.
    """
    if fits(features, entry):
        return None
    stitch = _stitch(features, entry.input)
    if stitch is None:
        raise CannotAttach(f"no stitch brings features of shape {features} to {entry.input}, which {entry.id} takes")
    return stitch


def fit_stitch(stitch: nn.Module, pairs: Iterable[Pair], ridge: float = 1e-6) -> float:
    """Fit a stitch's map, so that it makes of features what the layer behind it saw at home, on the same samples.

    Args:
        pairs: batches of what enters the stitch, and of what shall leave it, see `seen_at_home`.
        ridge: of the least squares, as a share of the features' mean square.

    Returns:
        `|target - stitched| / |target - mean|` over all of them: 0 is perfect, 1 no better than the mean.

    Raises:
        BankError: no batch, or features that are not finite.
    """
    (layer,) = layers(stitch)
    front, behind = _around_map(stitch, layer)
    spatial = layer.weight.dim() - 2 if layer.weight.dim() > 2 else 0

    def rows() -> Iterator[Pair]:
        for given, target in pairs:
            with torch.no_grad():
                x = front(given)
                y = target if behind is None else _resized(target, x)
            yield _rows(x, spatial), _rows(y, spatial)

    matrix, bias, error = least_squares(rows(), ridge)
    set_dense(layer, matrix.to(layer.weight), bias.to(layer.weight))
    return error


def least_squares(rows: Iterable[Pair], ridge: float) -> tuple[Tensor, Tensor, float]:
    """The affine map `y ~ matrix x + bias` from batches of rows ([n, inputs], [n, outputs]), in float64.

    Batches are summed up and forgotten. (The one place here that solves for weights.)

    Returns:
        matrix [outputs, inputs], bias [outputs], and the relative error, see `fit_stitch`.

    Raises:
        BankError: no batch, or numbers that are not finite.
    """
    count, moments, targets, inputs = 0, None, None, 0
    for x, y in rows:
        x, inputs = x.double(), x.shape[1]
        both = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype, device=x.device), y.double()], 1)
        product = both.T @ both
        moments = product if moments is None else moments + product
        count += len(x)
    if moments is None or not bool(moments.isfinite().all()):
        raise BankError(
            "a stitch cannot be fitted: " + ("no batch was given" if moments is None else "features are not finite")
        )
    mean = moments[inputs] / count  # of inputs, 1 and targets
    centred = moments - count * mean.outer(mean)
    gram, cross, targets = (
        centred[:inputs, :inputs],
        centred[:inputs, inputs + 1 :],
        centred[inputs + 1 :, inputs + 1 :],
    )
    damped = gram + ridge * gram.diagonal().mean() * torch.eye(inputs, dtype=gram.dtype, device=gram.device)
    solution = torch.linalg.pinv(damped, hermitian=True) @ cross
    left = targets.trace() - (solution * (2 * cross - gram @ solution)).sum()
    error = float((left / targets.trace().clamp_min(torch.finfo(gram.dtype).tiny)).clamp_min(0).sqrt())
    return solution.T, mean[inputs + 1 :] - mean[:inputs] @ solution, error


def refine_stitch(
    stitch: nn.Module, rest: nn.Module, pairs: Sequence[Pair], *, steps: int = 100, learning_rate: float = 1e-3
) -> float:
    """Train a stitch alone, so that what the layers behind it make meets features of a target far behind the cut.

    Fitting a stitch to what the next layer saw fails where the cut is shallow; fitting it to the penultimate features
    of the target works (arXiv 2603.12433). Start from `fit_stitch`. Adam, on the mean square; `rest` is frozen and runs
    in the mode in which it is.

    Args:
        rest: what stands between the stitch and the features that are to be met.
        pairs: batches of what enters the stitch, and of the target's features; gone through again and again.

    Returns:
        As `fit_stitch`, over all of them, after the last step.

    Raises:
        BankError: no batch.
    """
    if not pairs:
        raise BankError("a stitch cannot be fitted: no batch was given")
    optimizer = torch.optim.Adam(stitch.parameters(), learning_rate)
    frozen = [(parameter, parameter.requires_grad) for parameter in rest.parameters()]
    for parameter, _ in frozen:
        parameter.requires_grad_(False)
    try:
        for step in range(steps):
            given, target = pairs[step % len(pairs)]
            loss = (rest(stitch(given)) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    finally:
        for parameter, flag in frozen:
            parameter.requires_grad_(flag)
    with torch.no_grad():
        mean = torch.cat([target for _, target in pairs]).mean(0)
        missed = sum(float((rest(stitch(given)) - target).square().sum()) for given, target in pairs)
        spread = sum(float((target - mean).square().sum()) for _, target in pairs)
    return float((missed / max(spread, torch.finfo(torch.float64).tiny)) ** 0.5)


def seen_at_home(layers_before: Iterable[nn.Module], batch: Tensor) -> Tensor:
    """What a layer saw at home on a batch of the data: the layers in front of it run one after another.

    Args:
        layers_before: `bank.load(one.id) for one in bank.before(entry)`.
    """
    with torch.no_grad():
        for layer in layers_before:
            batch = layer(batch)
    return batch


def cost_of(module: nn.Module, features: Signature) -> Cost:
    """Parameters of a stitch or a layer, and FLOPs of a sample, on features of this shape.

    Raises:
        NetmorphError: it does not take them.
    """
    return cost(module, features.example())


def _stitch(features: Signature, wanted: Signature) -> nn.Module | None:
    """See `stitch_for`; None where nothing does it."""
    if features.dtype != wanted.dtype or features.dtype not in ("float32", "float64", "bfloat16", "float16"):
        return None
    dtype: torch.dtype = getattr(torch, features.dtype)
    ranks = len(features.shape), len(wanted.shape)
    front: list[nn.Module] = []
    behind: list[nn.Module] = []
    if ranks == (1, 1):
        middle: nn.Module = nn.Linear(features.channels, wanted.channels)
    elif ranks[1] == 1 and features.channel == 0 and ranks[0] - 1 in POOLS:
        front = [POOLS[ranks[0] - 1](1), nn.Flatten()]
        middle = nn.Linear(features.channels, wanted.channels)
    elif ranks[0] == ranks[1] and features.channel == wanted.channel == 0 and ranks[0] - 1 in POOLS:
        sizes, target = features.shape[1:], wanted.shape[1:]
        smaller = tuple(map(min, sizes, target))
        front = [POOLS[ranks[0] - 1](smaller)] if smaller != sizes else []
        behind = [nn.Upsample(target)] if smaller != target else []
        middle = CONVOLUTIONS[ranks[0] - 1](features.channels, wanted.channels, 1)
    elif ranks[0] == ranks[1] == 2 and features.channel == wanted.channel == 1:
        if features.shape[0] != wanted.shape[0] and not wanted.free[0]:
            return None
        middle = nn.Linear(features.channels, wanted.channels)
    else:
        return None
    return nn.Sequential(*front, middle.to(dtype), *behind)


def _around_map(stitch: nn.Module, layer: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """What stands in front of a stitch's map, and behind it."""
    parts = list(stitch.children())
    at = parts.index(layer)
    return nn.Sequential(*parts[:at]), nn.Sequential(*parts[at + 1 :]) if parts[at + 1 :] else None


def _resized(target: Tensor, like: Tensor) -> Tensor:
    """Targets at the sizes at which the map works, where an upsampling stands behind it."""
    pooled: Tensor = POOLS[target.dim() - 2](like.shape[2:])(target)
    return pooled


def _rows(features: Tensor, spatial: int) -> Tensor:
    """[positions, channels]."""
    return (features.movedim(1, -1) if spatial else features).flatten(0, -2)
