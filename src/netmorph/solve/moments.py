"""What least squares needs to know of the samples: sums that are exact, streamed, and add up over shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from netmorph.errors import NetmorphError
from netmorph.files import atomic_write
from netmorph.tensor_files import DamagedFile, FileError, read_sealed, write_sealed

Pair = tuple[Tensor, Tensor]  # features [B, d] and targets [B, k]


class SolveError(NetmorphError):
    """Something cannot be solved for; the message says why."""


@dataclass(eq=False)
class Moments:
    """Sums over `count` samples with `d` features and `k` targets, about their means.

    Taking the means away within each batch keeps what a large mean would drown in rounding. Features in float64 are
    multiplied in float64. Those in float32 are multiplied in float32, which takes half the time and rounds at `1e-7`
    of the largest eigenvalue; the sums are float64 all the same.

    Attributes:
        gram: float64 `[d, d]`: the sum of `(x - mean) (x - mean)^T`.
        cross: float64 `[d, k]`: the sum of `(x - mean) (y - target_mean)^T`.
        squares: float64 `[k]`: the sum of `(y - target_mean)^2`.
        mean: float64 `[d]`.
        target_mean: float64 `[k]`.
        count: samples.
    """

    gram: Tensor
    cross: Tensor
    squares: Tensor
    mean: Tensor
    target_mean: Tensor
    count: int = 0

    @staticmethod
    def nothing(features: int, targets: int, device: torch.device | None = None) -> Moments:
        """Those of no sample, to start with."""

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        return Moments(
            zeros(features, features), zeros(features, targets), zeros(targets), zeros(features), zeros(targets)
        )

    @staticmethod
    def of(batches: Iterable[Pair]) -> Moments:
        """Those of batches of features `[B, d]` and targets `[B, k]`, gone through once.

        Raises:
            SolveError: there is no batch, or see `add`.
        """
        found: Moments | None = None
        for features, targets in batches:
            if found is None:
                check_pair(features, targets)
                found = Moments.nothing(features.shape[1], targets.shape[1], features.device)
            found.add(features, targets)
        if found is None:
            raise SolveError("there are no batches to solve for: give pairs of features [B, d] and targets [B, k]")
        return found

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of it but the count, by name, as files hold it."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    @property
    def scale(self) -> float:
        """The mean of the features' sums of squares: a penalty of this size counts as much as the features do."""
        return float(self.gram.diagonal().mean())

    @torch.no_grad()
    def add(self, features: Tensor, targets: Tensor) -> None:
        """More samples, in place.

        Args:
            features: float32 or float64 `[B, d]`.
            targets: `[B, k]`: values, or `one_hot` classes.

        Raises:
            SolveError: the shapes do not fit, or labels were given as they are.
        """
        check_pair(features, targets)
        if (features.shape[1], targets.shape[1]) != (len(self.mean), len(self.target_mean)):
            raise SolveError(
                f"a batch has {features.shape[1]} features and {targets.shape[1]} targets, where those before had "
                f"{len(self.mean)} and {len(self.target_mean)}; for further targets see Moments.with_targets"
            )
        if not len(features):
            return
        targets = targets.to(features)
        x, y = features - features.mean(0), targets - targets.mean(0)
        self.gram += x.T @ x
        self.cross += x.T @ y
        self.squares += y.square().sum(0)
        self._meet(features.mean(0).double(), targets.mean(0).double(), len(features))

    def __add__(self, other: Moments) -> Moments:
        """Those of all samples of both: what each of several processes has seen."""
        self._check_fits(other)
        both = Moments(
            self.gram + other.gram,
            self.cross + other.cross,
            self.squares + other.squares,
            self.mean.clone(),
            self.target_mean.clone(),
            self.count,
        )
        both._meet(other.mean, other.target_mean, other.count)
        return both

    def __sub__(self, other: Moments) -> Moments:
        """Those without the samples of the other, which were among these: as exact as the rounding of the sums.

        Raises:
            SolveError: no sample is left, or the shapes differ.
        """
        self._check_fits(other)
        left = self.count - other.count
        if left < 1:
            raise SolveError(f"{other.count} samples cannot be taken out of {self.count}: none would be left")
        mean = (self.count * self.mean - other.count * other.mean) / left
        target_mean = (self.count * self.target_mean - other.count * other.target_mean) / left
        share = left * other.count / self.count
        x, y = mean - other.mean, target_mean - other.target_mean
        return Moments(
            (self.gram - other.gram).addr_(x, x, alpha=-share),
            (self.cross - other.cross).addr_(x, y, alpha=-share),
            self.squares - other.squares - share * y.square(),
            mean,
            target_mean,
            left,
        )

    def with_targets(self, count: int) -> Moments:
        """The same samples with so many targets, the new ones zero: classes that none of them belongs to."""
        more = count - len(self.target_mean)
        if more < 0:
            raise SolveError(f"there are {len(self.target_mean)} targets; {count} would be fewer")
        cross, squares, mean = (functional.pad(old, (0, more)) for old in (self.cross, self.squares, self.target_mean))
        return Moments(self.gram, cross, squares, self.mean, mean, self.count)

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all.

        Raises:
            SaveError: it could not be written.
        """
        atomic_write(path, lambda file: write_sealed(self.tensors, file, {"count": self.count}))

    @staticmethod
    def load(path: Path) -> Moments:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            FileError: it is damaged, or holds something else.
        """
        try:
            tensors, told = read_sealed(Path(path))
        except DamagedFile as error:
            raise FileError(f"{path} is damaged ({error}); take the moments anew") from error
        try:
            return Moments(**tensors, count=told["count"])
        except (TypeError, KeyError) as error:
            raise FileError(f"{path} holds no moments; choose a file that Moments.save wrote") from error

    def _meet(self, mean: Tensor, target_mean: Tensor, count: int) -> None:
        """What the distance of the means adds where `count` samples come along (Chan, Golub & LeVeque, 1983)."""
        total = self.count + count
        share = count / total if total else 0.0
        x, y = mean - self.mean, target_mean - self.target_mean
        self.gram.addr_(x, x, alpha=self.count * share)
        self.cross.addr_(x, y, alpha=self.count * share)
        self.squares += self.count * share * y.square()
        self.mean = self.mean + share * x
        self.target_mean = self.target_mean + share * y
        self.count = total

    def _check_fits(self, other: Moments) -> None:
        if self.cross.shape != other.cross.shape:
            raise SolveError(
                f"moments of {list(self.cross.shape)} features and targets do not go with {list(other.cross.shape)}"
            )


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels int64 `[B]` as targets float32 `[B, classes]`: 1 for the class, else 0.

    Raises:
        SolveError: the labels are no integers of one dimension, or outside of the classes.
    """
    if labels.dim() != 1 or labels.is_floating_point():
        raise SolveError(f"labels are integers [B], got {labels.dtype} {list(labels.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise SolveError(
            f"labels go from {int(labels.min())} to {int(labels.max())}, but there are {classes} classes: 0 to "
            f"{classes - 1}"
        )
    return functional.one_hot(labels.long(), classes).float()


def check_repeats(batches: Iterable[object]) -> None:
    """Refuse what can be gone through only once, where more is needed.

    Raises:
        SolveError: it is an iterator.
    """
    if isinstance(batches, Iterator):
        raise SolveError(
            "the batches are gone through more than once, and an iterator is used up by then; give a list or a loader"
        )


def check_pair(features: Tensor, targets: Tensor) -> None:
    """Refuse what are no features and targets of the same samples.

    Raises:
        SolveError: the message says what was expected.
    """
    if features.dim() != 2 or features.dtype not in (torch.float32, torch.float64):
        raise SolveError(
            f"features are float32 or float64 [B, d], got {features.dtype} {list(features.shape)}; see "
            "Tensor.flatten(1) and Tensor.float()"
        )
    if targets.dim() != 2 or len(targets) != len(features):
        raise SolveError(
            f"targets are [B, k] with B = {len(features)} as the features, got {list(targets.shape)}; labels become "
            "targets by one_hot(labels, classes), one column by targets[:, None]"
        )
