"""Edits inside a real training of transformers' Trainer: new weights train, and a checkpoint resumes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from netmorph import Graph, LoadError, load, residual, save, widen
from netmorph.edit import Edit

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from netmorph.integrations.transformers import EditCallback, replay  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning")]

X = {"x": torch.randn(5, 4)}


class Net(nn.Module):
    """The smallest model that the Trainer takes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        result = {"logits": self.net(x)}
        return result if labels is None else {"loss": (result["logits"] - labels).square().mean(), **result}


class Sines(Dataset):
    def __init__(self) -> None:
        self.x = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "labels": self.x[index].sum(0, keepdim=True).sin()}


def trainer(folder: Path, model: nn.Module, callback: Any, **options: Any) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        per_device_train_batch_size=8,
        num_train_epochs=4,
        learning_rate=0.02,
        logging_steps=1,
        disable_tqdm=True,
        report_to=[],
        seed=0,
        **options,
    )
    made = transformers.Trainer(model=model, args=arguments, train_dataset=Sines(), callbacks=[callback])
    made.remove_callback(transformers.PrinterCallback)
    return made


def losses(run: Any) -> list[float]:
    return [entry["loss"] for entry in run.state.log_history if "loss" in entry]


def grow(graph: Graph, state: Any) -> Edit | None:
    """Wider, then deeper, then nothing more."""
    if not graph.journal:
        return widen(graph, "net.0", 9)
    return residual(graph, after="net.1") if len(graph.journal) == 1 else None


def test_growing_every_epoch(tmp_path: Path) -> None:
    model, callback = Net(), EditCallback(grow, X, every_n_epochs=1)
    run = trainer(tmp_path, model, callback, save_strategy="no")
    start: dict[str, Tensor] = {}

    class Watch(transformers.TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 16:
                start.update({name: p.detach().clone() for name, p in model.named_parameters()})
                start["optimizer"] = kwargs["optimizer"]

    run.add_callback(Watch())
    run.train()
    assert [entry.edit.kind for entry in callback.journal] == ["widen", "deepen"]
    assert model.net[0].weight.shape == (9, 4)
    assert start.pop("optimizer") is run.optimizer
    held = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    assert start.keys() == dict(model.named_parameters()).keys()
    assert all(bool((p != start[name]).any()) for name, p in model.named_parameters())
    found = losses(run)
    assert len(found) == 32
    assert sum(found[24:]) < sum(found[8:16]) < sum(found[:8])
    save(tmp_path / "net.safetensors", model, callback.journal)
    restored, _ = load(tmp_path / "net.safetensors", Net)
    assert torch.equal(restored(**X)["logits"], model(**X)["logits"])


def test_a_checkpoint_resumes_with_its_structure(tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 8}
    whole = Net()
    run = trainer(tmp_path, whole, EditCallback(grow, X, every_n_steps=5), **options)
    run.train()
    folder = tmp_path / "checkpoint-16"
    assert len(json.loads((folder / "netmorph_journal.json").read_text())) == 2
    model = Net()
    callback = EditCallback(grow, X, every_n_steps=5, journal=replay(model, folder))
    resumed = trainer(tmp_path, model, callback, **options)
    resumed.train(resume_from_checkpoint=str(folder))
    assert losses(resumed)[16:] == losses(run)[16:]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_a_folder_without_a_journal(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"saved with the EditCallback"):
        replay(Net(), tmp_path)
    (tmp_path / "netmorph_journal.json").write_text('[{"edit": 1}]')
    with pytest.raises(LoadError, match=r"netmorph_journal\.json holds no journal"):
        replay(Net(), tmp_path)
