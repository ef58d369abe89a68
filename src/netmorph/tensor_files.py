"""Tensors and plain values in safetensors files: every type, every order in memory, and a checksum.

complex128 lies there as pairs of float64, under the same name; the file's metadata tells which. What the format has no
place for (quantized types, complex32, bits, integers of a few bits) is refused by name. Tensors that are not laid out
plainly (channels_last, say) have their strides in the metadata, because the last bits of what is computed from them
depend on that.

A file may come from anyone. It is read whole or not at all, nothing in it is run, and no more memory is taken than it
has bytes.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.files import SaveError
from netmorph.memory import check_fits
from netmorph.memory_layout import is_dense, laid_out, layout, plain

TOLD, CHECKSUM, KEY, LAYOUT = "netmorph", "checksum", "complex128", "strides"


class FileError(NetmorphError):
    """A file cannot be read; the message says why."""


class ForeignFile(FileError):
    """A file was not written by netmorph."""


class DamagedFile(FileError):
    """A file does not hold what was written; the message is the reason alone."""


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
    """Write a plain safetensors file, for others. The tensors are contiguous, on the CPU, each in memory of its own.

    Raises:
        SaveError: see `check_types`.
        OSError, SafetensorError: the file could not be written.
    """
    check_types(tensors)
    held, told = stored(tensors)
    save_file(held, path, dict(metadata) | told)


def write_sealed(tensors: Mapping[str, Tensor], path: Path, told: Any) -> None:
    """Write tensors and the plain values `told` as `read_sealed` reads them.

    Raises:
        SaveError: see `check_types`.
        ValueError: a number is not finite.
        OSError, SafetensorError: the file could not be written.
    """
    check_types(tensors)
    held, metadata = stored(_apart(tensors))
    metadata |= {TOLD: json.dumps(told, allow_nan=False)}
    if laid := {name: layout(tensor) for name, tensor in tensors.items() if layout(tensor) != plain(tensor.shape)}:
        metadata[LAYOUT] = json.dumps(laid)
    save_file(held, path, metadata | {CHECKSUM: _checksum(held, metadata)})
    _order_header(path)


def read_sealed(path: Path, *, unsealed: bool = False) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a file, on the CPU and laid out as they were, and the plain values beside them.

    Args:
        unsealed: take files without a checksum too, as earlier versions wrote networks.

    Raises:
        FileNotFoundError: there is none.
        FileError: it cannot be read, was not written by netmorph (`ForeignFile`), or is not what was written
            (`DamagedFile`).
    """
    metadata, tensors = _contents(path, with_tensors=True)
    if TOLD not in metadata or (CHECKSUM not in metadata and not unsealed):
        raise ForeignFile(f"{path} was not saved by netmorph; choose another file")
    if CHECKSUM in metadata and metadata[CHECKSUM] != _checksum(tensors, metadata):
        raise DamagedFile("its checksum differs")
    try:
        whole = restored(tensors, metadata)
        strides = json.loads(metadata.get(LAYOUT, "{}"))
        return {name: _placed(name, tensor, strides.get(name)) for name, tensor in whole.items()}, _told(metadata)
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise DamagedFile(str(error)) from error


def read_told(path: Path) -> Any:
    """The plain values of a file alone; nothing is checked against the tensors.

    Raises:
        FileNotFoundError, FileError: see `read_sealed`.
    """
    metadata, _ = _contents(path, with_tensors=False)
    if TOLD not in metadata:
        raise ForeignFile(f"{path} was not saved by netmorph; choose another file")
    try:
        return _told(metadata)
    except (ValueError, RecursionError) as error:
        raise DamagedFile(str(error)) from error


def _contents(path: Path, *, with_tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with path.open("rb") as opened:  # says why it fails; safetensors calls every file that it cannot open absent
            check_fits(os.fstat(opened.fileno()).st_size, f"the file {path}")
        with torch.device("cpu"), safe_open(path, framework="pt") as file:
            # Copied, because tensors that lie in the file are aligned by the length of its header, and the last bits of
            # a product depend on that.
            names = file.keys() if with_tensors else ()
            return file.metadata() or {}, {name: file.get_tensor(name).clone() for name in names}
    except (FileNotFoundError, NetmorphError):
        raise
    except OSError as error:  # no permission, a folder, a disk that fails: what is there may be whole
        raise FileError(f"{path} cannot be read: {error}. Make it readable, or choose another file") from error
    except Exception as error:  # safetensors' own, and what PyTorch says of types that it lacks
        raise DamagedFile(str(error)) from error


def _told(metadata: Mapping[str, str]) -> Any:
    return json.loads(metadata[TOLD])


def _placed(name: str, tensor: Tensor, strides: Any) -> Tensor:
    if strides is None:
        return tensor
    whole = isinstance(strides, list) and all(type(stride) is int for stride in strides)
    if not whole or len(strides) != tensor.dim() or not is_dense(tensor.shape, strides):
        raise ValueError(f"{name!r} of shape {tuple(tensor.shape)} cannot have the strides {strides!r}")
    return laid_out(tensor, strides)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, as safetensors takes them: contiguous, and no two in the same memory."""
    apart: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        # Only what shares memory is copied: a checkpoint is as large as the model and its optimizer together.
        if tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        apart[name] = tensor
    return apart


def _order_header(path: Path) -> None:
    """Sort what the header tells, in place: safetensors writes it in any order, and equal networks are equal files."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(ordered) == length:  # the same characters in another order
            file.seek(8)
            file.write(ordered)


def _checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """CRC-32, which finds damage; SHA-256 would take more than twice the time to resist forgery, too."""
    checksum = zlib.crc32("".join(metadata.get(key, "") for key in (TOLD, KEY, LAYOUT)).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"
