"""What the terminal shows while an evolution runs."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from netmorph.engine.evolve import Progress
from netmorph.report.numbers import duration, percent


class EvolutionWatch:
    """A line for each round above a bar of the networks in training; `evolve`'s `on_progress`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console)
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> "EvolutionWatch":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show where the run is."""
        name = f"round {progress.round}" if progress.round else "start network"
        if progress.finished:
            self._console.print(
                f"{duration(progress.seconds):>8}  {name}: best validation accuracy {percent(progress.best)}",
                highlight=False,
            )
        else:
            self._bar.update(
                self._task, description=f"{name}, networks trained", completed=progress.done, total=progress.jobs
            )
