"""Ranks of wide perceptrons on MNIST while they train: the original setting, and SGD with more and less weight decay.

    python -m benchmarks.rank_study --output runs/rank-study

784-wide networks of 2 to 5 hidden layers. *The original setting*: Adam without weight decay, small and large batches in
turn, a look every third epoch. *Decay*: SGD with weight decay 0, 1e-4, 5e-4 and 5e-3. Each trains till its loss is flat
(`netmorph.ranks.trainings.saturated`); one goes on long after that, to see where its ranks arrive. What is trained is
kept, so that a run that was stopped goes on; at the end are tables, a page and figures. `netmorph ranks study` is the
study of random networks.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
import torch

from netmorph.data import Dataset, load
from netmorph.ranks import plots
from netmorph.ranks.answers import Kind, features, log_ranks, rank_of, settled, weights
from netmorph.ranks.architectures import Architecture
from netmorph.ranks.looks import look
from netmorph.ranks.rows import ROWS, Row, read, write_rows
from netmorph.ranks.trainings import saturated
from netmorph.report.numbers import duration, percent
from netmorph.report.plain_page import Page, Picture, Table
from netmorph.run.machine import machine, versions
from netmorph.tasks import LOSS
from netmorph.train import History, build_optimizer, evaluate, train

DEPTHS = (2, 3, 4, 5)
WIDTH = 784
EVERY = 3
EPOCHS = 40  # at most


@dataclass(frozen=True)
class Setting:
    """How networks of all depths are trained; epochs take the batch sizes in turn."""

    name: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    batches: tuple[int, ...]
    samples: int
    least: int = 0  # epochs, flat or not


SETTINGS = [
    Setting("adam", "adam", 1e-3, 0.0, (32, 512), 5000),
    *(Setting(f"sgd-{decay:g}", "sgd", 0.02, decay, (32,), 2000) for decay in (0.0, 1e-4, 5e-4, 5e-3)),
]
LONG, DEPTH = Setting("sgd-0.005-long", "sgd", 0.02, 5e-3, (32,), 2000, least=150), 3


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/rank-study"))
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="at most")
    told = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = {setting: load(told.data, seed=0, train_size=setting.samples) for setting in (*SETTINGS, LONG)}
    for depth, setting in (*itertools.product(DEPTHS, SETTINGS), (DEPTH, LONG)):
        file = told.output / ROWS / f"{setting.name}-{depth}.jsonl"
        if not file.exists():
            row = trained(setting, depth, data[setting], told.width, told.epochs)
            write_rows(file, [row])
            print(f"{setting.name}, {depth} layers: {row.last.epoch} epochs in {duration(row.seconds)}", flush=True)
    rows = read(told.output)
    tables = [table(setting, [row for row in rows if row.condition == setting.name]) for setting in (*SETTINGS, LONG)]
    tables.append(by_decay(rows))
    for one in tables:
        print("\n".join(markdown(one)))
    total = f"{duration(sum(row.seconds for row in rows))} of the processor; {machine()}; {versions()}"
    print(total)
    shown = list(pictures(rows))
    page = Page("Ranks of wide perceptrons", [total], tables, shown)
    page.save_pictures(told.output / "figures")
    print(page.write(told.output / "report.html"))


def trained(setting: Setting, depth: int, dataset: Dataset, width: int, most: int) -> Row:
    """One network, with a look before and after every `EVERY` epochs."""
    started = process_time()
    rate, decay = setting.learning_rate, setting.weight_decay
    shapes = [Architecture((width,) * depth, False, size, rate, decay, setting.optimizer) for size in setting.batches]
    recipes = [shape.recipe(epochs=1) for shape in shapes]
    model = shapes[0].build(dataset.input_shape, dataset.outputs, seed=0)
    optimizer = build_optimizer(model, recipes[0])
    numbers = [evaluate(model, part, dataset).numbers for part in (dataset.train, dataset.validation)]
    looks = [look(model, dataset, 0, *numbers, keep_values=True)]
    history = History()
    while len(history) < setting.least or (len(history) < most and not (history and saturated(history))):
        recipe, number = recipes[len(history) % len(recipes)], len(history) + 1
        history = History((*history, *train(model, dataset, recipe, seed=number, optimizer=optimizer)))
        if number % EVERY == 0:
            # An epoch begins where the last one ended: an epoch's best weights are its own.
            doubled = number >= 2 * max(each.epoch for each in looks if each.values)
            looks.append(look(model, dataset, number, history[-1].train, history[-1].validation, keep_values=doubled))
    looks = [each for each in looks if each.epoch < len(history)]
    looks.append(look(model, dataset, len(history), history[-1].train, history[-1].validation, keep_values=True))
    test = dict(evaluate(model, dataset.test, dataset).numbers)
    seconds = process_time() - started
    return Row(depth, setting.name, 0, shapes[0], tuple(looks), test, saturated(history), seconds)


def table(setting: Setting, rows: Sequence[Row]) -> Table:
    batches = " and ".join(map(str, setting.batches))
    return Table(
        f"{setting.optimizer}, weight decay {setting.weight_decay:g}",
        ("hidden layers", "epochs", "training loss", "test", "rank of weights, by layer", "of features", "settled"),
        [
            [
                str(row.network),
                f"{row.last.epoch}{'' if row.saturated else ', not flat'}",
                f"{row.last.train[LOSS]:.4f}",
                percent(row.test["accuracy"]),
                by_layer(row, weights),
                by_layer(row, features),
                ", ".join(name for name, kind in (("weights", weights), ("features", features)) if settled(row, kind)),
            ]
            for row in rows
        ],
        f"Effective ranks before and after training. {setting.samples} training images, learning rate "
        f"{setting.learning_rate:g}, batches of {batches}.",
    )


def by_decay(rows: Sequence[Row]) -> Table:
    """Test accuracy and the geometric mean of the ranks of hidden layers, by depth and setting."""
    shown = []
    for setting in SETTINGS:
        own = [row for row in rows if row.condition == setting.name]
        for name, kind, measure in (
            ("effective rank of weights", weights, "effective_rank"),
            ("stable rank of weights", weights, "stable_rank"),
            ("effective rank of features", features, "effective_rank"),
        ):
            shown.append(
                [f"{setting.name}: {name}", *(f"{np.exp(rank_of(row, row.last, kind, measure)):.1f}" for row in own)]
            )
        shown.append([f"{setting.name}: test accuracy", *(percent(row.test["accuracy"]) for row in own)])
    return Table(
        "By weight decay", ("", *(f"{depth} layers" for depth in DEPTHS)), shown, "Hidden layers, geometric means."
    )


def by_layer(row: Row, kind: Kind) -> str:
    before, after = (np.exp(log_ranks(row, at, kind)) for at in (row.first, row.last))
    return ", ".join(f"{one:.0f} → {other:.0f}" for one, other in zip(before, after, strict=True))


def pictures(rows: Sequence[Row]) -> Iterator[Picture]:
    """Of each setting all depths, and of the deepest networks all settings."""
    for setting in (*SETTINGS, LONG):
        own = {f"{row.network} hidden layers": [row] for row in rows if row.condition == setting.name}
        yield Picture(
            f"courses-{setting.name}",
            f"{setting.name}: loss, accuracy, rank and norm over time",
            "Hidden layers averaged.",
            partial(plots.courses, series=own),
            560,
        )
        layers = {name: row for name, [row] in own.items()}
        draw = partial(plots.layer_courses, rows=layers)
        yield Picture(
            f"layers-{setting.name}",
            f"{setting.name}: ranks of each layer",
            "Weights above, features below.",
            draw,
            520,
        )
        draw = partial(plots.gradient_ranks, series=own)
        yield Picture(
            f"gradients-{setting.name}", f"{setting.name}: ranks of gradients", "Of a probe batch.", draw, 330
        )
    deepest = {row.condition: row for row in rows if row.network == max(DEPTHS)}
    [long] = [row for row in rows if row.condition == LONG.name]
    text = f"{max(DEPTHS)} hidden layers; {DEPTH} of the long training."
    draw = partial(plots.courses, series={name: [row] for name, row in deepest.items()})
    yield Picture("decay", "All settings over time", text, draw, 560)
    for name, row in [*deepest.items(), (LONG.name, long)]:
        yield Picture(
            f"spectra-{name}", f"{name}: singular values over training", text, partial(plots.spectra, row=row), 300
        )


def markdown(one: Table) -> Iterator[str]:
    yield f"\n{one.title}. {one.text}\n"
    yield f"| {' | '.join(one.columns)} |"
    yield f"|{'---|' * len(one.columns)}"
    for row in one.rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    main()
