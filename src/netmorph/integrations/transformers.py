"""Edits in the training loop of transformers' `Trainer`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from netmorph.edit import Edit, Journal, rebuild
from netmorph.edit.journal import LoadError
from netmorph.errors import EditError, require
from netmorph.files import atomic_write
from netmorph.graph import Graph
from netmorph.integrations.editing import Every, as_text, edit_once, from_text

require("transformers", extra="transformers")
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments  # noqa: E402
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR  # noqa: E402

FILE = "netmorph_journal.json"


__all__ = ["EditCallback", "replay"]


class EditCallback(TrainerCallback):
    """Asks for an edit after every so many epochs or optimizer steps, and makes it.

    The trainer's optimizer stays the same object, and so does its schedule. The journal is written into each
    checkpoint's folder. To resume, `replay` gives a newly built model the structure of the checkpoint first.

    Attributes:
        journal: the edits so far, for `netmorph.save`.
    """

    def __init__(
        self,
        propose: Callable[[Graph, TrainerState], Edit | None],
        example_inputs: Any,
        *,
        every_n_epochs: int | None = None,
        every_n_steps: int | None = None,
        journal: Journal = (),
    ) -> None:
        """Say what to propose, and when to ask.

        Args:
            propose: `(graph, state) -> edit`, or None to leave the network as it is.
            example_inputs: what the model takes, as for `trace`; usually a dict of tensors.
            every_n_epochs: when to ask; this or the next one.
            every_n_steps: likewise, in optimizer steps.
            journal: what `replay` returned, when training is resumed.

        Raises:
            NetmorphError: not exactly one of `every_n_epochs` and `every_n_steps` is given.
        """
        self.every = Every(every_n_epochs, every_n_steps)
        self.propose = propose
        self.example_inputs = example_inputs
        self.journal = journal

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Refuses a training by several processes.

        Raises:
            EditError: several processes train; the `Trainer` keeps their wrapper out of the callbacks' reach.
        """
        if args.world_size > 1:
            raise EditError(
                f"this callback edits in one process, not in {args.world_size}: transformers' Trainer does not hand "
                "out its data-parallel wrapper. Use a loop of your own, or Lightning"
            )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Asks after optimizer steps."""
        if self.every.is_due(steps=state.global_step):
            self._edit(state, **kwargs)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Asks after epochs."""
        if self.every.is_due(epochs=round(state.epoch or 0)):
            self._edit(state, **kwargs)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Writes the journal beside the weights."""
        folder = Path(args.output_dir or ".") / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"

        def write(path: Path) -> None:
            path.write_text(as_text(self.journal))

        atomic_write(folder / FILE, write)

    def _edit(self, state: TrainerState, *, model: nn.Module, optimizer: Any, **_: Any) -> None:
        self.journal = edit_once(
            model, self.example_inputs, self.journal, lambda graph: self.propose(graph, state), [optimizer]
        )


def replay(model: nn.Module, checkpoint: str | Path) -> Journal:
    """Give a newly built model the structure that a checkpoint was saved with, before `Trainer` loads its weights.

    Args:
        checkpoint: the folder `checkpoint-N`.

    Returns:
        The journal, for the callback.

    Raises:
        LoadError: the folder holds no journal, or the model is not its base.
    """
    path = Path(checkpoint) / FILE
    try:
        text = path.read_text()
    except OSError as error:
        raise LoadError(f"{path} cannot be read ({error}); was it saved with the EditCallback?") from error
    journal = from_text(text, str(path))
    rebuild(model, journal)
    return journal
