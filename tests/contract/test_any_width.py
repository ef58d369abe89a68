"""Transformers of `transformers` from d to 1.5 d in every dimension at once: stream, heads, width of heads, MLP."""

import importlib
import math
from types import ModuleType
from typing import Any

import pytest
import torch
from checks import EXACT, relative
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph import EditError, apply, undo, widen
from netmorph.edit import narrow_all, widen_all
from netmorph.graph import Allow, Graph, trace
from netmorph.testing import masked_outputs
from netmorph.widenings import approximate, net2net

pytest.importorskip("transformers")
hub: ModuleType = importlib.import_module("transformers")

IDS = {"input_ids": torch.tensor([[5, 3, 7, 1, 9, 2], [4, 8, 6, 2, 1, 3]])}
IMAGE = {"pixel_values": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()}
BASE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
WORDS = {"vocab_size": 50, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
GROUPED = BASE | WORDS | {"num_key_value_heads": 2, "use_cache": False}
PATCHES = {"image_size": 32, "patch_size": 8}

Inputs = dict[str, Tensor]
# Model, configuration, its options, inputs, the module that first writes the stream.
EXACTLY: dict[str, tuple[str, str, dict[str, Any], Inputs, str]] = {
    "gpt2": (
        "GPT2LMHeadModel", "GPT2Config",
        {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 16, "vocab_size": 50, "use_cache": False,
         "bos_token_id": 0, "eos_token_id": 1}, IDS, "transformer.wte",
    ),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED, IDS, "model.embed_tokens"),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED | {"tie_word_embeddings": True}, IDS, "model.embed_tokens"),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", GROUPED | {"head_dim": 8}, IDS, "model.embed_tokens"),
    "vit": (
        "ViTForImageClassification", "ViTConfig", BASE | PATCHES, IMAGE, "vit.embeddings.patch_embeddings.projection"
    ),
    "deit": (
        "DeiTForImageClassification", "DeiTConfig", BASE | PATCHES, IMAGE, "deit.embeddings.patch_embeddings.projection"
    ),
}  # fmt: skip
# Where the stream is normalized behind each sum, or together with its neighbours, nothing can be the mean of it all.
NEARLY = {
    "bert": ("BertForSequenceClassification", "BertConfig", BASE | WORDS, IDS, "bert.embeddings.word_embeddings"),
    "swin": (
        "SwinForImageClassification", "SwinConfig",
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        IMAGE, "swin.embeddings.patch_embeddings.projection",
    ),
}  # fmt: skip
MODELS = EXACTLY | NEARLY


def build(name: str) -> tuple[nn.Module, Inputs]:
    """The model in float64, its weights as far from the start as after a training."""
    model, config, options, inputs, _ = MODELS[name]
    torch.manual_seed(0)
    network: nn.Module = getattr(hub, model)(getattr(hub, config)(**options)).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network, inputs


@torch.no_grad()
def results(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(model.eval()(**inputs)) if isinstance(leaf, Tensor)]


def train(model: nn.Module, inputs: Inputs, optimizer: torch.optim.Optimizer, steps: int = 2) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(**inputs).logits.square().mean().backward()
        optimizer.step()


def wider(graph: Graph) -> dict[str, int]:
    return {group.name: math.ceil(1.5 * group.size) for group in graph.editable()}


@pytest.mark.parametrize("name", MODELS)
def test_half_as_wide_again_in_every_dimension(name: str) -> None:
    model, inputs = build(name)
    stream = MODELS[name][4]
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    train(model, inputs, optimizer)
    graph = trace(model, inputs)
    before, sizes = results(model, inputs), wider(graph)
    assert graph.group(stream).name in sizes
    assert len(sizes) > 2 * 3
    bound = max(EXACT[torch.float64], 1e-6 if name in ("llama", "qwen2", "qwen3") else 0)  # their norms are in float32
    if name in NEARLY:
        with pytest.raises(EditError, match="approximate comes as near as it gets"):
            widen(graph, stream, sizes[graph.group(stream).name])
        graph = apply(graph, widen(graph, stream, sizes.pop(graph.group(stream).name), approximate), optimizer)
        assert 1e-8 < graph.journal[-1].error < 0.1
        before = results(model, inputs)
    graph = apply(graph, widen_all(graph, sizes), optimizer)
    assert relative(before, results(model, inputs)) <= bound
    assert "lemon" in graph.journal[-1].edit.method
    assert all(graph.group(group).size == size for group, size in sizes.items())

    start = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    assert all(parameter in optimizer.state for parameter in model.parameters() if parameter.requires_grad)
    train(model, inputs, optimizer)
    moved = [key for key, parameter in model.named_parameters() if not torch.equal(parameter, start[key])]
    assert len(moved) > 0.9 * len(start)

    kept = {group.name: range(math.floor(group.size / 1.5)) for group in graph.editable()}
    masked = masked_outputs(trace(model, inputs), kept)
    graph = trace(model, inputs, graph.journal)
    apply(graph, narrow_all(graph, kept), optimizer)
    assert relative(masked, results(model, inputs)) <= bound
    train(model, inputs, optimizer, steps=1)


@pytest.mark.parametrize("name", EXACTLY)
def test_the_stream_alone_and_taken_back_after_training(name: str) -> None:
    model, inputs = build(name)
    stream = MODELS[name][4]
    graph = trace(model, inputs)
    before, shapes = results(model, inputs), {key: value.shape for key, value in model.state_dict().items()}
    graph = apply(graph, widen(graph, stream, 17))
    assert graph.journal[-1].edit.method == "lemon"
    with torch.no_grad():  # by next to nothing, so that what is taken back is the edit, of other weights than it made
        next(model.parameters()).mul_(1 + 1e-14)
    graph = apply(graph, undo(graph))
    assert {key: value.shape for key, value in model.state_dict().items()} == shapes
    assert relative(before, results(model, inputs)) <= 1e-6


def test_bert_as_it_starts_is_widened_exactly() -> None:
    model, config, options, inputs, stream = MODELS["bert"]
    network = getattr(hub, model)(getattr(hub, config)(**options)).double().eval()
    graph = trace(network, inputs)
    graph = apply(graph, widen(graph, stream, 24))
    assert graph.journal[-1].error <= 1e-14


def test_swin_is_widened_exactly_by_equal_copies() -> None:
    network, inputs = build("swin")
    stream = MODELS["swin"][4]
    graph = trace(network, inputs)
    graph = apply(graph, widen(graph, stream, 16))
    assert (graph.journal[-1].edit.method, graph.group(stream).allow) == ("net2net", Allow.UNIFORM)
    assert widen(graph, stream, 32, net2net).plan(graph).exact
    assert graph.journal[-1].error <= 1e-13
