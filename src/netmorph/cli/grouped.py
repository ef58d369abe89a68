"""Options that go together: classes whose names and values are those of parameters, which commands take by `also`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from netmorph.cli import options


class OfData:
    """Which data, beside their name."""

    task: options.TaskOption = None
    target: options.Target = None
    ignore: options.Ignore = None
    missing: options.Missing = None
    window: options.Window = None
    unit: options.Unit = None
    train_size: options.TrainSize = None
    resize: options.Resize = None


class Streaming:
    """Images that stay on disk."""

    stream: options.Stream = False
    skip_unreadable: options.SkipUnreadable = None


class Augmenting:
    """Training images that differ from epoch to epoch."""

    pad: options.Pad = 0
    reflect: options.Reflect = False
    flip: options.Flip = False


class Stepping:
    """What a training step is."""

    batch_size: options.BatchSize = None
    optimizer: options.Optimizer = options.OptimizerName.adamw
    weight_decay: options.Decay = None
    bf16: options.Bf16 = False


class Course:
    """A training from its first step to its last."""

    learning_rate: options.Rate = None
    schedule: options.Schedule = "cosine"
    warmup: options.Warmup = 0.0
    decay_share: options.DecayShare = 0.2
    label_smoothing: options.Smoothing = 0.0


class Finer:
    """What fewer trainings need."""

    momentum: options.Momentum = 0.9
    nesterov: options.Nesterov = True
    clip_norm: options.ClipNorm = None
    mixup: options.Mixup = 0.0
    cutmix: options.Cutmix = 0.0
    accumulate: options.Accumulate = 1


class Machine:
    """Where it runs, and what is drawn."""

    device: options.Device = "cpu"
    seed: options.Seed = 0


class Working:
    """Processes that train beside each other."""

    workers: options.Workers = None
    threads: options.WorkerThreads = 1


class Run:
    """The folder of a run, and how it is told."""

    output: options.Output = None
    resume: options.Resume = None
    as_json: options.AsJson = False


Command = Callable[..., None]


def also(*groups: type) -> Callable[[Command], Command]:
    """Give a command the options of these groups, beside those of its own signature."""

    def extended(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=vars(group)[name], annotation=told)
            for group in groups
            for name, told in inspect.get_annotations(group, eval_str=True).items()
        ]

        def run(**told: Any) -> None:
            command(**{name: told[name] for name in own.parameters})

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = own.replace(parameters=[*own.parameters.values(), *more])  # type: ignore[attr-defined]
        return run

    return extended
