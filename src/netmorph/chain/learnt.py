"""What a chain keeps of what it was solved from: enough to learn further classes, and not one sample.

network     as a bank's pieces are kept: layers, operations and numbers, no code
moments     of what its head reads and has to answer: d^2 numbers, of however many samples
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.bank import CutError, Piece, Signature, Spec, cut
from netmorph.bank.spec import tensors_of
from netmorph.chain.errors import ChainError
from netmorph.chain.features import BATCH
from netmorph.chain.heads import moments_of, sharpness, solved_head
from netmorph.data import Dataset, Preparation
from netmorph.data.preparation import told_preparation
from netmorph.errors import NetmorphError
from netmorph.files import atomic_write
from netmorph.showing import Shows, View
from netmorph.solve import Head, Moments, as_linear
from netmorph.tensor_files import read_sealed, write_sealed
from netmorph.train.inputs import examples, reference
from netmorph.wording import listed
from netmorph.zoo import ModelError

KEPT = "chain.safetensors"  # in the folder of a search
HEAD = "head"  # the path of a chain's last layer


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a head is solved from, of all samples so far.

    Attributes:
        moments: of the rows that the head reads and of classes as 0 and 1.
        sharpness: the factor that makes its answers logits, see `netmorph.chain.heads.sharpness`.
    """

    moments: Moments = field(repr=False)
    sharpness: float

    @staticmethod
    def of(body: nn.Module, dataset: Dataset, rows: Tensor, labels: Tensor) -> Learnt:
        """From the train part.

        Args:
            body: makes rows of prepared inputs.
            rows: `[N, d]` of samples that are not in the train part; labels: their classes `[N]`.

        Raises:
            SolveError: the rows tell nothing, or are not finite.
        """
        everything = torch.arange(dataset.outputs)
        moments = moments_of(_rows(body, dataset, dataset.preparation, everything), dataset.outputs)
        return Learnt(moments, sharpness(solved_head(moments), rows, labels))

    def head(self) -> Head:
        """The head that is solved from all samples so far, its penalty chosen anew.

        Raises:
            SolveError: they tell nothing.
        """
        head = solved_head(self.moments)
        return Head(self.sharpness * head.weight, self.sharpness * head.bias)


@dataclass(frozen=True, eq=False, repr=False)
class Kept(Shows):
    """A chain as a file holds it.

    Attributes:
        network: in eval mode; its last layer is `HEAD`.
        input: what it takes, once prepared.
        classes: that it answers with, by output.
        preparation: how inputs become those of the network.
        encoder: what the data's encoder tells of itself, see `netmorph.data.Encoder`; None where there is none.
        learnt: what the head was solved from; None of a dense layer that the chain ends with as it was.
    """

    network: Piece
    input: Signature
    classes: tuple[str, ...]
    preparation: Preparation
    encoder: dict[str, Any] | None
    learnt: Learnt | None

    def view(self) -> View:
        """A row for each layer."""
        layers = self.network.named_children()
        samples = "no moments" if self.learnt is None else f"moments of {self.learnt.moments.count:,} samples"
        return View(
            f"Chain that takes {self.input} and knows {len(self.classes)} classes, with {samples}",
            ("name", "layer", "parameters"),
            ((name, type(layer).__name__, sum(map(Tensor.numel, layer.parameters()))) for name, layer in layers),
            notes=[f"Classes: {listed(self.classes)}"],
        )

    @staticmethod
    def of(network: nn.Module, dataset: Dataset, learnt: Learnt | None) -> Kept:
        """Of a chain's network for the data that it was found for.

        Raises:
            CutError: its forward cannot be followed, or no file could hold it.
        """
        example = examples(dataset, network, 2)
        pieces = cut(network, example, whole=True)
        for reason in pieces.left_out.values():
            raise CutError(f"the network cannot be kept: {reason}")
        piece = pieces.detached[0].piece
        return Kept(piece, Signature.of(example), dataset.classes, dataset.preparation, _encoder(dataset), learnt)

    def extended(self, dataset: Dataset) -> Kept:
        """The same layers behind a head for further classes, or for more samples of those that it knows.

        The head is the one that is solved from all samples together, those before and these: moments add up, so nothing
        is lost by not having the old ones. It is the head of recursive least squares (`netmorph.solve.Recursive`), with
        a penalty that is chosen for all of them. Classes are told apart by their names.

        Raises:
            ChainError: no moments were kept, or the data are not like those that the network takes.
            SolveError: what the head reads is not finite on some samples.
        """
        if self.learnt is None:
            raise ChainError(
                "the chain ends with a dense layer as it was, or learnt once it was chosen, and keeps no moments that "
                "classes could be added to; search for a chain with a solved head (--solved-ends, no --learn after)"
            )
        self.check(dataset)
        classes = (*self.classes, *(name for name in dataset.classes if name not in self.classes))
        columns = torch.tensor([classes.index(name) for name in dataset.classes])
        network, like = copy.deepcopy(self.network), reference(self.network)
        network.set_submodule(HEAD, nn.Identity())
        new = moments_of(_rows(network, dataset, self.preparation, columns), len(classes))
        learnt = replace(self.learnt, moments=self.learnt.moments.with_targets(len(classes)) + new)
        network.set_submodule(HEAD, as_linear(learnt.head(), like.dtype).to(like.device))
        return replace(self, network=network.eval(), classes=classes, learnt=learnt)

    def check(self, dataset: Dataset) -> None:
        """Refuse data that the network does not take.

        Raises:
            ChainError: the message says what they should be.
        """
        if not dataset.classes:
            raise ChainError(
                f"a chain answers with classes, and the task of {dataset.name} is {dataset.task.name}; choose data "
                "whose samples have one class each"
            )
        shape = "x".join(map(str, dataset.input_shape))
        if tuple(dataset.input_shape) != self.input.shape:
            raise ChainError(
                f"the network takes inputs of shape {self.input}, and those of {dataset.name} are {shape}; give data "
                "of that shape (--resize HEIGHTxWIDTH for images), or search for a chain anew"
            )
        if type(dataset.preparation) is not type(self.preparation) or _encoder(dataset) != self.encoder:
            raise ChainError(
                f"the inputs of {dataset.name} are {shape} numbers like those of the network, but of another kind, or "
                "columns that are encoded in another way; give data of the same kind and columns"
            )

    def accuracy(self, dataset: Dataset) -> float:
        """The share of right answers on a test part; classes that the network does not know are wrong.

        Raises:
            ChainError: see `check`.
        """
        self.check(dataset)
        columns = torch.tensor([self.classes.index(n) if n in self.classes else -1 for n in dataset.classes])
        like, right = reference(self.network), 0
        with torch.no_grad():
            for inputs, labels in dataset.test.cut(BATCH):
                answers = self.network(self.preparation(inputs, like)).argmax(1).cpu()
                right += int((answers == columns[labels.cpu()]).sum())
        return right / len(dataset.test)

    def save(self, path: Path) -> None:
        """Write one file, whole or not at all.

        Raises:
            BankError: an edit has put something into the network that no file could hold.
            SaveError: it could not be written.
        """
        tensors = {f"network.{name}": tensor for name, tensor in tensors_of(self.network).items()}
        told = {
            "network": Spec.of(self.network).as_json(),
            "input": [list(self.input.shape), self.input.dtype, self.input.channel],
            "classes": list(self.classes),
            "preparation": self.preparation.describe(),
            "encoder": self.encoder,
            "learnt": None,
        }
        if self.learnt is not None:
            moments = self.learnt.moments
            tensors |= {f"moments.{name}": tensor for name, tensor in moments.tensors.items()}
            told["learnt"] = {"count": moments.count, "sharpness": self.learnt.sharpness}
        atomic_write(path, lambda file: write_sealed(tensors, file, told))

    @staticmethod
    def load(path: Path) -> Kept:
        """Read what `save` wrote. No code of the file is run.

        Raises:
            ChainError: there is no such file, or it is damaged.
        """
        try:
            tensors, told = read_sealed(path)
            shape, dtype, channel = told["input"]
            made = Kept(
                Spec.from_json(told["network"]).build(_below("network.", tensors)),
                Signature(tuple(shape), dtype, channel, (False,) * len(shape)),
                tuple(told["classes"]),
                told_preparation(told["preparation"]),
                told["encoder"],
                None if told["learnt"] is None else _learnt(told["learnt"], _below("moments.", tensors)),
            )
            head = made.network.get_submodule(HEAD)
            if made.learnt is not None and made.learnt.moments.cross.T.shape != head.get_parameter("weight").shape:
                raise ChainError("its moments are of other features or classes than its head")
        except FileNotFoundError:
            raise ChainError(
                f"{path.parent} keeps no chain: there is no {path.name}; give the folder of a search that came to its "
                "end (netmorph chain --resume goes on with one)"
            ) from None
        except (NetmorphError, AttributeError, KeyError, RuntimeError, TypeError, ValueError, RecursionError) as error:
            raise ChainError(f"{path} is damaged, or was not written by netmorph: {error}; search anew") from error
        return made


def network_of(input_shape: tuple[int, ...], classes: int, folder: str) -> nn.Module:
    """The network of a chain, as a start for a training or an evolution: `--model RUN` of a search's folder.

    Args:
        input_shape: of one sample of the data.
        classes: how many the data has.
        folder: of the search.

    Raises:
        ChainError: there is none.
        ModelError: it takes or answers something else.
    """
    kept = Kept.load(Path(folder) / KEPT)
    if (tuple(input_shape), classes) != (kept.input.shape, len(kept.classes)):
        raise ModelError(
            f"the network in {folder} takes inputs of shape {kept.input} and answers with {len(kept.classes)} classes; "
            f"the data have {'x'.join(map(str, input_shape))} and {classes}. Search for a chain for these data, or "
            "extend that one (netmorph chain --extend)"
        )
    return kept.network.train()


def _rows(
    body: nn.Module, dataset: Dataset, preparation: Preparation, columns: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the head reads of the train part, float64 `[B, d]`, and which of its outputs each sample belongs to.

    In float64, so that what is added up in several parts is what would be in one.
    """
    like = reference(body)
    with torch.no_grad():
        for inputs, labels in dataset.train.cut(BATCH):
            yield body(preparation(inputs, like)).double(), columns[labels.cpu()].to(like.device)


def _encoder(dataset: Dataset) -> dict[str, Any] | None:
    """As a file gives it back: JSON has lists alone."""
    told: dict[str, Any] | None = None if dataset.encoder is None else dataset.encoder.describe()
    return None if told is None else json.loads(json.dumps(told))


def _learnt(told: dict[str, Any], moments: dict[str, Tensor]) -> Learnt:
    return Learnt(Moments(**moments, count=int(told["count"])), float(told["sharpness"]))


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
