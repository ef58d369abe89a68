"""Gradient steps on copies of a chain's layers while it is searched for: to look at the gradients, or to learn."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from netmorph.bank import Piece
from netmorph.chain.detached import DetachedLayers
from netmorph.chain.gradients import Gradients, Watch
from netmorph.chain.trials import Study, Trials
from netmorph.chain.values import Chain, Lesson, Record
from netmorph.seeds import generator_of
from netmorph.solve import one_hot


@dataclass(frozen=True)
class Steps:
    """A few steps of Adam.

    Attributes:
        count: how many.
        batch: samples a step.
        learning_rate: of Adam.
    """

    count: int
    batch: int = 64
    learning_rate: float = 1e-3


LOOK = Steps(4)  # copies are thrown away
LESSON = Steps(64)


@dataclass(frozen=True, eq=False)
class Taught:
    """What came of some steps.

    Attributes:
        pieces: copies of the chain's layers that have learnt, on the CPU.
        gradients: of each of them, over the steps.
    """

    pieces: tuple[Piece, ...]
    gradients: tuple[Gradients, ...]


@torch.enable_grad()
def taught(problem: DetachedLayers, record: Record, steps: Steps, seed: int = 0) -> Taught:
    """Let copies of the layers of a chain that was judged follow the gradient of its loss. Problem and bank stay.

    The chain's end stays as it is, and so do stitches. As a head that was solved is the best one for its features, the
    gradient with that head is the gradient of what a head solved anew would lose (variable projection; G. Golub and V.
    Pereyra, 1973). Layers run in eval mode: norms keep their statistics. FLOPs are counted as three forward passes of a
    batch and step; what the first forward keeps for the gradients has to fit into the cache's memory.

    Args:
        seed: draws the batches, from the samples that heads are solved on.

    Raises:
        MemoryLimit: a step does not fit.
        SolveError: there is no head for such features; such a chain's outcome is a failure.
    """
    chain = record.chain
    modules = [copy.deepcopy(module) for module in problem.modules(chain.layers)]
    pieces = [_piece(module) for module in modules]
    weights = [weight for piece in pieces for weight in piece.parameters() if weight.is_floating_point()]
    for weight in weights:
        weight.requires_grad_(True)
    body = nn.Sequential(*modules, problem.answering(chain).requires_grad_(False)).eval()
    watches = [Watch(piece) for piece in pieces]
    inputs, labels = problem.labelled
    held = _held(body, inputs[:2]) * steps.batch // 2
    problem.cache.make_room(held, f"a step of gradients on {steps.batch} samples through {len(pieces)} layers")
    optimizer = torch.optim.Adam(weights, steps.learning_rate) if weights else None
    for batch in _batches(len(inputs), steps, seed):
        answers = body(inputs[batch])
        if optimizer is not None:
            optimizer.zero_grad()
            (answers - one_hot(labels[batch], answers.shape[1]).to(answers)).square().sum(1).mean().backward()
        for watch in watches:
            watch.look()
        if optimizer is not None:
            optimizer.step()
    problem.spend(3 * steps.count * steps.batch * record.outcome.flops)
    for weight in weights:
        weight.grad = None
        weight.requires_grad_(False)
    return Taught(tuple(piece.cpu() for piece in pieces), tuple(watch.seen for watch in watches))


def looking(problem: DetachedLayers, steps: Steps = LOOK) -> Study:
    """Looks at the gradients of each chain that is judged: they describe its layers from then on."""

    def study(trials: Trials, record: Record) -> Record:
        if not _can_learn(record):
            return record
        told = tuple(one.told for one in taught(problem, record, steps).gradients)
        finite = all(math.isfinite(number) for numbers in told for number in numbers)
        return replace(record, gradients=told) if finite else record

    return study


def teaching(problem: DetachedLayers, lessons: int, steps: Steps = LESSON) -> Study:
    """Gives lessons at equal distances of the budget; the best chain that had none yet learns.

    Copies of its layers go into the bank, with the layers as parents, and are new layers of the problem, which needs
    `lessons * longest` empty places.
    """

    def study(trials: Trials, record: Record) -> Record:
        number = len(trials.records) + 1
        records = [*trials.records, record]
        had = {one.lesson.chain for one in records if one.lesson is not None}
        pupils = [one for one in records if _can_learn(one) and one.chain not in had]
        if number not in _due(trials.budget, lessons) or not pupils:
            return record
        best = max(pupils, key=lambda one: trials.worth_of(one.outcome))
        pieces = taught(problem, best, steps, seed=number).pieces
        copies = [
            problem.bank.add_copy(problem.entries[id], one) for id, one in zip(best.chain.layers, pieces, strict=True)
        ]
        lesson = Lesson(best.chain, Chain(tuple(one.id for one in copies), best.chain.end))
        return record if lesson.copies == lesson.chain else replace(record, lesson=lesson)

    return study


def in_turn(*studies: Study) -> Study:
    """One study after another."""

    def study(trials: Trials, record: Record) -> Record:
        for one in studies:
            record = one(trials, record)
        return record

    return study


def seen_in(
    problem: DetachedLayers, records: Iterable[Record], steps: Steps = LOOK
) -> dict[tuple[str, int], Gradients]:
    """The gradients of each layer at each place of some chains, by its id and the number of layers in front of it.

    Returns:
        By index; the mean over all chains that have it there.
    """
    found: dict[tuple[str, int], list[Gradients]] = {}
    for record in filter(_can_learn, records):
        for place, (id, one) in enumerate(
            zip(record.chain.layers, taught(problem, record, steps).gradients, strict=True)
        ):
            found.setdefault((id, place), []).append(one)
    return {key: Gradients.mean(several) for key, several in found.items()}


def _can_learn(record: Record) -> bool:
    return record.outcome.failure is None and bool(record.chain.layers)


def _due(budget: int, lessons: int) -> set[int]:
    """After how many chains there are lessons; one chain at least comes behind each, that of the copies."""
    return {budget * number // (lessons + 1) for number in range(1, lessons + 1)} - {budget}


def _piece(module: nn.Module) -> Piece:
    """The layer alone, without its stitch."""
    piece = module if isinstance(module, Piece) else module[-1]  # type: ignore[index]
    assert isinstance(piece, Piece)
    return piece


def _batches(samples: int, steps: Steps, seed: int) -> Iterator[Tensor]:
    """Numbers of samples, in a drawn order that begins again where it ends."""
    order = torch.randperm(samples, generator=generator_of(seed))
    for number in range(steps.count):
        yield order[(number * steps.batch + torch.arange(steps.batch)) % samples]


def _held(body: nn.Module, inputs: Tensor) -> int:
    """Bytes that a forward keeps for the gradients, weights aside."""
    own = {weight.untyped_storage().data_ptr() for weight in body.parameters()}
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        answers = body(inputs.clone())
    del answers  # until here all that is held has an address of its own
    return sum(size for address, size in held.items() if address not in own)
