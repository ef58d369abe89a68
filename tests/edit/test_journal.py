"""Base constructor + journal + weights rebuild any network, bit for bit, and no file runs code."""

import json
import random
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from nets import output, same, small, snapshot
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from netmorph import LoadError, apply, factorize, load, narrow, residual, save, shallow, trace, widen, zoo
from netmorph.edit import DEEPENINGS, Base, Entry, places
from netmorph.edit.journal import read_back, rebuild
from netmorph.edit.replace import structure
from netmorph.files import SaveError
from netmorph.graph import Allow, Graph
from netmorph.graph.journal import Description
from netmorph.widenings import WIDENINGS

SHAPE = {"input_shape": (3, 8, 8), "classes": 3, "width": 0.25, "blocks": (1, 1), "channels": (8, 16)}
REBUILD = """
import sys
import torch, netmorph
from safetensors.torch import load_file, save_file
torch.set_num_threads(1)
torch.load = None  # nothing is unpickled
path, x = sys.argv[1], load_file(sys.argv[2])["x"]
model, entries = netmorph.load(path)
with torch.no_grad():
    save_file({"y": model.eval()(x)}, sys.argv[3])
print(len(entries), repr(model) == open(sys.argv[4]).read())
"""


def edited(edits: int, seed: int = 0) -> tuple[nn.Module, Graph, Tensor]:
    """A network after a random sequence of edits of all kinds."""
    torch.manual_seed(seed)
    chosen = random.Random(seed)
    model = zoo.build("resnet", **SHAPE)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    graph = trace(model, torch.randn(2, 3, 8, 8))
    added: list[str] = []
    for number in range(edits):
        kind = ("widen", "narrow", "deepen", "shallow")[number % 4]
        groups = [group for group in graph.editable(Allow.ANY) if group.size > 1]
        group = chosen.choice(groups)
        if kind == "widen":
            method = WIDENINGS[chosen.choice(sorted(WIDENINGS))]
            edit: Any = widen(graph, group.name, group.size + chosen.randint(1, 4), method, number)
        elif kind == "narrow":
            edit = narrow(graph, group.name, chosen.sample(range(group.size), group.size - 1))
        elif kind == "deepen" or not added:
            place = chosen.choice([path for path in places(graph) if "1.1" not in path and not path[-1].isdigit()])
            edit = DEEPENINGS[chosen.choice(sorted(DEEPENINGS))](graph, place)
            added.append(f"{place}.1")
        else:
            edit = shallow(graph, added.pop())
            added.clear()  # paths of earlier ones may have moved
        graph = apply(graph, edit)
    return model, graph, torch.randn(4, 3, 8, 8)


def test_a_fresh_process_computes_the_same_bits(tmp_path: Path) -> None:
    model, graph, x = edited(24)
    assert {entry.edit.kind for entry in graph.journal} == {"widen", "narrow", "deepen", "shallow"}
    save(tmp_path / "net.safetensors", model, graph.journal, Base("resnet", SHAPE))
    save_file({"x": x}, tmp_path / "x")
    (tmp_path / "repr").write_text(repr(model))
    files = [str(tmp_path / name) for name in ("net.safetensors", "x", "y", "repr")]
    told = subprocess.run([sys.executable, "-c", REBUILD, *files], capture_output=True, text=True, check=False)
    assert told.stdout.split() == ["24", "True"], told.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert torch.equal(load_file(tmp_path / "y")["y"], output(model, x))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "edit",
    [
        {"kind": "widen", "method": "r2r", "layer": "a", "before": 4, "after": 6},
        {"kind": "narrow", "method": "keep", "layer": "a and 1 more", "before": 9, "after": 5,
         "widths": {"a": [5, 3], "b": [4, 2]}},
        {"kind": "factorize", "method": "kernel_first", "layer": "a", "before": 8, "after": 2, "left_out_error": 0.25},
        {"kind": "shallow", "method": "folded", "layer": "a", "before": 1, "after": 0,
         "left_out_error": 0.5, "fitted_error": 0.1},
    ],
    ids=lambda edit: edit["kind"],
)  # fmt: skip
def test_entries_are_written_as_they_always_were(edit: dict[str, Any]) -> None:
    told = {
        "edit": edit,
        "error": 1e-7,
        "modules": [["a.1", {"kind": "relu", "options": {}, "parts": []}]],
        "shapes": {"a.weight": [6, 2]},
        "attributes": [["a", "kernel_size", [3, 3]], ["a", "out_channels", 6]],
        "replaced": {"a.weight": [4, 2]},
    }
    entry = Entry.from_json(json.loads(json.dumps(told)))
    assert json.loads(json.dumps(entry.as_json())) == told | {"inverse": None}  # which format 2 does not tell
    assert (entry.edit.kind, entry.edit.layer, entry.edit.after) == (edit["kind"], edit["layer"], edit["after"])
    assert entry.attributes[0][2] == (3, 3)


class Stretch(nn.Module):
    def __init__(self, settings: SimpleNamespace) -> None:
        super().__init__()
        self.settings, self.layer = settings, nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.settings.factor


class Stretched(nn.Module):
    """Two blocks with the settings of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = SimpleNamespace(factor=2)
        self.blocks = nn.Sequential(Stretch(self.settings), Stretch(self.settings))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


@pytest.mark.parametrize("shares", [False, True])
def test_copies_in_older_journals_have_settings_of_their_own(shares: bool) -> None:
    """They do not tell that they share."""
    arguments = {"path": "blocks.0"} | ({"shares": True} if shares else {})
    parts = [{"kind": "there", "arguments": {}, "parts": []}, {"kind": "copy", "arguments": arguments, "parts": []}]
    chain = {"kind": "chain", "arguments": {}, "parts": parts}
    deepen = Description("deepen", "copy", "blocks.0", 0, 1)
    widened = Description("widen", "r2r", "blocks.0.1", 2, 4)
    journal = (
        Entry(deepen, 0.0, modules=[("blocks.0", chain)]),
        Entry(widened, 0.0, attributes=[("blocks.0.1", "settings.factor", 4)]),
    )
    model = rebuild(Stretched(), read_back(journal))
    factors = [model.get_submodule(path).settings.factor for path in ("", "blocks.0.0", "blocks.0.1", "blocks.1")]
    assert factors == ([4] * 4 if shares else [2, 2, 4, 2])


def test_editing_goes_on_after_loading(tmp_path: Path) -> None:
    model, graph, x = edited(4)
    save(tmp_path / "a", model, graph.journal, Base("resnet", SHAPE))
    model, entries = load(tmp_path / "a")
    assert [entry.edit for entry in entries] == [entry.edit for entry in graph.journal]
    graph = trace(model, x, entries)
    graph = apply(graph, widen(graph, graph.editable(Allow.ANY)[0].name, 40))
    save(tmp_path / "b", model, graph.journal, Base("resnet", SHAPE))
    again, entries = load(tmp_path / "b")
    assert len(entries) == 5
    assert torch.equal(output(model, x), output(again, x))


def test_a_base_of_ones_own_is_passed_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_base.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    graph = trace(model, torch.randn(2, 2))
    graph = apply(graph, widen(graph, "0", 5))
    path = tmp_path / "net"
    targets = [
        "evil_base:build",
        "evil_base",
        "netmorph.zoo:build",
        "build",
        "resolve",
        "netmorph.zoo:resolve",
        "os:system",
    ]
    for name in targets:
        arguments = {"name": "evil_base:build", "spec": "evil_base:build", "input_shape": [1, 4, 4], "classes": 2}
        save(path, model, graph.journal, Base(name, arguments))
        with pytest.raises(LoadError, match=r"Pass base=.*names in files are not imported"):
            load(path)
        assert "evil_base" not in sys.modules
    again, _ = load(path, lambda: nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)))
    assert torch.equal(output(model, torch.ones(1, 2)), output(again, torch.ones(1, 2)))


def test_no_pickle_in_the_file(tmp_path: Path) -> None:
    model, graph, _ = edited(3)
    save(tmp_path / "net", model, graph.journal, Base("resnet", SHAPE))
    content = (tmp_path / "net").read_bytes()
    assert b"torch._utils" not in content
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["netmorph"])["format"] == 4


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.b(self.a(x)).relu())

    model = Tied()
    save(tmp_path / "net", model)
    again, _ = load(tmp_path / "net", Tied)
    assert again.a.weight is again.b.weight
    assert torch.equal(again.a.weight, model.a.weight)


def test_tensors_that_share_memory_can_be_saved(tmp_path: Path) -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.arange(6.0))
            self.register_buffer("start", self.table[:3])
            self.fc = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x + self.start)

    save(tmp_path / "net", Views())
    again, _ = load(tmp_path / "net", Views)
    assert torch.equal(again.start, torch.arange(3.0))


# -- files that are not what they should be -------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model, graph, _ = edited(3)
    save(tmp_path / "net.safetensors", model, graph.journal, Base("resnet", SHAPE))
    return tmp_path / "net.safetensors"


def rewrite(path: Path, **changes: Any) -> None:
    """The same file with another header."""
    content = path.read_bytes()
    header = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["netmorph"])
    save_file(load_file(path), path, {"netmorph": json.dumps(header | changes)})


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"there is no file .*nowhere"):
        load(tmp_path / "nowhere")


def test_no_base_is_told(saved: Path) -> None:
    rewrite(saved, base=None)
    with pytest.raises(LoadError, match=r"does not tell its base\. Pass base="):
        load(saved)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated(saved: Path, length: int) -> None:
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(LoadError, match=r"net\.safetensors is not a network saved by netmorph, or it is damaged"):
        load(saved)


def test_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content in (b"PK\x03\x04" * 100, b"\xff" * 64, json.dumps({"a": 1}).encode()):
        path.write_bytes(content)
        with pytest.raises(LoadError, match="not a network saved by netmorph"):
            load(path)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(LoadError, match="not a network saved by netmorph"):
        load(path)


def test_a_newer_format(saved: Path) -> None:
    rewrite(saved, format=5)
    with pytest.raises(LoadError, match="has format 5; this netmorph reads formats up to 4"):
        load(saved)


def test_a_changed_constructor(saved: Path) -> None:
    with pytest.raises(LoadError, match=r"another base: fc\.weight: \(3, 4\) when it was edited, missing in"):
        load(saved, lambda: zoo.build("lenet5", (3, 8, 8), 3))
    with pytest.raises(LoadError, match=r"another base: fc\.weight: \(3, 4\) .*\(4, 4\) in the"):
        load(saved, lambda: zoo.build("resnet", **(SHAPE | {"classes": 4})))


@pytest.mark.parametrize(
    "changes",
    [
        {"journal": [{"no": "entry"}]},
        {"journal": 3},
        {"journal": [{"edit": {}, "error": 0, "modules": [["conv1", {"kind": "unknown", "parts": []}]]}]},
        {"journal": [{"edit": {}, "error": 0, "modules": [["conv1", {"wrong": "field", "parts": []}]]}]},
        {"journal": [{"edit": {}, "error": 0, "shapes": {"conv1.weight": [-1, 2]}}]},
        {"base": {"name": "resnet", "arguments": {"no": "such"}}},
        {"base": {"name": "resnet"}},
        {"base": "resnet"},
    ],
)
def test_a_damaged_header(saved: Path, changes: dict[str, Any]) -> None:
    rewrite(saved, **changes)
    with pytest.raises(LoadError):
        load(saved)


# -- a full disk ------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_older_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(tensors: Any, path: Path, *args: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("netmorph.tensor_files.save_file", full)
    model, graph, _ = edited(1)
    with pytest.raises(SaveError, match=r"could not write .*No space left on device.*untouched"):
        save(saved, model, graph.journal)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


LIMITED = """
import resource, signal, sys
import torch, netmorph
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    netmorph.save(sys.argv[1], torch.nn.Linear(300, 300))
except netmorph.NetmorphError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on file sizes here")
def test_a_file_that_cannot_grow(saved: Path) -> None:
    before = saved.read_bytes()
    told = subprocess.run([sys.executable, "-c", LIMITED, str(saved)], capture_output=True, text=True, check=False)
    assert told.stdout.startswith("SaveError could not write"), told.stdout + told.stderr
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_rebuilding_takes_an_optimizer_along() -> None:
    def start() -> tuple[nn.Module, torch.Tensor, torch.optim.Optimizer]:
        model, x = small()
        groups = [{"params": [p for p in model.parameters() if p.dim() == dim]} for dim in (1, 2, 4)]
        return model, x, torch.optim.Adam(groups, lr=0.1)

    def members(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[list[str]]:
        names = {id(p): name for name, p in model.named_parameters()}
        return [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]

    model, x, optimizer = start()
    graph = trace(model, x)
    for edit in (lambda g: widen(g, "0", 6), lambda g: residual(g, "2"), lambda g: factorize(g, "4", 2)):
        graph = apply(graph, edit(graph), optimizer)
    again, _, other = start()
    rebuild(again, read_back(graph.journal), [other])
    assert members(again, other) == members(model, optimizer)
    assert read_back(graph.journal) == read_back(read_back(graph.journal))


def test_what_cannot_be_rebuilt_is_left_as_it_was() -> None:
    model, x = small()
    graph = trace(model, x)
    for edit in (lambda g: widen(g, "0", 6), lambda g: widen(g, "3", 5)):
        graph = apply(graph, edit(graph))
    other, _ = small()
    other[3] = nn.Conv2d(4, 4, 3).double()  # the second edit was made of another width
    optimizer = torch.optim.Adam(other.parameters())
    before = snapshot(other, optimizer)
    with pytest.raises(LoadError, match="written for another base"):
        rebuild(other, graph.journal, [optimizer])
    assert same(before, snapshot(other, optimizer))


def test_a_structure_is_put_back_with_its_sizes_and_nothing_else() -> None:
    model, x = small()
    model[2].calls = 1
    before = snapshot(model)
    put_back = structure(model)
    graph = trace(model, x)
    for edit in (lambda g: widen(g, "0", 6), lambda g: residual(g, "2"), lambda g: narrow(g, "4", [0])):
        graph = apply(graph, edit(graph))
    model[2].calls = 2
    put_back({name for entry in graph.journal for _, name, _ in entry.attributes})
    assert model[2].calls == 2
    model[2].calls = 1
    assert same(before, snapshot(model))
