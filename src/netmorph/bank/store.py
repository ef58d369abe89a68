"""A bank on disk: one safetensors file for each detached layer, and an index of them in SQLite.

    FOLDER/bank.sqlite              what is in the bank, and where it was cut out
    FOLDER/pieces/ID.safetensors    a spec and its numbers; ID is a digest of both

A file is whole before the index knows of it. What is read is compared with its ID, so that a file that was damaged or
changed is found out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from netmorph.bank.cutting import Detached, cut
from netmorph.bank.drawing import Draw, random_layer
from netmorph.bank.entry import Entry, Kind, Origin, Signature, same_shape
from netmorph.bank.errors import BankError, EntryError
from netmorph.bank.index import Index
from netmorph.bank.program import Piece
from netmorph.bank.spec import Spec, content_id, tensors_of
from netmorph.errors import NetmorphError, suggest
from netmorph.files import atomic_write
from netmorph.observe.features import Batch
from netmorph.seeds import generator_of
from netmorph.tensor_files import DamagedFile, read_sealed, write_sealed

FILE_NAME = "bank.sqlite"


@dataclass(frozen=True)
class Added:
    """What came of a network that was put into a bank.

    Attributes:
        entries: its layers, in order; also those that were there before.
        left_out: what could not be detached, and why.
    """

    entries: tuple[Entry, ...]
    left_out: dict[str, str] = field(default_factory=dict)


class Bank:
    """Detached layers in a folder. It is made when the first layer comes; several processes may use it at once."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._index = Index(self.folder / FILE_NAME)

    def __len__(self) -> int:
        """How many entries there are.

        Raises:
            BankError: there is no bank, or it is none.
        """
        return len(self.entries())

    def add(
        self,
        model: nn.Module,
        example: Any,
        network: str,
        probes: Iterable[Batch] = (),
        *,
        keeping_shape: bool = False,
    ) -> Added:
        """Cut a network into layers and blocks, and keep each. The network stays as it is.

        A layer that is there already, with the same numbers, stays one entry.

        Args:
            example: what the model takes, as in `netmorph.trace`; a batch of two inputs or more.
            network: its name in the bank: the run, file or function that it comes from.
            probes: batches of what the model takes, of which means and deviations are kept (`Entry.seen`).
            keeping_shape: keep only layers that keep the shape of the data, and the last.

        Raises:
            CutError: it cannot be cut, see `netmorph.bank.cut`.
            BankError: another network has this name in the bank.
            SaveError: a file could not be written.
        """
        pieces = cut(model, example, probes)
        entries = [
            self._written(
                one,
                Kind.DENSE if one.is_last else Kind.BODY,
                Origin(network, one.path, one.position, pieces.count),
            )
            for one in pieces.detached
            if not keeping_shape or one.is_last or one.input.looks_like(one.output)
        ]
        known = self._index.places(network) if self._index.path.is_file() else {}
        places = {entry.origin.position: entry.id for entry in entries}
        if any(known[position] != id for position, id in places.items() if position in known):
            raise BankError(
                f"another network is in the bank as {network!r}; give this one a name of its own (--name), or remove "
                "the entries of the other one first"
            )
        self._index.put(entries, network)
        return Added(self._as_told(entries), pieces.left_out)

    def add_whole(
        self, module: nn.Module, example: Any, network: str, kind: Kind = Kind.BODY, probes: Iterable[Batch] = ()
    ) -> Entry:
        """Keep a module of one input and one output as a single layer: a head that was solved, say, or a whole network.

        Raises:
            CutError: it cannot be followed, or no file could hold it.
            SaveError: a file could not be written.
        """
        pieces = cut(module, example, probes, whole=True)
        for reason in pieces.left_out.values():
            raise BankError(f"{type(module).__name__} cannot be kept as one layer: {reason}")
        entry = self._written(pieces.detached[0], kind, Origin(network, pieces.detached[0].path, 0, 1))
        self._index.put([entry])
        return self._as_told([entry])[0]

    def add_random(self, signature: Signature, count: int, seed: int, draw: Draw = random_layer) -> tuple[Entry, ...]:
        """Keep fresh random layers for such features, which are not trained.

        Args:
            signature: of the features; of an entry, or `Signature.of(features)`.
            draw: makes one layer; see `netmorph.bank.random_layer`.

        Raises:
            BankError: no random layer takes such features.
            SaveError: a file could not be written.
        """
        generator = generator_of(seed)
        entries = []
        for number in range(count):
            (made,) = cut(draw(signature, generator), signature.example(), whole=True).detached
            entries.append(self._written(made, Kind.RANDOM, Origin(f"random, seed {seed}", "", number, count)))
        self._index.put(entries)
        return self._as_told(entries)

    def add_copy(self, entry: Entry, piece: Piece) -> Entry:
        """Keep a piece of the bank that was trained on, as a new entry with the old one as its parent.

        Args:
            piece: what `load(entry.id)` gave, with other numbers now.

        Raises:
            BankError: an edit has put something into it that no file could hold.
            SaveError: a file could not be written.
        """
        told = Spec.of(piece).as_json()
        tensors = tensors_of(piece)
        copy = replace(entry, id=content_id(told, tensors), seen=None, parent=entry.id)
        if copy.id == entry.id:
            return entry
        self._write(copy.id, told, tensors)
        self._index.put([copy])
        return self._as_told([copy])[0]

    def entries(
        self, *, kind: Kind | None = None, network: str | None = None, keeping_shape: bool = False
    ) -> tuple[Entry, ...]:
        """The entries, in the order in which they came.

        Args:
            kind: only those of this kind.
            network: only those that were cut out of this network.
            keeping_shape: only those that keep the shape of the data, and dense ones.

        Raises:
            BankError: there is no bank, or it is none.
        """
        found = self._index.entries()
        if network is not None:
            ids = set(self._index.places(network).values())
            found = tuple(entry for entry in found if entry.id in ids or entry.origin.network == network)
        found = tuple(entry for entry in found if kind in (None, entry.kind))
        return same_shape(found) if keeping_shape else found

    def entry(self, id: str) -> Entry:
        """The entry of an id, or of its first characters if no other begins so.

        Raises:
            EntryError: there is none, or there are several.
            BankError: there is no bank, or it is none.
        """
        entries = self.entries()
        found = [entry for entry in entries if entry.id == id] or [e for e in entries if id and e.id.startswith(id)]
        if len(found) == 1:
            return found[0]
        if found:
            raise EntryError(f"several entries begin with {id!r}: {', '.join(entry.id for entry in found[:5])}")
        known = f"it has {len(entries)} entries{suggest(id, [e.id for e in entries])}" if entries else "it is empty"
        raise EntryError(f"no entry {id!r} in the bank {self.folder}; {known}. netmorph bank list tells them")

    def load(self, id: str) -> Piece:
        """Build a detached layer again, in eval mode, with its numbers. No code of the file is run.

        Raises:
            EntryError: no such entry; or its file is gone, damaged, or another one.
            BankError: there is no bank, or it is none.
        """
        entry = self.entry(id)
        path = self._file(entry.id)
        put_again = f"Add {entry.origin.network!r} again, or remove the entry: netmorph bank remove {entry.id}"
        try:
            tensors, told = read_sealed(path)
            if content_id(told, tensors) != entry.id:
                raise DamagedFile("it holds another layer than its name tells")
            return Spec.from_json(told).build(tensors)
        except FileNotFoundError:
            raise EntryError(f"the file of entry {entry.id} is gone: {path}. {put_again}") from None
        except (NetmorphError, KeyError, TypeError, ValueError, AttributeError, RecursionError, RuntimeError) as error:
            raise EntryError(f"the file of entry {entry.id} cannot be used: {path}: {error}. {put_again}") from error

    def before(self, entry: Entry) -> tuple[Entry, ...]:
        """The layers in front of one in the network that it was cut out of, in order.

        What it saw at home went through them, see `seen_at_home`.

        Raises:
            EntryError: some of them are not in the bank.
        """
        places = self._index.places(entry.origin.network)
        wanted = range(entry.origin.position)
        if entry.kind is Kind.RANDOM or any(position not in places for position in wanted):
            raise EntryError(
                f"what entry {entry.id} saw at home is not known: the layers in front of it in {entry.origin.network} "
                "are not all in the bank"
            )
        known = {one.id: one for one in self.entries()}
        return tuple(known[places[position]] for position in wanted)

    def behind(self, entry: Entry) -> tuple[Entry, ...]:
        """The layers behind one in the network that it was cut out of, in order, but for the dense layer at its end.

        What they make of its answers are that network's penultimate features, see `refine_stitch`.

        Raises:
            EntryError: some of them are not in the bank.
        """
        places = self._index.places(entry.origin.network)
        wanted = range(entry.origin.position + 1, entry.origin.of)
        if entry.kind is Kind.RANDOM or any(position not in places for position in wanted):
            raise EntryError(
                f"what stands behind entry {entry.id} at home is not known: the layers behind it in "
                f"{entry.origin.network} are not all in the bank"
            )
        known = {one.id: one for one in self.entries()}
        found = (known[places[position]] for position in wanted)
        return tuple(one for one in found if one.kind is not Kind.DENSE)

    def remove(self, id: str) -> None:
        """Take an entry out, with its file.

        Raises:
            EntryError: no such entry.
            BankError: there is no bank, or it is none.
        """
        entry = self.entry(id)
        self._index.remove(entry.id)
        self._file(entry.id).unlink(missing_ok=True)

    def _written(self, one: Detached, kind: Kind, origin: Origin) -> Entry:
        told, tensors = Spec.of(one.piece).as_json(), tensors_of(one.piece)
        entry = Entry(content_id(told, tensors), kind, one.input, one.output, origin, one.cost, one.seen)
        self._write(entry.id, told, tensors)
        return entry

    def _write(self, id: str, told: dict[str, Any], tensors: dict[str, Any]) -> None:
        atomic_write(self._file(id), lambda file: write_sealed(tensors, file, told))

    def _file(self, id: str) -> Path:
        return self.folder / "pieces" / f"{id}.safetensors"

    def _as_told(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """As the bank has them: what was there before keeps its first origin."""
        known = {entry.id: entry for entry in self._index.entries()}
        return tuple(known[entry.id] for entry in entries)
