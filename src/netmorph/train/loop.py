"""Train a network: the loop over epochs, from the first one to the best weights."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from netmorph.data import Dataset, batches
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.seeds import check_seed
from netmorph.train.advice import advice
from netmorph.train.average import MovingAverage
from netmorph.train.checkpoint import CheckpointError, existing
from netmorph.train.checks import (
    check_alike,
    check_data,
    check_optimizer,
    check_output,
    check_recipe,
    device_for,
    materialize,
    warn_of_eval_mode,
)
from netmorph.train.editing import Editing, InLoop, check_edits, check_moments, start_of
from netmorph.train.evaluation import evaluate
from netmorph.train.fit import TrainState, fit
from netmorph.train.history import Epoch, History
from netmorph.train.inputs import autocast, prepare, reference
from netmorph.train.keeper import SECONDS, Keeper, check_seconds
from netmorph.train.means import Metrics
from netmorph.train.modes import mode
from netmorph.train.nonfinite import REMEDY, NotFinite, first_nonfinite
from netmorph.train.optimizers import build_optimizer
from netmorph.train.pace import LearningRatePolicy
from netmorph.train.parallel import ONE_PROCESS, World, from_first, in_step, share_buffers
from netmorph.train.place import place, resident
from netmorph.train.position import START, Position
from netmorph.train.recipe import Recipe
from netmorph.train.resume import Snapshot, load_progress, run_identity
from netmorph.train.schedules import learning_rate_of, steps_per_epoch
from netmorph.wording import listed


def train(
    model: nn.Module | Graph,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float | None = SECONDS,
    resume: bool = False,
    on_epoch: Callable[[Epoch], None] | None = None,
    edit: InLoop | None = None,
    edit_every: int | None = None,
    edit_at: Sequence[float] | None = None,
    after_edit: LearningRatePolicy | None = None,
    enough: Callable[[History], bool] | None = None,
    world: World = ONE_PROCESS,
) -> History:
    """Train a model on a data set's task, in place.

    At the end the model holds the weights of the best epoch, `history.best` (those of the moving average, if the
    recipe asks for one), and the optimizer its state of the same moment, so that further training goes on from
    there. The model stays on `device`; the mode of every module is as before. The caller's random state is
    neither used nor changed: on the CPU, the same model, seed and number of threads give the same numbers, bit
    for bit.

    The recipe sets the learning rate of every parameter group, times the group's `"lr_scale"` if it has one. Modules
    that are in eval mode beside others in train mode stay so, as frozen batch norms should; a warning names them. A
    last batch of a single sample is left out, because batch normalization cannot train on one. Lazy layers get their
    weights from a batch first, as if the model had been called before: they draw from the caller's random state.

    With `edit`, structure may change at one point: between two epochs, or after every `edit_every` steps, or at the
    shares of all steps that `edit_at` tells. `edit(graph, history, optimizer)` is given the network as it is then,
    traced anew, the finished epochs (with `history.progress`, the share of all steps that are done) and the optimizer;
    it returns the graph that training goes on with: `apply(graph, some_edit, optimizer)`, or the one it was
    given. Moving average, compiled and data-parallel wrappers follow by themselves. In the end the model has the
    structure of the best epoch, too, and `history.journal` tells its edits. A resumed run makes the edits since its
    checkpoint again, so `edit` must depend on its arguments alone; torch's own random numbers depend on seed, epoch and
    step there. What edits replaced is forgotten when training goes on, so that `undo` knows their inverses alone in the
    next call. With several processes, all make the same edit.

    Args:
        model: takes prepared inputs, see `Dataset.preparation`, and gives outputs that fit the data set's task. To edit
            it, a few training inputs trace it; in place of it, a graph gives other inputs, and a journal that goes on.
        dataset: its training part is learnt, its validation part chooses the best epoch. Samples in memory are
            moved to the device as a whole.
        seed: decides the order of the samples, augmentation and dropout; 0 or more.
        device: where to train; None is where the model is.
        optimizer: goes on with its state and options (of an edited network, say); None builds the recipe's.
        checkpoint: a file to write after each epoch.
        checkpoint_seconds: write it within an epoch, too, whenever the last one is so long ago; 0 does after each step,
            None never does. Of one process: several write after whole epochs only.
        resume: go on from `checkpoint`, exactly as if the run had never stopped; start if there is none yet.
        on_epoch: called after each epoch, when its checkpoint is written; in the first process only.
        edit: edits the network while it trains, see above; None never does. To resume, give the model as it was before
            the first edit.
        edit_every: the steps between two calls of `edit`; None is an epoch, unless `edit_at` is given.
        edit_at: shares of all steps, each above 0 and below 1, at which `edit` is called as well: before the first step
            that so many come before. All steps are those of the recipe's epochs, whatever ends the training earlier.
        after_edit: sets the learning rates after an edit, see `netmorph.policy.learning_rate`; called once if `edit`
            has made several. None goes on as the recipe says.
        enough: ends the training where it is true of the epochs so far; asked after each. What it says must depend on
            nothing else.
        world: the processes that train together, see `netmorph.train.joined`. Each computes its share of
            every batch; the first one reads and writes the checkpoint.

    Raises:
        NetmorphError: the data, the recipe, the model's output, the optimizer or the device does not fit; nothing
            is trained yet. Or `edit` did not return a graph of this model as it is; the last checkpoint stays.
        EditError: an edit is not possible; the last checkpoint stays.
        CheckpointError: the checkpoint is damaged or belongs to another run, or exists without `resume`.
        NotFinite: a loss is NaN or infinite, or the number that chooses in every epoch; the model keeps the weights of
            that moment.
        OutOfMemory: the message says what to lower.
        SaveError: a checkpoint cannot be written.
    """
    check_edits(model, edit, edit_every, edit_at, after_edit)
    given, model = model, model.model if isinstance(model, Graph) else model
    device = device_for(model, device)
    checkpoint = None if checkpoint is None else Path(checkpoint)
    check_data(dataset)
    check_recipe(recipe, dataset, world)
    check_seed(seed)
    check_seconds(checkpoint_seconds)
    steps = steps_per_epoch(len(dataset.train), recipe.batch_size, world.size)
    check_moments(edit_at, recipe.epochs * steps)
    _check_checkpoint(checkpoint, resume)
    with advice(recipe, "before the first epoch"):
        materialize(model, dataset)
        place(model, device, recipe, optimizer)
        optimizer = optimizer or build_optimizer(model, recipe)
        check_optimizer(optimizer, model)
        warn_of_eval_mode(model)
        check_output(model, dataset, recipe)
        known: dict[str, Any] = {}  # hashing all samples takes a while, and only some runs need it
        if checkpoint is not None or world.size > 1:
            known = run_identity(dataset, recipe, seed, world)
            if edit is not None:
                known["edits"] = _moments(edit_every, edit_at)
            check_alike(known, world)
        dataset = resident(dataset, device)
        forward = in_step(model, world)  # before anything is copied from the model: it gets the first one's weights
        average = None if recipe.ema is None else MovingAverage(model, recipe.ema)
        judged = model if average is None else average.model
        editing = None
        if edit is not None:
            start = start_of(given, forward, dataset, average)
            editing = Editing(start, edit, edit_every, edit_at, after_edit, optimizer, average, recipe, seed)
        history, best, position = History(), Snapshot.take(model, optimizer, editing), START
        if checkpoint is not None and resume and from_first(lambda: existing(checkpoint), world):
            found = load_progress(checkpoint, known, steps, model, optimizer, average, editing, world)
            history, best, position = found
        keeper = None
        if checkpoint is not None and world.rank == 0:
            # What the processes have drawn and counted since an epoch began differs, and only one of them writes.
            within = checkpoint_seconds if world.size == 1 else None
            keeper = Keeper(checkpoint, known, within, model, optimizer, average, editing, history, best)
    called = torch.compile(forward) if recipe.compile else forward
    state = TrainState(model, called, optimizer, average, world, editing)
    while not (_finished(history, recipe) or (history and enough is not None and enough(history))):
        number = len(history) + 1
        started = perf_counter() - position.seconds
        if editing is not None:
            editing.history = history
        with advice(recipe, f"in epoch {number}"):
            fitted = _fit(state, dataset, recipe, seed, number, position, keeper)
            share_buffers(judged, world)
            validated = _validate(judged, dataset, recipe, number, world)
        epoch = Epoch(
            epoch=number,
            train=fitted.numbers,
            validation=validated.numbers,
            score=dataset.task.score(validated.numbers),
            learning_rate=learning_rate_of(recipe, number, steps - 1, steps),
            seconds=perf_counter() - started,
        )
        history = History((*history, epoch), history.journal)
        if history.best is epoch:
            best = Snapshot.take(judged, optimizer, editing, of=model)
            history = History(history, best.journal)
        position = START
        if keeper is not None:
            keeper.history, keeper.best = history, best
            keeper.write(position)
        if on_epoch is not None and world.rank == 0:
            on_epoch(epoch)

    if not math.isfinite(history.best.score):
        raise NotFinite(
            f"{dataset.task.chooses.name!r}, which chooses the best epoch, was NaN or infinite on the validation part "
            f"in all of {len(history)} epochs; let another number choose, or look at the data"
        )
    best.put_back(model, optimizer, editing)
    return history


def _moments(every: int | None, at: Sequence[float] | None) -> str:
    """When edits are made, for the identity of a run."""
    told = [] if at is None else [f"at {', '.join(f'{float(share)!r}' for share in at)} of all steps"]
    if every is not None:
        told.append(f"after every {every} steps")
    return " and ".join(told) or "after each epoch"


def _finished(history: History, recipe: Recipe) -> bool:
    if not history:
        return False
    waited = len(history) - history.best.epoch
    return len(history) >= recipe.epochs or (recipe.patience is not None and waited >= recipe.patience)


def _fit(
    state: TrainState,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    epoch: int,
    start: Position = START,
    keeper: Keeper | None = None,
) -> Metrics:
    """One epoch, or the rest of it; reading each loss would hold an accelerator up."""
    if reference(state.model).device.type == "cpu":
        return fit(state, dataset, recipe, seed=seed, epoch=epoch, watch=True, start=start, keeper=keeper)
    return _fit_unwatched(state, dataset, recipe, seed, epoch, start, keeper)


def _fit_unwatched(
    state: TrainState,
    dataset: Dataset,
    recipe: Recipe,
    seed: int,
    epoch: int,
    start: Position = START,
    keeper: Keeper | None = None,
) -> Metrics:
    """The same; where a NaN came from is found by living it again."""
    before = Snapshot.take(state.model, state.optimizer, state.editing)
    fitted = fit(state, dataset, recipe, seed=seed, epoch=epoch, watch=False, start=start, keeper=keeper)
    if not math.isfinite(fitted.loss):
        before.put_back(state.model, state.optimizer, state.editing)
        if state.average is not None:  # edits are checked on it, too
            state.average.model.load_state_dict(state.model.state_dict())
        fit(state, dataset, recipe, seed=seed, epoch=epoch, watch=True, start=start)
        raise NotFinite(f"a loss was {fitted.loss} in epoch {epoch}, but not when the epoch was repeated. {REMEDY}")
    return fitted


def _validate(model: nn.Module, dataset: Dataset, recipe: Recipe, epoch: int, world: World) -> Metrics:
    found = evaluate(model, dataset.validation, dataset, bf16=recipe.bf16, world=world)
    if not math.isfinite(found.loss):
        where = _first_nonfinite(model, dataset, recipe)
        raise NotFinite(f"the loss is {found.loss} in the validation of epoch {epoch}: {where}. {REMEDY}")
    return found


def _first_nonfinite(model: nn.Module, dataset: Dataset, recipe: Recipe) -> str:
    """The module that is first not finite, of the first validation samples whose answer is not."""
    like = reference(model)
    with mode(model, training=False), torch.no_grad(), autocast(like.device, recipe.bf16):
        for stored, _ in batches(dataset.validation, 256):
            inputs = prepare(stored, dataset, like)
            if not model(inputs).isfinite().all():
                return first_nonfinite(model, inputs)
    return "every answer is finite, the loss itself overflowed"


def _check_checkpoint(checkpoint: Path | None, resume: bool) -> None:
    if resume and checkpoint is None:
        raise NetmorphError("resume needs the checkpoint to go on from; give its path")
    found = [] if checkpoint is None or resume else [str(file) for file in existing(checkpoint)]
    if found:
        raise CheckpointError(f"there is {listed(found, ' and ')}; resume, delete what is there, or give another path")
