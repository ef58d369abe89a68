"""Edits inside a real Lightning training: new weights train, the loss goes on, and a checkpoint resumes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from netmorph import EditError, Graph, NetmorphError, load, residual, save, widen
from netmorph.edit import Edit

pl = pytest.importorskip("pytorch_lightning")
from netmorph.integrations.lightning import EditCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytorch_lightning.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need:UserWarning"),
]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))


class Module(pl.LightningModule):
    """A small regression with a schedule; it notes what happens in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network()
        self.losses: list[float] = []
        self.rates: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        x, y = batch
        loss = (self(x) - y).square().mean()
        self.losses.append(float(loss.detach()))
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=48)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def data() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 4, generator=generator)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True).sin()), batch_size=8)


def trainer(folder: Path, epochs: int, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
        **options,
    )


def checkpoints(folder: Path) -> pl.Callback:
    return pl.callbacks.ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, every_n_epochs=1)


def grow(graph: Graph, _: Any) -> Edit | None:
    """Wider, then deeper, then nothing more."""
    prefix = "net." if "net.0" in graph.groups else ""
    return {
        0: lambda: widen(graph, f"{prefix}0", 9),
        1: lambda: residual(graph, after=f"{prefix}1"),
        2: lambda: None,
    }[min(len(graph.journal), 2)]()


X = torch.randn(5, 4)


def test_growing_every_epoch(tmp_path: Path) -> None:
    module, callback = Module(), EditCallback(grow, X, every_n_epochs=1)
    held: list[Any] = []

    class Watch(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            held.append((trainer.optimizers[0], {n: p.detach().clone() for n, p in pl_module.named_parameters()}))

    run = trainer(tmp_path, 6, callback, Watch(), checkpoints(tmp_path))
    run.fit(module, data())
    assert [entry.edit.kind for entry in callback.journal] == ["widen", "deepen"]
    assert all(entry.before is None for entry in callback.journal), "old weights are not kept"
    assert module.net[0].weight.shape == (9, 4)
    assert len({id(optimizer) for optimizer, _ in held}) == 1
    optimizer = run.optimizers[0]
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in module.parameters()}
    start = held[2][1]
    assert start.keys() == dict(module.named_parameters()).keys(), "both edits were made before the third epoch"
    assert all(bool((p != start[name]).any()) for name, p in module.named_parameters())
    assert sum(module.losses[-8:]) < sum(module.losses[8:16]) < sum(module.losses[:8])


def test_steps_and_a_schedule_go_on_as_without_edits(tmp_path: Path) -> None:
    grown, plain = Module(), Module()
    callback = EditCallback(grow, X, every_n_steps=3, module="net")
    trainer(tmp_path, 2, callback, enable_checkpointing=False, accumulate_grad_batches=2).fit(grown, data())
    trainer(tmp_path, 2, enable_checkpointing=False, accumulate_grad_batches=2).fit(plain, data())
    assert grown.rates == plain.rates
    assert [entry.edit.layer for entry in callback.journal] == ["0", "1"]
    assert grown.losses[:6] == plain.losses[:6]
    assert grown.losses[6] == pytest.approx(plain.losses[6], rel=1e-5), "the first edit, after 3 steps of 2 batches"
    assert grown.losses[7:] != plain.losses[7:]


def test_a_checkpoint_resumes_with_its_structure(tmp_path: Path) -> None:
    whole = Module()
    trainer(tmp_path, 4, EditCallback(grow, X, every_n_epochs=1), checkpoints(tmp_path)).fit(whole, data())
    rest, callback = Module(), EditCallback(grow, X, every_n_epochs=1)
    path = str(tmp_path / "epoch=2.ckpt")
    trainer(tmp_path, 4, callback, checkpoints(tmp_path)).fit(rest, data(), ckpt_path=path, weights_only=True)
    assert len(callback.journal) == 2
    assert rest.losses == whole.losses[24:]
    assert rest.rates == whole.rates[24:]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, rest.state_dict()[name]), name


def test_the_journal_is_one_that_save_and_load_take(tmp_path: Path) -> None:
    module, callback = Module(), EditCallback(grow, X, every_n_epochs=1, module="net")
    trainer(tmp_path, 2, callback, enable_checkpointing=False).fit(module, data())
    save(tmp_path / "net.safetensors", module.net, callback.journal)
    restored, _ = load(tmp_path / "net.safetensors", network)
    assert torch.equal(restored(X), module.net(X))


def test_a_checkpoint_of_other_edits(tmp_path: Path) -> None:
    module, callback = Module(), EditCallback(grow, X, every_n_epochs=1)
    trainer(tmp_path, 1, callback, checkpoints(tmp_path)).fit(module, data())
    early, late = Module(), EditCallback(lambda graph, _: widen(graph, "net.2", 8), X, every_n_epochs=1)
    trainer(tmp_path, 1, late, enable_checkpointing=False).fit(early, data())
    with pytest.raises(EditError, match=r"saved after other edits.*anew"):
        trainer(tmp_path, 2, late, enable_checkpointing=False).fit(
            early, data(), ckpt_path=str(tmp_path / "epoch=0.ckpt")
        )


def test_a_checkpoint_without_the_callback(tmp_path: Path) -> None:
    """Nothing to replay; no hook is left on the module."""
    trainer(tmp_path, 1, checkpoints(tmp_path)).fit(Module(), data())
    module, callback = Module(), EditCallback(grow, X, every_n_epochs=2)
    trainer(tmp_path, 2, callback, enable_checkpointing=False).fit(
        module, data(), ckpt_path=str(tmp_path / "epoch=0.ckpt")
    )
    assert len(callback.journal) == 1
    assert not module._load_state_dict_pre_hooks


@pytest.mark.slow
def test_a_data_parallel_strategy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process of it: the wrapper exchanges the gradients of the new parameters, or it would fail."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    module, callback = Module(), EditCallback(grow, X, every_n_epochs=1)
    strategy = pl.strategies.DDPStrategy(process_group_backend="gloo")
    run = trainer(tmp_path, 3, callback, enable_checkpointing=False, strategy=strategy, use_distributed_sampler=False)
    try:
        run.fit(module, data())
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert len(callback.journal) == 2
    plain = Module()
    trainer(tmp_path, 3, EditCallback(grow, X, every_n_epochs=1), enable_checkpointing=False).fit(plain, data())
    assert module.losses == pytest.approx(plain.losses, rel=1e-4)


@pytest.mark.parametrize("when", [{}, {"every_n_epochs": 1, "every_n_steps": 1}, {"every_n_steps": 0}])
def test_when_to_ask_is_said_once(when: dict[str, int]) -> None:
    with pytest.raises(NetmorphError, match=r"one of the two and at least 1"):
        EditCallback(grow, X, **when)
