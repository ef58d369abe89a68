"""Train a network: the loop, from the first epoch to the best weights."""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.data import Dataset, augment, batches
from netmorph.engine.checkpoint import CheckpointError, exists
from netmorph.engine.checks import check_data, check_optimizer, check_output, usable_device
from netmorph.engine.evaluate import Metrics, autocast, evaluate, mode, prepare, reference
from netmorph.engine.history import Epoch, History
from netmorph.engine.nonfinite import NotFinite, first_nonfinite
from netmorph.engine.recipe import Recipe, build_optimizer, learning_rate_at
from netmorph.engine.resume import Snapshot, load_progress, save_progress
from netmorph.errors import NetmorphError

# Reading a loss from an accelerator waits for all its work, so several are read together.
STEPS_PER_READ = 32
REMEDY = "Lower the learning rate, clip the gradients (clip_norm) or look at the data"


def train(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    optimizer: torch.optim.Optimizer | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> History:
    """Train a model to classify images, in place.

    At the end the model holds the weights of the best epoch, `history.best`, and the optimizer its state of
    the same moment, so that further training goes on from there. The model stays on `device`; the mode of
    every module is as before. The caller's random state is neither used nor changed: on the CPU, the same
    model, seed and number of threads give the same numbers, bit for bit.

    The recipe sets the learning rate of every parameter group. A last batch of a single sample is left out,
    because batch normalization cannot train on one.

    Args:
        model: takes normalized images [N, C, H, W] and gives logits [N, classes].
        dataset: its training split is learnt, its validation split chooses the best epoch.
        seed: decides the order of the samples, augmentation and dropout; 0 or more.
        optimizer: goes on with its state and options (of an edited network, say); None builds the recipe's.
        checkpoint: a file to write after each epoch.
        resume: go on from `checkpoint`, exactly as if the run had never stopped; start if there is none yet.
        on_epoch: called after each epoch, when its checkpoint is written.

    Raises:
        NetmorphError: the data, the model's output, the optimizer or the device does not fit; nothing is
            trained yet.
        CheckpointError: the checkpoint is damaged or belongs to another run, or exists without `resume`.
        NotFinite: a loss is NaN or infinite; the model keeps the weights of that moment.
        SaveError: a checkpoint cannot be written.
    """
    device = usable_device(device)
    check_data(dataset)
    _check_request(seed, checkpoint, resume)
    _place(model, device, recipe, optimizer)
    optimizer = optimizer or build_optimizer(model, recipe)
    check_optimizer(optimizer, model)
    check_output(model, dataset)

    identity = _identity(dataset, recipe, seed)
    history, best = History(), Snapshot.take(model, optimizer)
    if checkpoint is not None and resume and exists(checkpoint):
        history, best = load_progress(checkpoint, identity, model, optimizer)

    while not _finished(history, recipe):
        number = len(history) + 1
        started = perf_counter()
        fitted = _fit(model, dataset, recipe, optimizer, seed, number)
        validated = evaluate(model, dataset.validation, dataset, bf16=recipe.bf16)
        _check_validation(validated, number, model, dataset)
        epoch = Epoch(
            epoch=number,
            train_loss=fitted.loss,
            train_accuracy=fitted.accuracy,
            validation_loss=validated.loss,
            validation_accuracy=validated.accuracy,
            learning_rate=optimizer.param_groups[0]["lr"],
            seconds=perf_counter() - started,
        )
        history = History((*history, epoch))
        if history.best is epoch or checkpoint is not None:
            last = Snapshot.take(model, optimizer)
        if history.best is epoch:
            best = last
        if checkpoint is not None:
            save_progress(checkpoint, identity, history, last, best)
        if on_epoch is not None:
            on_epoch(epoch)

    best.put_back(model, optimizer)
    return history


def _finished(history: History, recipe: Recipe) -> bool:
    if not history:
        return False
    waited = len(history) - history.best.epoch
    return len(history) >= recipe.epochs or (recipe.patience is not None and waited >= recipe.patience)


def _fit(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    seed: int,
    epoch: int,
) -> Metrics:
    """One pass over the training split."""
    like = reference(model)
    full, rest = divmod(len(dataset.train), recipe.batch_size)
    steps = max(1, full + int(rest > 1))
    steps_per_read = 1 if like.device.type == "cpu" else STEPS_PER_READ
    correct = torch.zeros((), dtype=torch.int64, device=like.device)
    losses: list[Tensor] = []
    sizes: list[int] = []
    with mode(model, training=True), _seeded(seed, epoch, like.device) as generator:
        shuffled = batches(dataset.train, recipe.batch_size, generator=generator)
        for step, (images, labels) in enumerate(islice(shuffled, steps)):
            rate = learning_rate_at(recipe, (epoch - 1 + step / steps) / recipe.epochs)
            for group in optimizer.param_groups:
                group["lr"] = rate
            if recipe.pad or recipe.flip:
                images = augment(images, generator, pad=recipe.pad, flip=recipe.flip)
            inputs = prepare(images, dataset, like)
            targets = labels.to(like.device, non_blocking=True)
            with autocast(like.device, recipe.bf16):
                logits = model(inputs)
                loss = functional.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)

            losses.append(loss.detach())
            sizes.append(len(labels))
            correct += (logits.detach().argmax(1) == targets).sum()
            if (step + 1) % steps_per_read == 0 or step + 1 == steps:
                _check_losses(losses, step - step % steps_per_read, epoch, model, inputs)

            optimizer.zero_grad()
            loss.backward()
            if recipe.clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
            optimizer.step()
    count = sum(sizes)
    total = torch.stack(losses).double().cpu() @ torch.tensor(sizes, dtype=torch.float64)
    return Metrics(total.item() / count, correct.item() / count, count)


def _check_losses(losses: list[Tensor], start: int, epoch: int, model: nn.Module, inputs: Tensor) -> None:
    """Raise if a loss from step `start` on is not finite; the latest inputs show which module makes it so."""
    for step, loss in enumerate(losses[start:], start + 1):
        if not math.isfinite(loss.item()):
            where = first_nonfinite(model, inputs)
            raise NotFinite(f"the loss is {loss.item()} in epoch {epoch}, training step {step}: {where}. {REMEDY}")


def _check_validation(validated: Metrics, epoch: int, model: nn.Module, dataset: Dataset) -> None:
    if not math.isfinite(validated.loss):
        with mode(model, training=False):
            where = first_nonfinite(model, prepare(dataset.validation.images[:64], dataset, reference(model)))
        raise NotFinite(f"the loss is {validated.loss} in the validation of epoch {epoch}: {where}. {REMEDY}")


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[torch.Generator]:
    """Random numbers that depend on nothing but seed and epoch, so that a resumed run needs no stored state.

    Gives a generator for the data, and seeds torch's own for dropout until the block ends.
    """
    for_data, for_model = np.random.SeedSequence([seed, epoch]).generate_state(2)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which reaches for every device and takes a hundred microseconds.
        torch.default_generator.manual_seed(int(for_model))
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(int(for_model))
        yield torch.Generator().manual_seed(int(for_data))


def _check_request(seed: int, checkpoint: Path | None, resume: bool) -> None:
    if seed < 0:
        raise NetmorphError(f"seed must be 0 or more; {seed} was given")
    if resume and checkpoint is None:
        raise NetmorphError("resume needs the checkpoint to go on from; give its path")
    if checkpoint is not None and not resume and exists(checkpoint):
        raise CheckpointError(f"{checkpoint} exists; resume from it, delete it, or give another path")


def _place(model: nn.Module, device: torch.device, recipe: Recipe, optimizer: torch.optim.Optimizer | None) -> None:
    moves = reference(model).device != device
    model.to(device)
    if recipe.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if moves and optimizer is not None:
        # Takes its state to where the parameters are now.
        optimizer.load_state_dict(optimizer.state_dict())


def _identity(dataset: Dataset, recipe: Recipe, seed: int) -> dict[str, Any]:
    """What must be the same when a run goes on."""
    labels = (dataset.train.labels, dataset.validation.labels)
    split = [hashlib.sha256(part.numpy().tobytes()).hexdigest() for part in labels]
    return {**asdict(recipe), "seed": seed, "data": dataset.fingerprint, "split of the data": split}
