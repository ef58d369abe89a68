"""What the terminal shows while a run goes on."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from netmorph.report.numbers import duration, percent
from netmorph.search.evolution import Progress
from netmorph.train.history import Epoch


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


class EpochProgress:
    """A line for each epoch above a bar; pass the object to `train` as `on_epoch`, inside its `with` block.

    Args:
        epochs: length of the whole run.
        console: where to draw; the standard output if None. Without a terminal only the lines are printed.
    """

    def __init__(self, epochs: int, console: Console | None = None) -> None:
        self._bar = Bar(TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn(), console=console)
        self._epochs = epochs
        self._task = self._bar.add_task("training", total=epochs)

    def __enter__(self) -> "EpochProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, epoch: Epoch) -> None:
        """Report an epoch."""
        self._bar.console.print(
            f"epoch {epoch.epoch:>{len(str(self._epochs))}}  "
            f"train loss {epoch.train_loss:.4f}, accuracy {epoch.train_accuracy:.2%}  "
            f"validation loss {epoch.validation_loss:.4f}, accuracy {epoch.validation_accuracy:.2%}  "
            f"{epoch.seconds:.1f} s",
            highlight=False,
        )
        self._bar.update(self._task, completed=epoch.epoch)
