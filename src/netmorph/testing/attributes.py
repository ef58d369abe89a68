"""Sizes that PyTorch's own layers hold, against those of their tensors."""

from __future__ import annotations

from torch import nn

from netmorph.graph.provenance import Size
from netmorph.testing.compare import CheckError


def check_attributes(model: nn.Module) -> None:
    """`out_channels`, `num_features` and the like are true, so that a printed or rebuilt layer is right.

    Raises:
        CheckError: one is not, or an attribute is left with what tracing knows of it.
    """
    for path, module in model.named_modules():
        for name, true in _sizes(module).items():
            held = vars(module)[name]
            if held != true:
                raise CheckError(f"{path} ({module}): {name} is {held}, and its tensors make it {true}")
        for name, held in vars(module).items():
            if isinstance(held, Size):
                raise CheckError(f"{path}.{name} is left with what tracing knows of it")


def _sizes(module: nn.Module) -> dict[str, object]:
    """What the module's size attributes should hold, by its tensors."""
    shape = next((tuple(t.shape) for t in (*module.parameters(False), *module.buffers(False)) if t.dim()), ())
    match module:
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            return {"in_channels": shape[0], "out_channels": shape[1] * module.groups}
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return {"out_channels": shape[0], "in_channels": shape[1] * module.groups}
        case nn.Linear():
            return {"out_features": shape[0], "in_features": shape[1]}
        case nn.LayerNorm() | nn.RMSNorm() if shape:
            return {"normalized_shape": shape}
        case nn.GroupNorm() if shape:
            return {"num_channels": shape[0]}
        case nn.modules.batchnorm._NormBase() if shape:
            return {"num_features": shape[0]}
        case nn.PReLU():
            return {"num_parameters": shape[0]}
        case nn.Embedding():
            return {"num_embeddings": shape[0], "embedding_dim": shape[1]}
    return {}
