"""Networks in files that somebody has changed: errors that say so, no memory taken, nothing set that no edit sets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from netmorph import LoadError, apply, load, residual, save, trace, widen
from netmorph.edit import Base, blocks

BASE = Base("mlp", {"input_shape": (6,), "classes": 3, "hidden": [8]})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = BASE.build()
    graph = trace(model, torch.randn(2, 6))
    graph = apply(graph, widen(graph, "fc1", 11))
    graph = apply(graph, residual(graph, "relu1"))
    save(tmp_path / "net.safetensors", model, graph.journal, BASE)
    return tmp_path / "net.safetensors"


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    """Change what the file tells and holds, as a file of before checksums."""
    with safe_open(path, framework="pt") as file:
        told = json.loads(file.metadata()["netmorph"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(told, tensors)
    save_file(tensors, path, {"netmorph": json.dumps(told)})


def test_what_was_saved_before_checksums_is_read(saved: Path) -> None:
    whole, journal = load(saved)
    rewrite(saved, lambda told, tensors: None)
    again, same = load(saved)
    assert same == journal
    assert all(map(torch.equal, whole.state_dict().values(), again.state_dict().values()))


def test_a_flipped_bit_of_a_weight_is_told(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-100] ^= 4
    saved.write_bytes(content)
    with pytest.raises(LoadError, match="is damaged: its checksum differs"):
        load(saved)


ENTRY: list[tuple[str, Any]] = [
    ("attributes", [["fc1", "out_features", 10**12], ["fc1", "__class__", 3]]),
    ("attributes", [["fc1", "forward", 3]]),
    ("attributes", [["fc1", "training", 0]]),
    ("attributes", [["fc1", "_parameters", 0]]),
    ("attributes", [["fc1", "_forward_hooks", [1]]]),
    ("attributes", [["fc1", "out_features", "os:system"]]),
    ("attributes", [["fc1", "out_features", {"a": 1}]]),
    ("attributes", [["fc1", "out_features", [1, 2]]]),
    ("attributes", [["fc1", "new", 1]]),
    ("attributes", [["nowhere", "out_features", 1]]),
    ("attributes", 5),
    ("shapes", {"fc1.weight": [10**7, 10**7]}),
    ("shapes", {"fc1.weight": [-1, 6]}),
    ("shapes", {"fc1.weight": ["x"]}),
    ("shapes", {"nowhere": [1]}),
    ("shapes", []),
    ("modules", [["fc1", {"kind": "linear", "arguments": {"in_features": 10**7, "out_features": 10**7}, "parts": []}]]),
    ("modules", [["fc1", {"kind": "system", "arguments": {}, "parts": []}]]),
    ("modules", [["fc1", {"kind": "conv2d", "arguments": {"in_channels": 1}, "parts": []}]]),
    ("modules", [["fc1", {"kind": "sequential", "arguments": {}, "parts": 3}]]),
    ("modules", [["fc1", 3]]),
    ("modules", [[["fc1"], {}]]),
    ("edit", {"kind": "widen"}),
    ("edit", {"kind": 1, "method": 2, "layer": 3, "before": 4, "after": 5}),
    ("edit", None),
    ("error", "none"),
    ("inverse", 3),
    ("replaced", {"fc1.weight": 3}),
    ("unknown", 3),
]


@pytest.mark.parametrize(("name", "value"), ENTRY)
def test_an_entry_that_no_edit_made_is_refused(saved: Path, name: str, value: Any) -> None:
    rewrite(saved, lambda told, tensors: told["journal"][0].update({name: value}))
    with pytest.raises(LoadError):
        load(saved)


def test_blocks_that_grow_without_end_are_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST_MODULES", 500)

    def doubled(told: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        there, twin = ({"kind": kind, "arguments": {}, "parts": []} for kind in ("there", "copy"))
        twin["arguments"] = {"path": "fc1"}
        block = {"kind": "sequential", "arguments": {}, "parts": [there, twin]}
        entry = told["journal"][0] | {"modules": [["fc1", block]], "shapes": {}, "replaced": {}, "attributes": []}
        told["journal"] = [entry] * 60

    rewrite(saved, doubled)
    with pytest.raises(LoadError, match="more than 500 modules"):
        load(saved)


@pytest.mark.parametrize("times", [1, 30])
def test_blocks_in_blocks_are_refused(saved: Path, times: int) -> None:
    def nested(told: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        block: dict[str, Any] = {"kind": "there", "arguments": {}, "parts": []}
        for _ in range(60):
            block = {"kind": "sequential", "arguments": {}, "parts": [block]}
        entry = told["journal"][0] | {"modules": [["fc1", block]], "shapes": {}, "replaced": {}, "attributes": []}
        told["journal"] = [entry] * times

    rewrite(saved, nested)
    with pytest.raises(LoadError):
        load(saved)


@pytest.mark.parametrize(
    "base",
    [
        {"name": "os:system", "arguments": {}},
        {"name": "mlp", "arguments": {"input_shape": [10**9], "classes": 10**9}},
        {"name": "mlp", "arguments": {"input_shape": [6], "classes": 3, "hidden": [10**7, 10**7]}},
        {"name": "mlp", "arguments": {"input_shape": "abc", "classes": 3}},
        {"name": "mlp", "arguments": {"input_shape": [6], "classes": 3, "width": 1e300}},
        {"name": "gpt", "arguments": {"input_shape": [6], "classes": 3, "depth": 10**9}},
        {"name": "resnet", "arguments": {"input_shape": [3, 8, 8], "classes": 3, "blocks": [10**9], "channels": [1]}},
        {"name": "mlp", "arguments": 5},
        {"name": ["mlp"]},
        {"arguments": {}},
        3,
    ],
)
def test_a_base_that_cannot_be_is_refused(saved: Path, base: Any) -> None:
    rewrite(saved, lambda told, tensors: told.update(base=base))
    with pytest.raises(LoadError):
        load(saved)


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64, torch.uint8])
def test_weights_of_another_kind_are_refused(saved: Path, dtype: torch.dtype) -> None:
    rewrite(saved, lambda told, tensors: tensors.update({"fc1.weight": tensors["fc1.weight"].to(dtype)}))
    with pytest.raises(LoadError, match=f"fc1.weight: {dtype} in the file, torch.float32 in the base"):
        load(saved)


@pytest.mark.parametrize("value", [[], 3, None, "x", {"format": 3}, {"format": [], "journal": []}])
def test_values_of_another_form_are_refused(saved: Path, value: Any) -> None:
    save_file({"a": torch.zeros(1)}, saved, {"netmorph": json.dumps(value)})
    with pytest.raises(LoadError):
        load(saved)


def test_sizes_of_every_form_are_set_again(tmp_path: Path) -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 3)
            self.parts = [2, 4]
            self.flag = True

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            one, other = self.a(x).split(self.parts, 1)
            return self.b(torch.cat([other.relu(), one], 1))  # type: ignore[no-any-return]

    model = Heads()
    graph = trace(model, torch.randn(2, 4))
    name = next(group.name for group in graph.groups.values() if group.size == 4 and any(group.attributes))
    graph = apply(graph, widen(graph, name, 7))
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", Heads)
    assert again.parts == model.parts == [2, 7]
