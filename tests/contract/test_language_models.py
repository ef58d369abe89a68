"""Language and vision models of `transformers`, built from small configurations: what the op rules make of them."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from checks import EXACT, relative
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph import EditError, apply, narrow, widen
from netmorph.edit import WidthEdit, narrow_all
from netmorph.graph import Allow, Graph, Role, trace
from netmorph.testing import check_attributes, masked_outputs
from netmorph.widenings import keep, net2net, r2r

pytest.importorskip("transformers")
hub: ModuleType = importlib.import_module("transformers")

IDS = torch.tensor([[5, 3, 7, 1, 9, 2], [4, 8, 6, 2, 1, 3]])
TEXT = {"input_ids": IDS, "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])}
IMAGE = {"pixel_values": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))}
BASE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
WORDS = {"vocab_size": 50, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
PATCHES = {"image_size": 16, "patch_size": 8}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 16, "vocab_size": 50, "bos_token_id": 0,
       "eos_token_id": 1}  # fmt: skip
GROUPED = BASE | WORDS | {"num_key_value_heads": 2}

Inputs = dict[str, Tensor]
# Model, configuration, its options, inputs.
MODELS: dict[str, tuple[str, str, dict[str, Any], Inputs]] = {
    "gpt2": ("GPT2Model", "GPT2Config", GPT | {"n_inner": 48}, TEXT),
    "gpt2 lm": ("GPT2LMHeadModel", "GPT2Config", GPT, TEXT),
    "bert": ("BertModel", "BertConfig", BASE | WORDS, TEXT),
    "bert classifier": ("BertForSequenceClassification", "BertConfig", BASE | WORDS, TEXT),
    "llama": ("LlamaForCausalLM", "LlamaConfig", GROUPED, TEXT),
    "llama eager": ("LlamaForCausalLM", "LlamaConfig", GROUPED | {"attn_implementation": "eager"}, TEXT),
    "vit": ("ViTForImageClassification", "ViTConfig", BASE | PATCHES, IMAGE),
    "mistral": ("MistralForCausalLM", "MistralConfig", GROUPED, TEXT),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", GROUPED, TEXT),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", GROUPED | {"num_key_value_heads": 1, "head_dim": 8}, TEXT),
    "gemma without padding": (
        "GemmaForCausalLM", "GemmaConfig", GROUPED | {"num_key_value_heads": 1, "head_dim": 8}, {"input_ids": IDS}
    ),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", GROUPED, TEXT),
    "neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", BASE | WORDS, TEXT),
    "bloom": ("BloomForCausalLM", "BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 4} | WORDS, TEXT),
    "t5": (
        "T5ForConditionalGeneration", "T5Config",
        {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "vocab_size": 50},
        {"input_ids": IDS, "decoder_input_ids": IDS[:, :4]},
    ),
    "distilbert": (
        "DistilBertModel", "DistilBertConfig", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48} | WORDS, TEXT
    ),
    "deberta": (
        "DebertaV2Model", "DebertaV2Config",
        BASE | WORDS | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}, TEXT,
    ),
    "clip": ("CLIPVisionModel", "CLIPVisionConfig", BASE | PATCHES, IMAGE),
    "swin": (
        "SwinModel", "SwinConfig",
        {"image_size": 16, "patch_size": 2, "embed_dim": 16, "depths": [2], "num_heads": [2], "window_size": 4}, IMAGE,
    ),
}  # fmt: skip
# A feed-forward layer and the heads of each: the module that first writes them, and their number.
PARTS = {
    "gpt2": ("h.0.mlp.c_fc", 48, "h.0.attn.c_attn", 4),
    "gpt2 lm": ("transformer.h.1.mlp.c_fc", 128, "transformer.h.1.attn.c_attn", 4),
    "bert": ("encoder.layer.0.intermediate.dense", 48, "encoder.layer.0.attention.self.query", 4),
    "bert classifier": ("bert.encoder.layer.1.intermediate.dense", 48, "bert.encoder.layer.1.attention.self.query", 4),
    "llama": ("model.layers.0.mlp.gate_proj", 48, "model.layers.0.self_attn.q_proj", 2),
    "vit": ("vit.layers.0.mlp.fc1", 48, "vit.layers.0.attention.q_proj", 4),
    "gemma without padding": ("model.layers.0.mlp.gate_proj", 48, "model.layers.0.self_attn.q_proj", 4),
}


def build(name: str) -> tuple[nn.Module, Inputs]:
    """The model in float64 with weights that are nowhere zero or one, in eval mode, and its inputs."""
    model, config, options, inputs = MODELS[name]
    network: nn.Module = getattr(hub, model)(getattr(hub, config)(**options)).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator) + (parameter.dim() == 1))
    return network, {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}


@torch.no_grad()
def results(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(model(**inputs)) if isinstance(leaf, Tensor)]


def tolerance(graph: Graph) -> float:
    """Some of these networks compute their norms in float32, whatever their weights are."""
    types = {value.dtype for call in graph.recording.calls for value in call.outputs}
    return max(bound for dtype, bound in EXACT.items() if dtype in types)


@pytest.mark.parametrize("name", MODELS)
def test_every_free_group_widens_exactly(name: str) -> None:
    model, inputs = build(name)
    before = results(model, inputs)
    graph = trace(model, inputs)
    generator = torch.Generator().manual_seed(0)
    changes = {
        group.name: r2r(group.size, group.size + 3, generator)
        if group.allow == Allow.ANY
        else net2net(group.size, 2 * group.size, generator)
        for group in graph.editable(Allow.UNIFORM)
    }
    assert len(changes) >= 2
    after = apply(graph, WidthEdit(changes, "all"))
    assert relative(before, results(model, inputs)) <= tolerance(graph)
    assert [group.allow for group in after.groups.values()] == [group.allow for group in graph.groups.values()]
    if name != "deberta":  # it reads the weight of an embedding that it never calls
        check_attributes(model)


@pytest.mark.parametrize("name", MODELS)
def test_halving_every_free_group_is_the_masked_original_and_trains(name: str) -> None:
    model, inputs = build(name)
    graph = trace(model, inputs)
    kept = {group.name: range(0, group.size, 2) for group in graph.editable() if group.size > 1}
    masked = masked_outputs(graph, kept)
    apply(graph, narrow_all(graph, kept))
    assert relative(masked, results(model, inputs)) <= tolerance(graph)
    if name != "deberta":
        check_attributes(model)
    model.train()
    optimizer = torch.optim.Adam(model.parameters())
    found = [leaf for leaf in tree_leaves(model(**inputs)) if isinstance(leaf, Tensor) and leaf.requires_grad]
    torch.stack([leaf.pow(2).mean() for leaf in found]).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    optimizer.step()
    assert all(bool(leaf.isfinite().all()) for leaf in results(model.eval(), inputs))


@pytest.mark.parametrize("name", PARTS)
def test_feed_forward_width_and_heads_on_their_own(name: str) -> None:
    width, features, heads, count = PARTS[name]
    model, inputs = build(name)
    before = results(model, inputs)
    graph = trace(model, inputs)
    assert (graph.groups[width].size, graph.groups[heads].size) == (features, count)
    for group in (width, heads):
        assert graph.groups[group].allow == Allow.ANY
        graph = apply(graph, widen(graph, group, graph.groups[group].size + 1))
        assert relative(before, results(model, inputs)) <= tolerance(graph)
        dropped = [0, 2]
        kept = [channel for channel in range(graph.groups[group].size) if channel not in dropped]
        expected = masked_outputs(graph, {group: kept})
        graph = apply(graph, narrow(graph, group, kept))
        assert relative(expected, results(model, inputs)) <= tolerance(graph)
        before = results(model, inputs)


# What the forward passes as a size, by model: the group to widen, to what, and the attributes afterwards.
FOLLOWING: dict[str, tuple[str, int, dict[str, int]]] = {
    "gpt2": ("h.0.attn.c_attn", 5, {"h.0.attn.split_size": 40, "h.0.attn.c_attn.nf": 120, "h.1.attn.split_size": 32}),
    "t5": ("decoder.block.0.layer.1.EncDecAttention.q", 5, {"decoder.block.0.layer.1.EncDecAttention.n_heads": 5}),
    "deberta": (
        "encoder.layer.0.attention.self.query_proj", 6, {"encoder.layer.0.attention.self.num_attention_heads": 6}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLLOWING)
def test_attributes_that_the_forward_uses_follow(name: str) -> None:
    group, to, expected = FOLLOWING[name]
    model, inputs = build(name)
    graph = trace(model, inputs)
    apply(graph, widen(graph, group, to))
    held = {path: getattr(model.get_submodule(path.rpartition(".")[0]), path.rpartition(".")[2]) for path in expected}
    assert held == expected


@pytest.mark.parametrize("name", MODELS)
def test_what_is_frozen_says_why(name: str) -> None:
    model, inputs = build(name)
    graph = trace(model, inputs)
    frozen = [group for group in graph.groups.values() if group.allow == Allow.FROZEN]
    assert frozen
    for group in frozen:
        reason = "; ".join(group.reasons)
        assert named(reason) or re.search(r"the model's (in|out)put", reason), reason
        with pytest.raises(EditError, match=re.escape(group.reasons[0])):
            apply(graph, WidthEdit({group.name: keep(group.size, [0])}, "keep"))


def named(reason: str) -> bool:
    """Whether the reason names a line that is there."""
    return any(Path(path).is_file() for path in re.findall(r"(/[^\s:]+\.py):\d+", reason))


def test_heads_that_the_forward_reads_from_the_configuration_are_those_of_all_layers() -> None:
    model, inputs = build("phi3")
    config = model.config
    heads = config.num_attention_heads
    graph = trace(model, inputs)
    counted = [g for g in graph.editable() if any(a.name == "config.num_attention_heads" for a in g.attributes)]
    assert counted
    assert all({"0", "1"} <= {site.tensor.split(".")[2] for site in group.sites} for group in counted)
    graph = apply(graph, widen(graph, counted[0].name, 2 * counted[0].size))
    assert (model.config.num_attention_heads, config.num_attention_heads) == (2 * heads, heads)
    assert all(layer.self_attn.config is model.config for layer in model.model.layers)


def test_a_number_of_repeats_that_the_code_compares_with_one_is_frozen() -> None:
    # repeat_kv returns early for a single repeat: another forward than the one that was traced.
    graph = trace(*build("llama eager"))
    repeats = graph.groups["model.layers.0.self_attn.num_key_value_groups"]
    assert (repeats.size, repeats.allow) == (2, Allow.FROZEN)
    assert "modeling_llama.py" in repeats.reasons[0]


def test_tied_embeddings_are_never_called_exact() -> None:
    graph = trace(*build("gpt2 lm"))
    width = graph.group("transformer.wte")
    assert width.allow == Allow.INEXACT
    assert any("tied weights" in reason for reason in width.reasons)


def test_a_cache_in_the_result_leaves_the_heads_free_and_generation_goes_on() -> None:
    model, inputs = build("llama")
    assert model(**inputs).past_key_values is not None
    graph = trace(model, inputs)
    kept = {group.name: range(0, group.size, 2) for group in graph.editable() if group.size > 1}
    assert {group.size for group in graph.editable() if "q_proj" in group.name} == {2, 4}
    apply(graph, narrow_all(graph, kept))
    plain = model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=3, do_sample=False, use_cache=False)
    cached = model.generate(IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=3, do_sample=False)
    assert torch.equal(plain, cached)


def test_experts_widen_exactly_and_narrow() -> None:
    options = GROUPED | {"num_local_experts": 4, "experts_implementation": "eager"}
    torch.manual_seed(0)
    model = hub.MixtralForCausalLM(hub.MixtralConfig(**options)).double().eval()
    before = results(model, TEXT)
    graph = trace(model, TEXT)
    graph = apply(graph, widen(graph, "model.layers.0.mlp.experts", 50))
    assert relative(before, results(model, TEXT)) <= tolerance(graph)
    assert graph.groups["model.layers.0.mlp.gate"].allow == Allow.FROZEN  # experts are picked by their places
    last = "model.layers.1.mlp.experts"  # nothing behind it routes
    expected = masked_outputs(graph, {last: range(0, 48, 2)})
    graph = apply(graph, narrow(graph, last, range(0, 48, 2)))
    assert relative(expected, results(model, TEXT)) <= tolerance(graph)
    assert {site.use.role for site in graph.groups[last].sites} >= {Role.READ, Role.WRITE}
