"""The shortest look at growth: a GPT that grows while it learns, beside the same network full-size from the start.

    python -m benchmarks.growth_short [PICTURE] [--steps 3000]

Characters of Python's own sources. One layer learns first, and is grown to two, four and eight by copies. Beside it:
eight layers from the start for as many steps, eight layers for as many FLOPs as the grown network took, and one layer
to the end. All see batches of one size under a warm-up-stable-decay schedule. One seed, one thread, about two minutes;
docs/growth.md has the experiments with intervals. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks._growing import Learner, Row, Setting, Text, branches
from benchmarks.engine import machine_line
from netmorph.policy import WAYS, to_depth
from netmorph.report.figures import flops_axis, legend_above, save
from netmorph.train import Recipe
from netmorph.wording import flops_text
from netmorph.workers import keep_freed_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LAYERS = 8
STAGES = ((0.3, 2), (0.6, 4), (0.85, LAYERS))
GROWN, FULL, EQUAL, SMALL = "grown", "full size", "full size, as many FLOPs", "one layer"
COLOURS = {GROWN: "#d55e00", FULL: "#000000", EQUAL: "#0072b2", SMALL: "#6b7785"}


def setting_of(steps: int) -> Setting:
    """What all networks have in common."""
    recipe = Recipe(batch_size=8, optimizer="muon", learning_rate=1e-2, schedule="stable", warmup=0.03, clip_norm=1.0)
    return Setting("stdlib", 64, steps, recipe, {"depth": LAYERS, "channels": 32, "heads": 4, "tied": False}, looks=20)


def learnt(setting: Setting) -> dict[str, Learner]:
    """Every network at the end of its training."""
    text, one = Text(setting), {"depth": 1}
    rows = [
        Row(GROWN, one, tuple((share, to_depth(depth, WAYS["copied"])) for share, depth in STAGES)),
        Row(SMALL, one),
        Row(FULL),
    ]
    found: dict[str, Learner] = {}
    with Progress(transient=True) as progress:
        bar = progress.add_task("networks", total=len(rows) + 1)
        for row, learner in branches(rows, text, seed=0):
            found[row.name] = learner
            progress.advance(bar)
        length = found[GROWN].flops / found[FULL].flops
        for row, learner in branches([Row(EQUAL, length=length)], text, seed=0):
            found[row.name] = learner
    return found


def verdict(found: Mapping[str, Learner]) -> str:
    """What came of it."""
    loss = {name: learner.curve[-1][2] for name, learner in found.items()}
    share = found[GROWN].flops / found[FULL].flops
    there = [flops for _, flops, seen in found[FULL].curve if seen <= loss[GROWN]]
    reached = f"gets there with {there[0] / found[GROWN].flops:.1f} times as many" if there else "never gets there"
    beside = "lower" if loss[GROWN] < loss[EQUAL] else "no lower"
    return (
        f"The network that grew ends at a loss of {loss[GROWN]:.3f} with {share:.0%} of the training FLOPs of the full "
        f"size from the start, which {reached} and ends at {loss[FULL]:.3f}. With as many FLOPs the full size ends at "
        f"{loss[EQUAL]:.3f}: the one that grew is {beside}."
    )


def table(found: Mapping[str, Learner]) -> Table:
    """Loss and cost of each network."""
    shown = Table("network", "loss on unseen text", "training FLOPs", "beside the full size")
    for name, learner in sorted(found.items(), key=lambda item: item[1].flops):
        share = learner.flops / found[FULL].flops
        shown.add_row(name, f"{learner.curve[-1][2]:.4f}", flops_text(learner.flops), f"{share:.0%}")
    return shown


def draw(found: Mapping[str, Learner], figure: Figure) -> Mapping[str, str]:
    """The loss of each network by what it had cost; rings where one grew."""
    axes = figure.subplots()
    for name, learner in found.items():
        # The looks on the way are at a part of the text; the last of them would stand beside the end, which is not.
        curve = [look for look in learner.curve[:-1] if look[0] < 0.96 * learner.step] + learner.curve[-1:]
        _, flops, losses = zip(*curve, strict=True)
        axes.plot(flops, losses, color=COLOURS[name], linewidth=2.2 if name == GROWN else 1.2, label=name)
        axes.plot(flops[-1], losses[-1], "o", color=COLOURS[name], markersize=5)
    moments = {round(share * found[GROWN].step): layers for share, layers in STAGES}
    for step, flops, loss in found[GROWN].curve:
        if step in moments:
            axes.plot(flops, loss, "o", mfc="none", mec=COLOURS[GROWN], mew=2, ms=11)
            axes.annotate(f"{moments[step]} layers", (flops, loss), (6, 8), textcoords="offset points")
    axes.set_ylim(top=found[GROWN].curve[0][2])
    axes.set_ylabel("loss on unseen text")
    flops_axis(axes, "training FLOPs", log=False)
    legend_above(axes)
    return {}


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth_short", description=__doc__.partition("\n")[0])
    parser.add_argument("picture", type=Path, nargs="?", default=Path("growth.png"), help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3000, metavar="N", help="of a training (default: %(default)s)")
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(1)
    keep_freed_memory()
    found = learnt(setting_of(options.steps))
    save(lambda figure: draw(found, figure), options.picture, 420)
    console = Console()
    console.print(machine_line(), table(found), verdict(found), f"Picture: {options.picture}", sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
