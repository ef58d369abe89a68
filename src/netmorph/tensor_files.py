"""Tensors of every type in safetensors files, whose format lacks some.

complex128 lies there as pairs of float64, under the same name; the file's metadata tells which. What the format has no
place for (quantized types, complex32, bits, integers of a few bits) is refused by name.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save, save_file
from torch import Tensor

from netmorph.files import SaveError

KEY = "complex128"


def stored(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors as a file holds them, and what its metadata has to say of that."""
    paired = [name for name, tensor in tensors.items() if tensor.dtype is torch.complex128]
    pairs = {name: torch.view_as_real(tensors[name].resolve_conj()) for name in paired}
    return {**tensors, **pairs}, {KEY: json.dumps(paired)} if paired else {}


def restored(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors that `stored` took, from a file's tensors and metadata.

    Raises:
        ValueError: they do not belong together.
    """
    paired = json.loads(metadata.get(KEY, "[]"))
    whole = dict(tensors)
    for name in paired:
        pairs = whole.get(name)
        if pairs is None or pairs.dtype is not torch.float64 or not pairs.dim() or pairs.shape[-1] != 2:
            raise ValueError(f"{name!r} should hold pairs of float64")
        whole[name] = torch.view_as_complex(pairs)
    return whole


def check_types(tensors: Mapping[str, Tensor]) -> None:
    """Refuse what a file has no place for.

    Raises:
        SaveError: the format has no such type; the message names the tensor.
    """
    for dtype, name in {tensor.dtype: name for name, tensor in tensors.items()}.items():
        if dtype is not torch.complex128:
            try:
                save({"one": tensors[name].detach().cpu().reshape(-1)[:1].clone()})
            except KeyError:  # that is how safetensors says so
                raise SaveError(
                    f"safetensors files hold no {dtype} ({name!r}); convert it, or keep it out of the network's buffers"
                ) from None


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write a safetensors file. The tensors are contiguous, on the CPU, and each has memory of its own.

    Raises:
        SaveError: see `check_types`.
        OSError, SafetensorError: the file could not be written.
    """
    check_types(tensors)
    held, told = stored(tensors)
    save_file(held, path, dict(metadata) | told)
