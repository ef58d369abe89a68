"""Generated code is the network: outputs, gradients, training mode, names, and it can be edited again."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph import TraceError, apply, load, residual, save, trace, widen, zoo
from netmorph.export import ExportError, code, write_code
from netmorph.files import SaveError
from netmorph.graph import Graph

Maker = Callable[[], tuple[nn.Module, Any]]


class Attention(nn.Module):
    """Heads and widths are written into the forward; positions, dropout and a stochastic path."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 5, 12))
        self.qkv, self.out = nn.Linear(12, 36), nn.Linear(12, 12)
        self.norm = nn.LayerNorm(12)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.place
        q, k, v = self.qkv(self.norm(x)).reshape(x.shape[0], 5, 3, 4, 3).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(q, k, v, dropout_p=0.2 if self.training else 0.0)
        branch = self.drop(self.out(found.transpose(1, 2).reshape(-1, 5, 12)))
        if self.training:
            branch = branch * torch.empty(x.shape[0], 1, 1, dtype=x.dtype).bernoulli_(0.5)
        return x + branch


class Mixed(nn.Module):
    """Tied and shared weights, buffers, captured tensors, nested inputs and outputs, changes in place."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 6), nn.Linear(6, 7, bias=False)
        self.head.weight = self.words.weight
        self.body = nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Identity(), nn.Linear(5, 6))
        self.again = self.body
        self.scales = nn.ParameterDict({"a-b": nn.Parameter(torch.randn(6))})
        self.register_buffer("mask", torch.rand(3, 1) > 0.5, persistent=False)
        self.norm = nn.BatchNorm1d(6, momentum=0.3)
        self.norm.weight.requires_grad_(False)
        self.captured = [torch.randn(100, 6)]

    def forward(self, ids: Tensor, other: dict[str, list[Tensor]]) -> dict[str, Any]:
        x = self.again(self.body(self.words(ids))) * self.scales["a-b"] + other["z"][0]
        x = x.masked_fill(self.mask, 0.5) + torch.tensor([1.0, 2.0, float("inf")]).clamp(max=3)[:, None]
        x[:, 0] = self.captured[0][:6].sum(0).to(x.dtype)
        x = F.batch_norm(x.transpose(1, 2), self.norm.running_mean, self.norm.running_var, training=self.training)
        return {"logits": self.head(x.transpose(1, 2)), "rest": (x, [x.mean(1), 3, None])}


class TwoHeads(nn.Module):
    """Training mode has another head."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last, self.auxiliary = nn.Conv2d(3, 4, 3), nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Any:
        x = self.body(x).mean((2, 3))
        return (self.last(x), self.auxiliary(x)) if self.training else self.last(x)


def images(model: nn.Module, size: int = 32) -> tuple[nn.Module, Any]:
    return model, (torch.randn(2, 3, size, size).double(),)


def of(package: str, name: str, **options: Any) -> Maker:
    return lambda: images(vars(pytest.importorskip(package))[name](num_classes=3, **options))


def timm(name: str, size: int, **options: Any) -> Maker:
    return lambda: images(pytest.importorskip("timm").create_model(name, num_classes=3, **options), size)


class Dropped(nn.Module):
    """A parameter and a hidden tensor, each used both before dropout and behind it: in eval mode they are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.drop = nn.Linear(4, 6), nn.Linear(6, 2), nn.Dropout(0.5)
        self.scale = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        return self.last(self.drop(y) * y + self.drop(self.scale) * self.scale)


MODELS: dict[str, Maker] = {
    "dropped": lambda: (Dropped(), (torch.randn(2, 4).double(),)),
    "attention": lambda: (Attention(), (torch.randn(2, 5, 12).double(),)),
    "mixed": lambda: (Mixed(), (torch.randint(7, (2, 3)), {"z": [torch.randn(2, 3, 6).double()]})),
    "two heads": lambda: images(TwoHeads(), 8),
    "lenet5": lambda: (zoo.lenet5((1, 28, 28), 10), (torch.randn(2, 1, 28, 28).double(),)),
    "resnet": lambda: images(zoo.resnet((3, 16, 16), 10, width=0.25), 16),
    "resnet18": of("torchvision.models", "resnet18"),
    "mobilenet_v3_small": of("torchvision.models", "mobilenet_v3_small"),
    "densenet": of("torchvision.models", "DenseNet", growth_rate=4, block_config=(2, 2), num_init_features=8),
    "swin": of(
        "torchvision.models",
        "SwinTransformer",
        patch_size=[2, 2],
        embed_dim=8,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=[4, 4],
    ),
    "vit": timm("vit_tiny_patch16_224", 48, img_size=48, depth=2, drop_path_rate=0.2, proj_drop_rate=0.1),
    "convnext": timm("convnext_atto", 32, depths=(1, 1, 2, 1), drop_path_rate=0.2),
    "mixer": of("timm.models.mlp_mixer", "MlpMixer", img_size=32, patch_size=8, num_blocks=2, embed_dim=32),
    "coat": timm("coat_lite_tiny", 64, img_size=64, serial_depths=(1, 1, 1, 1)),
}


def made(name: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    model, inputs = MODELS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.double().eval(), inputs


def imported(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Not by the loader: Python takes a file of the same second and length for the one that it compiled before.
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module


def written(graph: Graph, folder: Path) -> nn.Module:
    write_code(graph, folder / "network.py")
    network = imported(folder / "network.py").load()
    assert isinstance(network, nn.Module)
    return network


def samples(inputs: Any, count: int) -> Any:
    """New inputs of another batch size."""

    def new(leaf: Tensor) -> Tensor:
        shape = (count, *leaf.shape[1:])
        return torch.randn(shape).to(leaf) if leaf.is_floating_point() else torch.randint(7, shape)

    return torch.utils._pytree.tree_map(new, inputs)


def same(one: Any, other: Any) -> None:
    """The same structure, and tensors equal to 1e-12."""
    pairs = list(zip(tree_leaves(one), tree_leaves(other), strict=True))
    assert type(one) is type(other)
    for left, right in pairs:
        if isinstance(left, Tensor):
            torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
        else:
            assert left == right


def loss(result: Any) -> Tensor:
    return sum(  # type: ignore[return-value]
        (leaf * torch.linspace(-1, 1, leaf.numel()).double().view(leaf.shape)).sum()
        for leaf in tree_leaves(result)
        if isinstance(leaf, Tensor)
    )


@pytest.mark.parametrize("name", MODELS)
def test_code_computes_what_the_model_does(name: str, tmp_path: Path) -> None:
    model, inputs = made(name)
    network = written(trace(model, inputs), tmp_path)
    network.load_state_dict(model.state_dict(), strict=True)
    model.load_state_dict(network.state_dict(), strict=True)
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == wanted
    new = samples(inputs, 5)
    for training in (False, True):
        results = []
        for net in (model.train(training), network.train(training)):
            torch.manual_seed(1)  # dropout draws the same in the same order
            results.append(net(*new))
            net.zero_grad()
            loss(results[-1]).backward()
        same(*results)
        gradients = [{key: p.grad for key, p in net.named_parameters()} for net in (model, network)]
        for key, gradient in gradients[0].items():
            assert (gradient is None) == (gradients[1][key] is None), key
            if gradient is not None:
                torch.testing.assert_close(gradient, gradients[1][key], rtol=1e-11, atol=1e-11)
        buffers = dict(network.named_buffers())  # and captured tensors
        same(dict(model.named_buffers()), {name: buffers[name] for name, _ in model.named_buffers()})


@pytest.mark.parametrize("name", ["resnet", "mobilenet_v3_small"])
def test_code_of_an_edited_network_can_be_edited_again(name: str, tmp_path: Path) -> None:
    model, inputs = made(name)
    graph = trace(model, inputs)
    free = graph.editable()
    graph = apply(graph, widen(graph, free[0].name, free[0].size + 3))
    place = next(path for path, module in model.named_modules() if isinstance(module, nn.BatchNorm2d))
    graph = apply(graph, residual(graph, place, hidden=2, kernel=1))
    network = written(graph, tmp_path).eval()
    same(model(*inputs), network(*inputs))
    before = network(*inputs)
    again = trace(network, inputs)
    assert [group.name for group in again.editable()] == [group.name for group in graph.editable()]
    again = apply(again, widen(again, again.editable()[1].name, again.editable()[1].size + 2))
    torch.testing.assert_close(network(*inputs), before, rtol=1e-10, atol=1e-10)


def test_sizes_written_into_a_forward_become_attributes(tmp_path: Path) -> None:
    model, inputs = made("attention")
    network = written(trace(model, inputs), tmp_path).eval()
    assert {value for value in vars(network).values() if type(value) is int} >= {3, 4, 12}
    again = trace(network, inputs)
    widths = {group.size for group in again.editable()}
    before = network(*inputs)
    assert {3, 4} & widths  # heads, or what is in a head
    group = next(group for group in again.editable() if group.size in (3, 4))
    graph = apply(again, widen(again, group.name, 2 * group.size))
    assert graph.group(group.name).size == 2 * group.size
    torch.testing.assert_close(network(*inputs), before, rtol=1e-10, atol=1e-10)


def test_the_file_needs_no_netmorph(tmp_path: Path) -> None:
    model, inputs = made("lenet5")
    write_code(trace(model, inputs), tmp_path / "network.py")
    script = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "netmorph":
            raise ImportError("blocked")
sys.meta_path.insert(0, Blocked())
import torch
from network import load
print(load().eval()(torch.ones(3, 1, 28, 28, dtype=torch.float64)).sum().item())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stderr == ""
    assert float(done.stdout) == pytest.approx(model(torch.ones(3, 1, 28, 28).double()).sum().item(), rel=1e-12)


def test_code_reads_well() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))
    text = code(trace(model, torch.randn(2, 3, 4, 4)))
    assert "import netmorph" not in text
    assert "self.append(nn.Conv2d(3, 8, 3, padding=1))" in text
    assert "        x = self[0](input)\n        x = self[1](x)\n        x = self[2](x)\n" in text
    assert "input [N, 3, 4, 4]" in text


class Fixed(nn.Module):
    """The size of a view is written into the forward, and perhaps the batch size."""

    def __init__(self, batch: int = -1) -> None:
        super().__init__()
        self.last, self.batch = nn.Linear(4, 2), batch

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x.view(self.batch, 3, 4)).sum(1)


def test_a_batch_size_written_into_the_forward_is_told_and_kept(tmp_path: Path) -> None:
    graph = trace(Fixed(batch=2).double(), torch.randn(2, 12).double())
    assert "It takes batches of 2 only" in code(graph)
    network = written(graph, tmp_path)
    same(network(torch.ones(2, 12).double()), graph.model(torch.ones(2, 12).double()))
    with pytest.raises(ValueError, match=r"x must be \[2, 12\], not \(3, 12\)"):
        network(torch.ones(3, 12).double())


class Single(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[None] if len(x) > 1 else x).reshape(len(x), 2)


def test_a_batch_of_one_as_example_leaves_the_batch_free(tmp_path: Path) -> None:
    graph = trace(Single(3, 2).double(), torch.randn(1, 3).double())
    network = written(graph, tmp_path)
    x = torch.randn(4, 3).double()
    same(network(x), graph.model(x))


def test_other_image_sizes_are_refused_where_the_code_depends_on_them(tmp_path: Path) -> None:
    network = written(trace(Fixed(), torch.randn(2, 12)), tmp_path)
    assert network(torch.ones(3, 12)).shape == (3, 2)
    with pytest.raises(ValueError, match=r"x must be \[N, 12\], not \(2, 24\)"):
        network(torch.ones(2, 24))


class Infinite(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        limits = torch.tensor([[float("-inf"), 0.5], [float("inf"), 1.0]], dtype=x.dtype)
        return super().forward(x).clamp(limits[0], limits[1])


def test_captured_numbers_that_are_not_finite(tmp_path: Path) -> None:
    graph = trace(Infinite(3, 2).double(), torch.randn(2, 3).double())
    assert '[[float("-inf"), 0.5], [float("inf"), 1.0]]' in code(graph)
    x = torch.randn(3, 3).double()
    same(written(graph, tmp_path)(x), graph.model(x))


DTYPES = [torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32]
DTYPES += [torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128]
DTYPES += [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]


class Typed(nn.Module):
    """A parameter, a buffer, a small and a large captured tensor of one type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        numbers = torch.arange(70) % 2
        self.last, self.large = nn.Linear(3, 2).double(), [numbers.to(dtype)]
        self.small = [torch.tensor([1, 0, 1]).to(dtype)]
        if dtype.is_complex:
            self.large[0] += 0.5j
            self.small[0] *= complex(float("-inf"), 2)
        self.register_buffer("held", self.large[0][:3].clone())
        self.register_buffer("unsaved", self.large[0][:3].clone(), persistent=False)
        self.weight = nn.Parameter(self.large[0][:3].clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Any:
        tensors = (self.large[0][:3], self.small[0], self.held, self.unsaved, self.weight)
        return self.last(x), [tensor.clone() for tensor in tensors]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_of_every_type(dtype: torch.dtype, tmp_path: Path) -> None:
    model, x = Typed(dtype), torch.randn(2, 3).double()
    network = written(trace(model, x), tmp_path)
    for one, other in zip(tree_leaves(model(x)), tree_leaves(network(x)), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert torch.equal(one.detach().view(torch.uint8), other.detach().view(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.bits8, torch.int4], ids=str)
def test_types_without_numbers_are_refused_by_name(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model.register_buffer("odd", torch.empty(2, dtype=dtype))
    with pytest.raises(TraceError, match=rf"tensor 'odd' is of {dtype}"):
        trace(model, torch.randn(2, 3))


@pytest.mark.filterwarnings("ignore:.*quantized")
def test_quantized_tensors_are_refused_by_name(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    model.register_buffer("odd", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))
    with pytest.raises((ExportError, SaveError), match=r"torch.qint8 \('odd'\)"):
        write_code(trace(model, torch.randn(2, 3)), tmp_path / "network.py")
    assert list(tmp_path.iterdir()) == []


class Counting(nn.Linear):
    """Puts another tensor into the place of a buffer, in training mode; that is no operator."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen = self.seen + 1
        return super().forward(x)


class Unwritable(nn.Linear):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), object()


class InAnObject(nn.Linear):
    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(logits=super().forward(x))


class Branching(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (2 if len(x) > 3 else 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Unwritable(3, 2), "returns object"),
        (InAnObject(3, 2), "returns SimpleNamespace"),
        (Branching(3, 2), "does not compute what the model does:"),
        (Counting(), "what the model does in training mode: buffer seen differs"),
    ],
)
def test_what_cannot_be_written_is_refused(model: nn.Module, message: str, tmp_path: Path) -> None:
    graph = trace(model, torch.randn(2, 3))
    with pytest.raises(ExportError, match=message):
        write_code(graph, tmp_path / "network.py")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["network", "network.txt", "my-network.py"])
def test_a_file_that_python_could_not_import_is_refused(name: str, tmp_path: Path) -> None:
    graph = trace(nn.Linear(3, 2), torch.randn(2, 3))
    with pytest.raises(ExportError, match=r"such as network\.py"):
        write_code(graph, tmp_path / name)


def test_what_others_wrote_is_not_overwritten_by_weights(tmp_path: Path) -> None:
    model = zoo.lenet5((1, 28, 28), 10)
    graph = trace(model, torch.randn(2, 1, 28, 28))
    save(tmp_path / "grown.safetensors", model, graph.journal)
    save_file({"weight": torch.ones(2)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_text("no tensors")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("grown", "other", "broken"):
        with pytest.raises(ExportError, match=rf"{name}\.safetensors, which exists and holds something else"):
            write_code(graph, tmp_path / f"{name}.py")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    load(tmp_path / "grown.safetensors", lambda: zoo.lenet5((1, 28, 28), 10))


def test_code_that_others_wrote_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "network.py").write_text("class Network: ...")
    with pytest.raises(ExportError, match=r"network\.py exists and was not written by netmorph"):
        write_code(trace(nn.Linear(3, 2), torch.randn(2, 3)), tmp_path / "network.py")
    assert (tmp_path / "network.py").read_text() == "class Network: ..."


def test_an_older_export_is_replaced(tmp_path: Path) -> None:
    first, second = nn.Linear(3, 2), nn.Linear(3, 4)  # a network may be a single layer
    written(trace(first, torch.randn(2, 3)), tmp_path)
    network = written(trace(second, torch.randn(2, 3)), tmp_path)
    x = torch.randn(2, 3)
    torch.testing.assert_close(network(x), second(x))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.py", "network.safetensors"]


def test_weights_that_cannot_be_written_leave_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("netmorph.tensor_files.save_file", full)
    with pytest.raises(SaveError, match=r"network\.safetensors: no space"):
        write_code(trace(nn.Sequential(nn.Linear(3, 2)), torch.randn(2, 3)), tmp_path / "network.py")
    assert list(tmp_path.iterdir()) == []


def test_weights_of_other_shapes_are_refused_when_loaded(tmp_path: Path) -> None:
    write_code(trace(nn.Sequential(nn.Linear(3, 2)), torch.randn(2, 3)), tmp_path / "network.py")
    save_file(
        {"0.weight": torch.ones(1, 3), "0.bias": torch.ones(2)}, tmp_path / "trained.safetensors"
    )  # would broadcast
    with pytest.raises(ValueError, match=r"they differ in \['0.weight'\]"):
        imported(tmp_path / "network.py").load(tmp_path / "trained.safetensors")
