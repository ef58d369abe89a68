"""Edits, and a look at ranks, in PyTorch Lightning's training loop."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from netmorph.edit import Edit, Journal, rebuild
from netmorph.edit.journal import LoadError
from netmorph.errors import EditError, require
from netmorph.graph import Graph
from netmorph.graph.unwrap import unwrap
from netmorph.integrations.editing import Every, as_text, edit_once, from_text

require("pytorch_lightning", extra="lightning")
from pytorch_lightning import Callback, LightningModule, Trainer  # noqa: E402

from netmorph.integrations.lightning_ranks import RankCallback  # noqa: E402

__all__ = ["EditCallback", "RankCallback"]


class EditCallback(Callback):
    """Asks for an edit after every so many epochs or optimizer steps, and makes it.

    The trainer's optimizers stay the same objects, and so do their schedules. The journal is kept in the checkpoints:
    `trainer.fit(module, ckpt_path=...)` first gives a newly built module the structure that the checkpoint was saved
    with, if this callback is among the trainer's.

    Attributes:
        journal: the edits so far, for `netmorph.save`.
    """

    def __init__(
        self,
        propose: Callable[[Graph, Trainer], Edit | None],
        example_inputs: Any,
        *,
        every_n_epochs: int | None = None,
        every_n_steps: int | None = None,
        module: str = "",
    ) -> None:
        """Say what to propose, and when to ask.

        Args:
            propose: `(graph, trainer) -> edit`, or None to leave the network as it is. With several processes, it must
                propose the same edit in each.
            example_inputs: what the edited module takes, as for `trace`.
            every_n_epochs: when to ask; this or the next one.
            every_n_steps: likewise, in optimizer steps.
            module: the path, inside the Lightning module, of the network to edit; by default all of it.

        Raises:
            NetmorphError: not exactly one of `every_n_epochs` and `every_n_steps` is given.
        """
        self.every = Every(every_n_epochs, every_n_steps)
        self.propose = propose
        self.example_inputs = example_inputs
        self.module = module
        self.journal: Journal = ()
        self._steps = 0
        self._remove_hook: Callable[[], None] = lambda: None

    @property
    def state_key(self) -> str:
        """Callbacks for several networks of one module keep their journals apart."""
        return self._generate_state_key(module=self.module)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Gives the module the structure of a checkpoint just before its weights are loaded.

        That is before the optimizers are built. Loading then raises:

        Raises:
            LoadError: the journal cannot be read, or the module is not its base.
            EditError: the module was edited in another way already.
        """

        def restructure(*_: Any) -> None:
            handle.remove()
            if trainer.ckpt_path is not None:
                self._replay(Path(trainer.ckpt_path), pl_module)

        handle = torch.nn.Module.register_load_state_dict_pre_hook(pl_module, restructure)
        self._remove_hook = handle.remove

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leaves no hook behind where nothing was loaded."""
        self._remove_hook()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts from where a resumed training stands."""
        self._steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Asks after optimizer steps, not after batches that only accumulate gradients."""
        stepped, self._steps = trainer.global_step != self._steps, trainer.global_step
        if stepped and self.every.is_due(steps=trainer.global_step):
            self._edit(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Asks after epochs."""
        if self.every.is_due(epochs=trainer.current_epoch + 1):
            self._edit(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """The journal, for the checkpoint."""
        return {"journal": as_text(self.journal)}

    def _replay(self, path: Path, pl_module: LightningModule) -> None:
        saved = _saved_journal(path, self.state_key)
        if as_text(saved[: len(self.journal)]) != as_text(self.journal):
            raise EditError(
                f"{path} was saved after other edits than this module has had; build the module and the callback "
                "anew, and load the checkpoint into those"
            )
        rebuild(pl_module.get_submodule(self.module), saved[len(self.journal) :])
        self.journal = saved

    def _edit(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _, wrapper = unwrap(trainer.model or pl_module)
        self.journal = edit_once(
            pl_module.get_submodule(self.module),
            self.example_inputs,
            self.journal,
            lambda graph: self.propose(graph, trainer),
            trainer.optimizers,
            wrapper,
        )


def _saved_journal(path: Path, key: str) -> Journal:
    try:
        checkpoint: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        text = checkpoint.get("callbacks", {}).get(key, {"journal": "[]"})["journal"]
    except (OSError, RuntimeError, KeyError, pickle.UnpicklingError) as error:
        raise LoadError(f"the journal in {path} cannot be read without running code from it: {error}") from error
    return from_text(text, str(path))
