"""What the terminal, or the notebook, shows while a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from importlib import import_module
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from netmorph.report.numbers import duration
from netmorph.search.progress import Progress
from netmorph.tasks import LOSS, Criterion, Numbers
from netmorph.train.history import Epoch

__all__ = ["Countdown", "EpochProgress", "EvolutionWatch"]

EVERY = 15.0  # seconds between two lines within a round, where nothing can be drawn


class _NotebookBar:
    """A bar in a notebook, with what is used of rich's, which needs widgets there: HTML that is updated."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._told: dict[str, Any] = {}
        self._shown: Any = None

    def add_task(self, description: str, total: float | None) -> TaskID:
        self._told = {"description": description, "completed": 0, "total": total}
        return TaskID(0)

    def start(self) -> None:
        self._shown = import_module("IPython.display").display(self, display_id=True)  # a notebook has it

    def update(self, task: TaskID, **told: Any) -> None:
        self._told |= told
        self._shown.update(self)

    def stop(self) -> None:
        self._shown.update(self)

    def __repr__(self) -> str:
        return f"{self._told['description']} {self._count()}".rstrip()

    def _repr_html_(self) -> str:
        done, total = self._told["completed"], self._told["total"]
        known = f'value="{done}" max="{total}"' if total else ""
        return f"<div><progress {known}></progress> {escape(repr(self))}</div>"

    def _count(self) -> str:
        done, total = self._told["completed"], self._told["total"]
        return f"{done}/{total}" if total else ""


def _bar(console: Console, *columns: ProgressColumn) -> Bar | _NotebookBar:
    """A bar for where the console writes; in a file it is never drawn."""
    if console.is_jupyter:
        return _NotebookBar(console)
    return Bar(*columns, console=console, disable=not console.is_terminal)


class _Drawn:
    """What draws a bar from the beginning of its `with` block to the end."""

    _bar: Bar | _NotebookBar

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class EvolutionWatch(_Drawn):
    """A line for each round above a bar of the networks in training; `evolve`'s `on_progress`.

    Where neither a terminal nor a notebook draws a bar, there is now and then a line within a round.

    Args:
        criterion: the number that is told of the best network.
    """

    def __init__(self, console: Console, criterion: Criterion) -> None:
        self._console = console
        self._criterion = criterion
        self._bar = _bar(console, TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._task = self._bar.add_task("starting", total=None)
        self._told = perf_counter()
        self._finished = -1

    def __call__(self, progress: Progress) -> None:
        """Show where the run is."""
        name = f"round {progress.round}" if progress.round else "start network"
        left = "" if progress.left is None else f", about {duration(rounded(progress.left))} left"
        if progress.finished:
            if progress.round == self._finished:  # once more, when baselines have made up for what they lacked
                return
            self._finished = progress.round
            best = None if progress.best is None else self._criterion.value(progress.best)
            told = f"best validation {self._criterion.name} {self._criterion.text(best)}"
            self._tell(progress, f"{name}: {told}{left}")
            return
        about = f"{name}, networks trained{left}"
        self._bar.update(self._task, description=about, completed=progress.done, total=progress.jobs)
        is_drawn = self._console.is_terminal or self._console.is_jupyter
        if not is_drawn and perf_counter() - self._told >= EVERY:
            self._tell(progress, f"{name}: {progress.done} of {progress.jobs} networks trained{left}")

    def _tell(self, progress: Progress, text: str) -> None:
        self._console.print(f"{duration(progress.seconds):>8}  {text}", highlight=False, soft_wrap=True)
        self._told = perf_counter()


def rounded(seconds: float) -> float:
    """To what an estimate is worth."""
    return round(seconds, -1) if seconds >= 60 else float(round(seconds))


class EpochProgress(_Drawn):
    """A line for each epoch above a bar; pass the object to `train` as `on_epoch`, inside its `with` block.

    The lines are the rows of a table that fits a terminal of 80 columns; `metrics.csv` has all numbers.

    Args:
        epochs: length of the whole run.
        criterion: the number that is told beside the loss.
        console: where to draw; the standard output, or the notebook, if None. In a file only the lines are printed.
    """

    def __init__(self, epochs: int, criterion: Criterion, console: Console | None = None) -> None:
        console = Console() if console is None else console
        self._bar = _bar(console, TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn())
        self._epochs = epochs
        self._criterion = criterion
        self._names = [LOSS] if criterion.name == LOSS else [LOSS, _clipped(criterion.name)]
        self._widths = [max(len(name), NUMBER) for name in self._names]
        self._task = self._bar.add_task("epoch", total=epochs)
        self._begun = False

    def __call__(self, epoch: Epoch) -> None:
        """Report an epoch."""
        if not self._begun:
            part = sum(self._widths) + 2 * len(self._widths) - 2
            self._tell(["", f"{'train':>{part}}", f"{'validation':>{part}}", ""])
            self._tell(["epoch", *2 * [self._row(self._names)], "seconds"])
        self._begun = True
        numbers = (self._row(self._told(part)) for part in (epoch.train, epoch.validation))
        self._tell([str(epoch.epoch), *numbers, f"{epoch.seconds:.1f}"])
        self._bar.update(self._task, completed=epoch.epoch)

    def _told(self, numbers: Numbers) -> list[str]:
        loss, *others = self._names
        return [f"{numbers[loss]:.4f}", *(self._criterion.text(numbers[self._criterion.name]) for _ in others)]

    def _row(self, texts: list[str]) -> str:
        return "  ".join(f"{text:>{width}}" for text, width in zip(texts, self._widths, strict=True))

    def _tell(self, cells: list[str]) -> None:
        first, *numbers, seconds = cells
        line = "  ".join([f"{first:>{max(5, len(str(self._epochs)))}}", *numbers, f"{seconds:>7}"])
        self._bar.console.print(line.rstrip(), highlight=False, soft_wrap=True)


NUMBER, NAME = 10, 16  # columns of a number, and the most that the name of one takes


def _clipped(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


class Countdown:
    """How many of a known number are done, and about how long the others will take.

    Args:
        of: how many there are to do from now on.
        clock: seconds.
    """

    def __init__(self, of: int, clock: Callable[[], float] = perf_counter) -> None:
        self._of, self._clock, self._began, self._done = of, clock, clock(), 0

    def __call__(self) -> str:
        """One more is done: "3 of 24, about 4 min left"."""
        self._done += 1
        left = (self._clock() - self._began) / self._done * (self._of - self._done)
        rest = f", about {duration(rounded(left))} left" if left > 0 else ""
        return f"{self._done} of {self._of}{rest}"
