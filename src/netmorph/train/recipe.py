"""How a network is trained: the hyper-parameters, as plain values."""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import NoneType, UnionType
from typing import Any, get_args

from netmorph.errors import NetmorphError, suggest
from netmorph.showing import Shows, View
from netmorph.train.optimizers import OPTIMIZERS, USUAL_DECAY
from netmorph.train.schedules import SCHEDULES
from netmorph.train.views import VIEWS


@dataclass(frozen=True, repr=False)
class Recipe(Shows):
    """Hyper-parameters of one training run; plain values, so that `dataclasses.asdict` of it is JSON.

    Attributes:
        epochs: passes over the training data.
        batch_size: samples a step.
        optimizer: a name in `netmorph.train.OPTIMIZERS`.
        learning_rate: the highest rate, reached after the warm-up.
        momentum: used by sgd and muon.
        nesterov: sgd looks ahead (Nesterov's momentum).
        weight_decay: decoupled for adamw and muon, coupled for sgd and adam; None is what is usual for the optimizer,
            see `decay`.
        schedule: a name in `netmorph.train.SCHEDULES`.
        warmup: share of all steps during which the rate rises from zero; cosine after 0.3 is a one-cycle
            schedule.
        decay_share: share of all steps at the end in which the rate falls to zero under the schedule `stable`, which
            keeps it constant between that and the warm-up.
        pad: pixels of padding before a random crop; 0 is no cropping.
        reflect: the padding continues the image in a mirror, which looks more like one than the zeros of otherwise.
        flip: mirror half of the images left to right.
        first_size: side of the images in the first epoch, as a share of their own; it grows evenly, to 1 after two
            thirds of the epochs. Small images cost less, and the first epochs need no detail. For networks that
            take images of any size. Source: M. Tan and Q. Le, EfficientNetV2, 2021, section 4.
        mixup: alpha of the Beta distribution from which images are blended with others of their batch; 0 is none.
        cutmix: alpha of the Beta distribution of the area pasted in from other images; 0 is none. With both, each
            batch draws one of them.
        label_smoothing: share of the target spread over all classes.
        class_weights: what the loss of each class counts, one number a class; None weighs all alike.
        accumulate: compute each batch in so many parts, one after another, which needs less memory; the step is
            that of the whole batch (but batch normalization sees a part at a time).
        clip_norm: largest norm of all gradients together; None does not clip.
        ema: decay, for each step, of a moving average of the weights; what is validated and kept is the average.
            None keeps the weights themselves.
        views: test a trained network by its mean answer to so many views of an image (test-time augmentation): 1 is
            the image; 2 the mirror image, too, where `flip` suits; 6 both also shifted by a pixel to two opposite
            corners. It costs the FLOPs of so many forward passes. Read where a run is tested; `train` itself validates
            on the images alone (`evaluate` takes `views`, too).
        patience: stop after so many epochs without a better one; None never stops early.
        bf16: run the forward pass under bfloat16 autocast.
        channels_last: lay images and filters out with the channels of a pixel side by side, which is faster for
            most convolutions.
        compile: compile the forward and backward passes of training with `torch.compile`, which needs a C++
            compiler and up to minutes at the start.

    Raises:
        NetmorphError: a value is out of range, or a name is unknown.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float | None = None
    schedule: str = "cosine"
    warmup: float = 0.0
    decay_share: float = 0.2
    pad: int = 0
    reflect: bool = False
    flip: bool = False
    first_size: float = 1.0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    accumulate: int = 1
    clip_norm: float | None = None
    ema: float | None = None
    views: int = 1
    patience: int | None = None
    bf16: bool = False
    channels_last: bool = False
    compile: bool = False

    def __repr__(self) -> str:
        """What differs from the usual; evaluates to an equal recipe."""
        return f"Recipe({', '.join(f'{name}={value!r}' for name, value in self._unusual().items())})"

    def view(self) -> View:
        """The values that differ from the usual; the others in a line."""
        unusual, usual = self._unusual(), {field.name: field.default for field in fields(self)}
        rows = ((name, str(value), str(usual[name])) for name, value in unusual.items())
        others = ", ".join(f"{name} {value}" for name, value in usual.items() if name not in unusual)
        return View(repr(self), ("", "value", "usual"), rows, notes=[f"As usual: {others}"])

    def _unusual(self) -> dict[str, object]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {field.name: values[field.name] for field in fields(self) if values[field.name] != field.default}

    def __post_init__(self) -> None:
        for field in fields(self):  # JSON gives lists; NumPy and PyTorch numbers could not be written as JSON
            object.__setattr__(self, field.name, _plain(field.name, getattr(self, field.name), field.type))
        _known("optimizer", self.optimizer, OPTIMIZERS)
        _known("schedule", self.schedule, SCHEDULES)
        _within("epochs", self.epochs, self.epochs >= 1, "at least 1")
        _within("batch_size", self.batch_size, self.batch_size >= 1, "at least 1")
        _within("learning_rate", self.learning_rate, 0 < self.learning_rate < math.inf, "above 0")
        _within("momentum", self.momentum, 0 <= self.momentum < 1, "from 0 to below 1")
        _within("weight_decay", self.weight_decay, 0 <= self.decay < math.inf, "0 or more")
        _within("warmup", self.warmup, 0 <= self.warmup < 1, "a share of the run, from 0 to below 1")
        longest = 1 - self.warmup if self.schedule == "stable" else 1
        shared = 0 < self.decay_share <= longest
        _within("decay_share", self.decay_share, shared, f"a share of the run, above 0 and up to {longest:g}")
        _within("pad", self.pad, self.pad >= 0, "0 or more pixels")
        _within("reflect", self.reflect, self.pad > 0 or not self.reflect, "used with a pad above 0, which it fills")
        _within("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "from 0 to below 1")
        _within("first_size", self.first_size, 0 < self.first_size <= 1, "a share of the side, above 0 and up to 1")
        for name, value in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            _within(name, value, 0 <= value < math.inf, "0 or more")
        weights = self.class_weights or (1.0,)
        valid = all(0 <= weight < math.inf for weight in weights) and any(weights)
        _within("class_weights", self.class_weights, valid, "0 or more each, one of them above 0")
        _within("accumulate", self.accumulate, 1 <= self.accumulate <= self.batch_size, "from 1 to the batch size")
        _within("views", self.views, self.views in VIEWS, f"one of {', '.join(map(str, VIEWS))}")
        _within("ema", self.ema, self.ema is None or 0 < self.ema < 1, "between 0 and 1, or None")
        _within(
            "clip_norm",
            self.clip_norm,
            self.clip_norm is None or 0 < self.clip_norm < math.inf,
            "a finite number above 0, or None",
        )
        _within("patience", self.patience, self.patience is None or self.patience >= 1, "at least 1, or None")

    @property
    def decay(self) -> float:
        """The weight decay: 0.01 for adamw and muon, 5e-4 for sgd and none for adam, where none is given."""
        return USUAL_DECAY.get(self.optimizer, 0.0) if self.weight_decay is None else self.weight_decay


def _plain(name: str, value: Any, kind: Any) -> Any:
    """A value of a recipe as plain Python has it.

    Args:
        kind: the type that its field is declared with.
    """
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if kinds[0] not in _PLAIN or (value is None and NoneType in kinds):  # what a subclass adds is its own affair
        return value
    expected, convert = _PLAIN[kinds[0]]
    try:
        if isinstance(value, str) != (kinds[0] is str):
            raise TypeError
        return convert(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # RuntimeError: a tensor of several
        raise NetmorphError(f"{name} must be {expected}; {value!r} was given") from error


# By the declared type: what is expected, and what makes it.
_PLAIN: dict[object, tuple[str, Callable[[Any], object]]] = {
    int: ("a whole number", operator.index),
    float: ("a number", float),
    bool: ("True or False", bool),
    str: ("a name", str),
    tuple[float, ...]: ("numbers, one a class", lambda values: tuple(map(float, values))),
}


def _known(what: str, name: str, registry: Mapping[str, object]) -> None:
    if name not in registry:
        raise NetmorphError(
            f"unknown {what} {name!r}{suggest(name.lower(), registry)}; known are {', '.join(registry)}"
        )


def _within(what: str, value: object, valid: bool, expected: str) -> None:
    if not valid:
        raise NetmorphError(f"{what} must be {expected}; {value!r} was given")
