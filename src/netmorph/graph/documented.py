"""Sizes that PyTorch's own layers document as attributes, and the dimensions of their tensors that these name.

Such an attribute is true whether a forward reads it or not: of a layer whose weight is read by others
(`x @ layer.weight.T`), or of a subclass with a forward of its own, `out_features` follows the weight all the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from netmorph.graph.axis import Axis, Fixed
from netmorph.graph.value import Value

# Attribute -> tensor, and its dimension or dimensions.
Documented = dict[str, tuple[str, int | slice]]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_KERNEL: Documented = {"kernel_size": ("weight", slice(2, None))}
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def documented(module: nn.Module) -> Documented:
    """What the attributes of a layer of PyTorch's, or of a subclass, say of its tensors."""
    match module:
        case nn.Linear():
            return {"out_features": ("weight", 0), "in_features": ("weight", 1)}
        case nn.Bilinear():
            return {"out_features": ("weight", 0), "in1_features": ("weight", 1), "in2_features": ("weight", 2)}
        case nn.Embedding() | nn.EmbeddingBag():
            return {"num_embeddings": ("weight", 0), "embedding_dim": ("weight", 1)}
        case nn.LayerNorm() | nn.RMSNorm():
            return {"normalized_shape": ("weight", slice(None))}
        case nn.GroupNorm():
            return {"num_channels": ("weight", 0)}
        case nn.modules.batchnorm._NormBase():
            return {"num_features": ("weight" if module.affine else "running_mean", 0)}
        case nn.PReLU():
            return {"num_parameters": ("weight", 0)}
        case nn.MultiheadAttention() if module._qkv_same_embed_dim:
            return dict.fromkeys(("embed_dim", "kdim", "vdim"), ("in_proj_weight", 1))
        case nn.MultiheadAttention():
            return {
                "embed_dim": ("q_proj_weight", 1),
                "kdim": ("k_proj_weight", 1),
                "vdim": ("v_proj_weight", 1),
            }
        case nn.RNNCellBase():
            return {"input_size": ("weight_ih", 1), "hidden_size": ("weight_hh", 1)}
        case _ if isinstance(module, _TRANSPOSED):
            return {"in_channels": ("weight", 0), "out_channels": ("weight", 1), **_KERNEL}
        case _ if isinstance(module, _CONVOLUTIONS):
            return {"out_channels": ("weight", 0), "in_channels": ("weight", 1), **_KERNEL}
    return {}


def documented_axes(path: str, module: nn.Module, tensors: Mapping[str, Value]) -> dict[str, tuple[Axis, ...]]:
    """The axes whose lengths these attributes are, as far as the tensors are the layer's own.

    Args:
        tensors: parameters and buffers by canonical name.
    """
    found: dict[str, tuple[Axis, ...]] = {}
    for name, (tensor, dim) in documented(module).items():
        value = tensors.get(f"{path}.{tensor}".lstrip("."))
        if value is not None:
            axes = value.axes[dim] if isinstance(dim, slice) else [value.axes[dim]]
            found[name] = tuple(_whole(module, name, axis) for axis in axes)
    return found


def _whole(module: nn.Module, name: str, axis: Axis) -> Axis:
    """Of convolutions in groups, one side of the weight holds the channels of a single group."""
    counted = "out_channels" if isinstance(module, _TRANSPOSED) else "in_channels"
    if name != counted or not isinstance(module, _CONVOLUTIONS) or module.groups == 1:
        return axis
    return (Fixed(module.groups, "groups of a convolution"), *axis)
