"""Where the time of an epoch goes, operator by operator: the bare loop beside ours.

    python -m benchmarks.operators
    python -m benchmarks.operators --networks resnet --steps 20

The networks and hyper-parameters of `benchmarks.engine`. Milliseconds a training step, its share of the validation
included; an operator's own time, without what it calls. Both loops keep freed memory, for else the first operator that
touches a new page is charged with it. The profiler itself costs time, which falls on what calls many operators.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile

from benchmarks._loops import COMPARED, Loop
from benchmarks.engine import TASKS, Task, machine_line, shortened
from netmorph.data import Dataset, load
from netmorph.workers.allocator import keep_freed_memory

ROWS = 14


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    keep_freed_memory()
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(machine_line())
    for name in options.networks:
        task = TASKS[name]
        dataset = shortened(load(task.data, seed=0), options.steps * task.recipe.batch_size)
        console.print(beside(task, {name: spent(loop, task, dataset) for name, loop in COMPARED.items()}))


def spent(loop: Loop, task: Task, dataset: Dataset) -> dict[str, float]:
    """Milliseconds a training step of each operator, in a second epoch, when kernels are prepared."""
    loop(task.build(dataset, seed=0), dataset, task.recipe, 0)
    model = task.build(dataset, seed=0)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        loop(model, dataset, task.recipe, 0)
    steps = len(dataset.train) / task.recipe.batch_size
    return {event.key: event.self_cpu_time_total / 1000 / steps for event in profiler.key_averages()}


def beside(task: Task, found: dict[str, dict[str, float]]) -> Table:
    """The operators that take longest in any of the loops, longest first, and what the others take together."""
    names = {name for times in found.values() for name in times}
    longest = sorted(names, key=lambda name: -max(times.get(name, 0.0) for times in found.values()))[:ROWS]
    table = Table(title=f"{task.network} on {task.data}, batches of {task.recipe.batch_size}: ms a step")
    table.add_column("operator")
    for loop in found:
        table.add_column(loop, justify="right")
    for name in longest:
        table.add_row(name, *(f"{times.get(name, 0.0):.2f}" for times in found.values()))
    totals = {loop: sum(times.values()) for loop, times in found.items()}
    shown = {loop: sum(times.get(name, 0.0) for name in longest) for loop, times in found.items()}
    table.add_row("all others", *(f"{totals[loop] - shown[loop]:.2f}" for loop in found))
    table.add_row("together", *(f"{total:.2f}" for total in totals.values()))
    return table


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operators", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--networks", nargs="+", choices=TASKS, default=list(TASKS), help="(default: all)")
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="of an epoch (default: %(default)s)")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
