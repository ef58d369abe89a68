"""A GPT grows while it learns a text: when, from how many layers, by which blocks, at what rate, and what that pays.

    python -m benchmarks.growth_gpt FOLDER [--seeds 5] [--only 1 2] [--report]

Characters of Python's own sources (`--data` names another text). Rows of one seed see the same batches, and those that
start with the same network share its training up to where they leave it. FOLDER/rows.jsonl gets a line for each row
that has ended, so that a run that was stopped goes on; the tables and the picture are made of these lines, and of
nothing else with `--report`. One thread. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks._growing import Options, Row, Setting, Text, branches
from benchmarks._growing_tables import FULL, THIRD, TWO_THIRDS, Line, picture, table, told
from benchmarks._records import read_records
from benchmarks.engine import machine_line
from netmorph import widenings
from netmorph.edit.depth_by_copies import reset
from netmorph.files import write_text
from netmorph.policy import WAYS, Way, by_width, divide, drawn, rise, to_depth
from netmorph.train import Recipe
from netmorph.train.schedules import steps_until
from netmorph.workers import keep_freed_memory
from netmorph.zoo.transformer import DEVIATION, Block

SETTING = Setting(
    data="stdlib",
    window=64,
    steps=10_000,
    recipe=Recipe(
        batch_size=8,
        optimizer="muon",
        learning_rate=1e-2,
        schedule="stable",
        warmup=0.03,
        decay_share=0.2,
        clip_norm=1.0,
    ),
    full={"depth": 4, "channels": 32, "heads": 4, "tied": False},
)


@dataclass(frozen=True)
class Table:
    """Rows of one question.

    Attributes:
        seeds: at most so many.
    """

    title: str
    rows: tuple[Row, ...]
    seeds: int = 5


def _as_gpt2(depth: int) -> Callable[[nn.Module], None]:
    """First weights of a block as a whole network of that depth has them."""

    def draw(block: nn.Module) -> None:
        assert isinstance(block, Block)
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                scale = (2 * depth) ** -0.5 if layer in (block.attention.out, block.fc2) else 1.0
                nn.init.normal_(layer.weight, std=DEVIATION * scale)
                nn.init.zeros_(layer.bias)

    return draw


def _larger(times: float) -> Callable[[nn.Module], None]:
    """Weights of its linear layers as they draw them, so many times as large."""

    @torch.no_grad()
    def draw(block: nn.Module) -> None:
        reset(block)
        for layer in block.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(times)

    return draw


ONE, TWO = {"depth": 1}, {"depth": 2}
SMALL, HALF_WIDTH = "one layer to the end", "half the width to the end"
RISE = 200  # steps


def tables(full: Options) -> tuple[Table, ...]:
    """The questions to a network of these options, which all rows end with."""
    depth, width = full["depth"], full["channels"]
    half = {"channels": width // 2, "heads": full["heads"] // 2}
    ways: dict[str, Way] = {
        **WAYS,
        "random as GPT-2": drawn(_as_gpt2(depth)),
        "random, twice as large": drawn(_larger(2)),
        "random, four times as large": drawn(_larger(4)),
    }

    def late(name: str, share: float, way: str = "random", start: Options = ONE, **other: Any) -> Row:
        """From one layer, or another start, to all at a share of the steps."""
        return Row(name, start, ((share, to_depth(depth, ways[way])),), **other)

    def in_three(shares: Sequence[float], way: str) -> Row:
        """From one layer to half, three quarters and all of them."""
        depths = (depth // 2, depth * 3 // 4, depth)
        growths = [(share, to_depth(each, ways[way])) for share, each in zip(shares, depths, strict=True)]
        name = f"{_listed(depths)} layers at {_listed([round(100 * share) for share in shares])}%: {way}"
        return Row(name, ONE, tuple(growths))

    def wider(share: float, method: str) -> Row:
        """From half the width to all of it."""
        growth = share, by_width(2, widenings.WIDENINGS[method])
        return Row(f"width at {round(100 * share)}%: {method}", half, (growth,))

    return (
        Table(
            f"From one layer to {depth}, and sizes that do not grow",
            (
                Row(FULL),
                Row(TWO_THIRDS, length=2 / 3),
                Row(THIRD, length=1 / 3),
                Row(SMALL, ONE),
                late("at 50%: random", 0.5),
                late("at 80%: random", 0.8),
                late("at 80%: copied", 0.8, "copied"),
            ),
        ),
        Table(
            "In what way, later, and in three steps",
            (
                late("at 80%: zero", 0.8, "zero"),
                late("at 80%: r2r", 0.8, "r2r"),
                late("at 80%: random as GPT-2", 0.8, "random as GPT-2"),
                late("at 80%: random, twice as large", 0.8, "random, twice as large"),
                late("at 80%: random, four times as large", 0.8, "random, four times as large"),
                late("at 90%: random", 0.9),
                in_three((0.6, 0.7, 0.8), "copied"),
            ),
            seeds=3,
        ),
        Table(
            "A size between, and copies earlier",
            (
                Row("two layers to the end", TWO),
                late("from two layers at 50%: random", 0.5, start=TWO),
                late("from two layers at 80%: random, twice as large", 0.8, "random, twice as large", TWO),
                late("at 50%: copied", 0.5, "copied"),
            ),
            seeds=1,
        ),
        Table(
            f"What else: one layer to {depth} at 80%, random",
            (
                late("the rate rises again in 200 steps", 0.8, after=rise(RISE)),
                late("twice the rate from growth on", 0.8, after=divide(0.5)),
                late("a fresh optimizer", 0.8, fresh=True),
                late("decay of 10%", 0.8, decay_share=0.1),
            ),
            seeds=3,
        ),
        Table(
            "From half the width",
            (
                Row(HALF_WIDTH, half),
                *(wider(0.8, method) for method in ("r2r", "net2net", "copied_pairs", "random_pad")),
                wider(0.5, "net2net"),
            ),
            seeds=2,
        ),
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


SHOWN = (FULL, THIRD, SMALL, "at 50%: random", "at 80%: random", "at 80%: copied")


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    setting = _setting(options)
    questions = tables(setting.full)
    journal = options.folder / "rows.jsonl"
    lines = [line for line in read_records(journal) if line["setting"] == setting.told()]
    if not options.report:
        options.folder.mkdir(parents=True, exist_ok=True)
        for line in _results(setting, lines, [questions[number - 1] for number in options.only], options.seeds):
            lines.append(line)
            with journal.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"seed {line['seed']}, {line['row']}: {line['loss']:.4f}, {line['cpu']} s", flush=True)
    lines = told(lines)
    if not lines:
        print(f"no seed of this setting has its row {FULL!r} yet; there is nothing to compare with")
        return
    report = markdown(questions, lines)
    write_text(options.folder / "tables.md", report)
    picture(lines, SHOWN, options.folder / "growth-text.png")
    print(report)


def _results(setting: Setting, known: Sequence[Line], asked: Sequence[Table], seeds: int) -> Iterator[Line]:
    """What is not known yet, table by table and seed by seed."""
    text, done = Text(setting), {(line["row"], line["seed"]) for line in known}
    for questions, seed in ((each, seed) for each in asked for seed in range(min(seeds, each.seeds))):
        rows = [row for row in questions.rows if (row.name, seed) not in done]
        began = time.process_time()
        for row, learner in branches(rows, text, seed):
            yield {
                "row": row.name,
                "seed": seed,
                "loss": learner.curve[-1][2],
                "flops": learner.flops,
                "grown": [steps_until(share, row.steps(setting)) for share, _ in row.growths],
                "jumps": learner.jumps,
                "curve": learner.curve,
                "cpu": round(time.process_time() - began, 1),
                "setting": setting.told(),
            }
            began = time.process_time()


def markdown(questions: Sequence[Table], lines: Sequence[Line]) -> str:
    """The tables of a page, with what they depend on."""
    parts = []
    for one in questions:
        names = [row.name for row in one.rows]
        if any(line["row"] in names for line in lines):
            parts += [f"{one.title}:\n", table(names, lines)]
    minutes = sum(line["cpu"] for line in lines) / 60
    return "\n".join([*parts, f"{machine_line()}; {minutes:.0f} minutes of processor time.\n"])


def _setting(options: argparse.Namespace) -> Setting:
    return replace(
        SETTING,
        data=options.data,
        window=options.window,
        steps=options.steps,
        recipe=replace(SETTING.recipe, batch_size=options.batch, learning_rate=options.rate),
        full=SETTING.full | {"depth": options.depth, "channels": options.channels},
    )


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth_gpt", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the results")
    parser.add_argument("--data", default=SETTING.data, help="a text, as netmorph takes it (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=SETTING.steps, help="of a training (default: %(default)s)")
    full, recipe = SETTING.full, SETTING.recipe
    parser.add_argument("--depth", type=int, default=full["depth"], help="layers in the end (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=full["channels"], help="of a layer (default: %(default)s)")
    parser.add_argument("--window", type=int, default=SETTING.window, help="characters (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=recipe.batch_size, help="windows (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=recipe.learning_rate, help="of Muon (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="at most (default: %(default)s)")
    numbers = range(1, len(tables(full)) + 1)
    parser.add_argument("--only", type=int, choices=numbers, nargs="+", default=numbers, help="tables (default: all)")
    parser.add_argument("--report", action="store_true", help="train nothing: tables and picture of what is there")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
