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
    """What the module's size attributes should hold, by its tensors; also where its weight is computed from others."""
    match module:
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            inputs, outputs, *_ = module.weight.shape
            return {"in_channels": inputs, "out_channels": outputs * module.groups}
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            outputs, inputs, *_ = module.weight.shape
            return {"out_channels": outputs, "in_channels": inputs * module.groups}
        case nn.Linear():
            return {"out_features": module.weight.shape[0], "in_features": module.weight.shape[1]}
        case nn.Embedding():
            return {"num_embeddings": module.weight.shape[0], "embedding_dim": module.weight.shape[1]}
        case nn.LayerNorm() | nn.RMSNorm() if module.elementwise_affine:
            return {"normalized_shape": tuple(module.weight.shape)}
        case nn.GroupNorm() if module.affine:
            return {"num_channels": len(module.weight)}
        case nn.modules.batchnorm._NormBase() if module.affine:
            return {"num_features": len(module.weight)}
        case nn.modules.batchnorm._NormBase() if module.running_mean is not None:
            return {"num_features": len(module.running_mean)}
        case nn.PReLU():
            return {"num_parameters": len(module.weight)}
    return {}
