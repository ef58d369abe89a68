"""How to build a piece again, as plain values: layers by kind and arguments, tensors by shape, and the program.

A spec may come from anyone. Layers are of the kinds of `KINDS`, operators those of PyTorch's that netmorph has a rule
for, and arguments plain values, so building and running one runs no code of whoever wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.bank.errors import BankError
from netmorph.bank.program import (
    LAYER,
    Instruction,
    Own,
    Piece,
    Program,
    leaves,
    mapped,
    operator,
    own_tensor,
    owned,
)
from netmorph.bank.values import decoded, encoded
from netmorph.export.layers import layer_arguments
from netmorph.graph import RULES
from netmorph.memory import check_fits

KINDS = frozenset(
    """Linear Bilinear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d Embedding
    BatchNorm1d BatchNorm2d BatchNorm3d InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm GroupNorm RMSNorm
    LocalResponseNorm ReLU ReLU6 LeakyReLU PReLU ELU CELU SELU GELU SiLU Mish Sigmoid Tanh Hardtanh Hardswish
    Hardsigmoid Softplus Softsign Softshrink Hardshrink Tanhshrink Threshold LogSigmoid Softmax Softmax2d LogSoftmax
    Softmin GLU MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d LPPool1d LPPool2d LPPool3d
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d
    Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout Identity Flatten Unflatten
    ZeroPad1d ZeroPad2d ZeroPad3d ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d ReflectionPad2d
    ReflectionPad3d ReplicationPad1d ReplicationPad2d ReplicationPad3d CircularPad1d CircularPad2d CircularPad3d
    Upsample UpsamplingNearest2d UpsamplingBilinear2d PixelShuffle PixelUnshuffle ChannelShuffle""".split()
)


@dataclass(frozen=True)
class Layer:
    """One of PyTorch's layers: the name of its class in `torch.nn`, and its constructor's arguments."""

    kind: str
    arguments: dict[str, Any]

    @staticmethod
    def of(module: nn.Module) -> Layer | None:
        """How to build such a layer again; None for what cannot be told in plain values."""
        arguments = layer_arguments(module)
        if arguments is None or type(module).__name__ not in KINDS:
            return None
        return Layer(type(module).__name__, arguments)

    def build(self) -> nn.Module:
        """The layer on the meta device: no memory is taken, and no random number drawn."""
        if self.kind not in KINDS:
            raise BankError(f"{self.kind!r} is no kind of layer that a bank holds")
        with torch.device("meta"):
            made: nn.Module = getattr(nn, self.kind)(**self.arguments)
        return made


@dataclass(frozen=True)
class Held:
    """A tensor that operators read."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    is_parameter: bool

    @staticmethod
    def of(tensor: Tensor) -> Held:
        """As it is."""
        return Held(tuple(tensor.shape), tensor.dtype, isinstance(tensor, nn.Parameter))


@dataclass(frozen=True)
class Spec:
    """A piece without its numbers."""

    program: Program
    layers: dict[str, Layer]
    own: dict[str, Held]

    @staticmethod
    def of(piece: Piece) -> Spec:
        """Of a piece as it is now: edits may have changed its widths.

        Raises:
            BankError: an edit put something into it that is no layer of PyTorch's.
        """
        paths = [one.layer for one in piece.program.instructions if one.layer is not None]
        layers: dict[str, Layer] = {}
        for path in dict.fromkeys(paths):
            told = Layer.of(piece.get_submodule(path))
            if told is None:
                raise BankError(
                    f"the piece holds {type(piece.get_submodule(path)).__name__} as {path!r}, which cannot be stored "
                    "as it is; cut the edited piece anew: Bank.add_whole(piece, example)"
                )
            layers[path] = told
        own = {name: Held.of(own_tensor(piece, name)) for name in owned(piece.program.instructions)}
        return Spec(piece.program, layers, own)

    def build(self, tensors: Mapping[str, Tensor]) -> Piece:
        """The piece with these numbers, in eval mode.

        Args:
            tensors: see `tensors_of`; they become the piece's own, they are not copied.

        Raises:
            BankError: they are not the spec's.
        """
        piece = self._sketch()
        expected = tensors_of(piece)
        check_fits(sum(tensor.numel() * tensor.element_size() for tensor in expected.values()), "an entry of the bank")
        told = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in expected.items()}
        given = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
        if told != given:
            different = sorted({name for name, _ in told.items() ^ given.items()})
            raise BankError(f"its tensors are not those that it tells: {', '.join(different[:5])}")
        for name, tensor in tensors.items():
            path, _, last = name.rpartition(".")
            module = piece.get_submodule(path)
            if last in module._parameters:
                module._parameters[last] = nn.Parameter(tensor, tensor.is_floating_point() or tensor.is_complex())
            else:
                module._buffers[last] = tensor
        return piece.eval()

    def empty(self) -> Piece:
        """The piece with zeros for numbers, into which weights are loaded next.

        Raises:
            BankError: see `build`.
        """
        tensors = tensors_of(self._sketch())
        check_fits(sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()), "an entry of the bank")
        return self.build({name: torch.zeros(tensor.shape, dtype=tensor.dtype) for name, tensor in tensors.items()})

    def _sketch(self) -> Piece:
        """The piece on the meta device."""
        called = {one.layer for one in self.program.instructions} - {None}
        if called != self.layers.keys() or set(owned(self.program.instructions)) != self.own.keys():
            raise BankError("its operations call for other layers or tensors than it tells")
        layers = {path: layer.build() for path, layer in self.layers.items()}
        own: dict[str, Tensor] = {}
        for name, held in self.own.items():
            made = torch.empty(held.shape, dtype=held.dtype, device="meta")
            own[name] = nn.Parameter(made, made.is_floating_point()) if held.is_parameter else made
        return Piece(self.program, layers, own)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "instructions": [_instruction(one) for one in self.program.instructions],
            "output": encoded(self.program.output),
            "copies": self.program.copies,
            "layers": {path: [layer.kind, encoded(layer.arguments)] for path, layer in self.layers.items()},
            "own": {
                name: [list(held.shape), encoded(held.dtype), held.is_parameter] for name, held in self.own.items()
            },
        }

    @staticmethod
    def from_json(told: dict[str, Any]) -> Spec:
        """What `as_json` wrote.

        Raises:
            BankError: a kind of layer or an operator that no bank holds.
            KeyError, TypeError, ValueError: it was not written by `as_json`.
        """
        program = Program.of([_read(one) for one in told["instructions"]], decoded(told["output"]))
        layers = {path: Layer(kind, decoded(arguments)) for path, (kind, arguments) in told["layers"].items()}
        own = {name: Held(tuple(shape), decoded(dtype), flag) for name, (shape, dtype, flag) in told["own"].items()}
        return Spec(Program(program.instructions, program.output, bool(told["copies"])), layers, own)


def tensors_of(piece: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by path."""
    return dict(piece.named_parameters(remove_duplicate=False)) | dict(piece.named_buffers(remove_duplicate=False))


def content_id(told: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """What a piece is known by, wherever it came from: 16 digits of the SHA-256 of its spec and its numbers.

    Args:
        told: see `Spec.as_json`.
    """
    digest = hashlib.sha256(json.dumps(told, sort_keys=True, allow_nan=False).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def why_not_plain(instruction: Instruction) -> str | None:
    """Why an instruction cannot be stored; None where it can."""
    if instruction.layer is None:
        space, _, _ = instruction.does.partition("::")
        if space != "aten" or operator(instruction.does) not in RULES:
            return f"no bank holds the operator {instruction.does}"
    for leaf in leaves((list(instruction.args), instruction.kwargs)):
        try:
            encoded(leaf)
        except TypeError:
            return f"{instruction.does} is given {type(leaf).__name__}, which a file has no place for"
    return None


def _instruction(one: Instruction) -> dict[str, Any]:
    told = {"does": one.does, "args": encoded(list(one.args)), "outputs": list(one.outputs)}
    rest = {"kwargs": one.kwargs, "only": one.only, "grad": one.grad}
    usual: dict[str, Any] = {"kwargs": {}, "only": None, "grad": True}
    return told | {key: encoded(value) for key, value in rest.items() if value != usual[key]}


def _read(told: dict[str, Any]) -> Instruction:
    made = Instruction(
        str(told["does"]),
        tuple(decoded(told["args"])),
        decoded(told.get("kwargs", {"dict": {}})),
        tuple(told["outputs"]),
        told.get("only"),
        decoded(told.get("grad", True)),
    )
    reason = why_not_plain(made)
    if reason is not None:
        raise BankError(reason)
    return made


def renamed(program: Program, change: Callable[[str], str]) -> Program:
    """The same program with other paths of layers and tensors."""

    def leaf(value: Any) -> Any:
        return Own(change(value.name)) if isinstance(value, Own) else value

    instructions = [
        Instruction(
            one.does if one.layer is None else LAYER + change(one.layer),
            mapped(one.args, leaf),
            mapped(one.kwargs, leaf),
            one.outputs,
            one.only,
            one.grad,
            one.frees,
        )
        for one in program.instructions
    ]
    return Program(tuple(instructions), program.output, program.copies)
