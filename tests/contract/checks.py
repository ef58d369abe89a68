"""What must hold of every network after every edit: shared by the files of the contract suite."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.graph import Allow, Graph, Group, Role
from netmorph.graph.provenance import Size
from netmorph.widenings import WIDENINGS

EXACT = {torch.float64: 1e-12, torch.float32: 1e-5}


@torch.no_grad()
def outputs(model: nn.Module, *inputs: object) -> list[Tensor]:
    """The tensors of `model(*inputs)` in eval mode."""
    mode = model.training
    model.eval()
    result = [leaf for leaf in tree_leaves(model(*inputs)) if isinstance(leaf, Tensor)]
    model.train(mode)
    return result


def relative(before: list[Tensor], after: list[Tensor]) -> float:
    """The largest difference, relative to the largest value; NaN where anything is NaN."""
    gaps = [(a - b).abs().max() / a.abs().max().clamp_min(1e-30) for a, b in zip(before, after, strict=True)]
    return float(torch.stack(gaps).double().sum())


def widths(group: Group) -> dict[str, int]:
    """A width to go to, for each method that is exact on this group."""
    if group.allow == Allow.ANY:
        return {name: group.size + 1 + place for place, name in enumerate(WIDENINGS) if name != "random_pad"}
    if group.allow == Allow.UNIFORM:
        return {"net2net": 2 * group.size, "unequal_split": 2 * group.size}
    return {}


def assert_true_attributes(model: nn.Module) -> None:
    """Sizes that torch's own modules hold are those of their tensors, so that repr and a rebuilt layer are right."""
    for path, module in model.named_modules():
        for name, true in sizes(module).items():
            assert vars(module)[name] == true, f"{path} {module}: {name} should be {true}"
        for name, held in vars(module).items():
            assert not isinstance(held, Size), f"{path}: {name} is left with what the tracer knows of it"


def sizes(module: nn.Module) -> dict[str, object]:
    """What the module's size attributes should hold, by its tensors."""
    shape = next((tuple(t.shape) for t in (*module.parameters(False), *module.buffers(False)) if t.dim()), ())
    match module:
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return {"out_channels": shape[0], "in_channels": shape[1] * module.groups}
        case nn.Linear():
            return {"out_features": shape[0], "in_features": shape[1]}
        case nn.LayerNorm():
            return {"normalized_shape": shape}
        case nn.GroupNorm():
            return {"num_channels": shape[0]}
        case nn.modules.batchnorm._NormBase() if shape:
            return {"num_features": shape[0]}
        case nn.PReLU():
            return {"num_parameters": shape[0]}
        case nn.Embedding():
            return {"num_embeddings": shape[0], "embedding_dim": shape[1]}
    return {}


@torch.no_grad()
def mask_readers(graph: Graph, group: Group, dropped: Iterable[int]) -> None:
    """Let nobody read the dropped channels: what a network does once they are gone."""
    index = torch.tensor(list(dropped), dtype=torch.long)
    tensors = dict(graph.model.named_parameters())
    for site in group.where(Role.READ):
        tensor = tensors[site.tensor]
        tensor.copy_(site.change(tensor, {group.atom: lambda part, dim: part.index_fill(dim, index, 0)}))


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, ...]]
) -> dict[str, Tensor]:
    """Train on batches of inputs towards random targets.

    Returns:
        For each parameter, which entries ever had a gradient that is not just rounding.
    """
    generator = torch.Generator().manual_seed(0)
    reached: dict[str, Tensor] = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for batch in batches:
        optimizer.zero_grad()
        results = [leaf for leaf in tree_leaves(model(*batch)) if isinstance(leaf, Tensor)]
        loss = sum((r - torch.randn(r.shape, generator=generator).to(r)).pow(2).sum() for r in results)
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        largest = max(float(g.abs().max()) for g in gradients.values())
        for name, gradient in gradients.items():
            reached[name] |= gradient.abs() > 1e-9 * largest
        optimizer.step()
    return reached
