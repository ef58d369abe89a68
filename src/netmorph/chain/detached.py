"""The problem that a bank and a data set make: chains of detached layers, judged by heads that are solved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from netmorph.bank import Bank, CannotAttach, Entry, Kind, Signature, attachable
from netmorph.chain.attaching import Attacher
from netmorph.chain.errors import ChainError
from netmorph.chain.features import BATCH, FeatureCache
from netmorph.chain.gradients import DESCRIBED, Told, described, small
from netmorph.chain.heads import Pooled, Readout, failed, moments_of, outcome, solved_head, solving_flops
from netmorph.chain.problem import EMPTY
from netmorph.chain.states import PROBE, Place, Seen, State
from netmorph.chain.values import SOLVED, Chain, Outcome, Prefix, Record
from netmorph.data import Dataset, Part
from netmorph.seeds import generator_of
from netmorph.solve import Head, SolveError, as_linear
from netmorph.train.inputs import prepare

MEMORY = 2**30  # bytes of features that are kept
STITCHED = 512  # samples on which stitches are fitted
UNSEEN = (0.0,) * DESCRIBED  # the gradients of a layer that nobody looked at


class DetachedLayers:
    """Chains of a bank's layers for a data set, see `netmorph.chain.Problem`.

    Heads are solved on samples of the train part, chains are judged on the validation part, and the test part is left
    alone. Each sample goes through each prefix once, as long as memory holds what comes out.

    Attributes:
        bank: where the layers are from.
        layers: ids of the layers that a chain may go on with, and `EMPTY` where one may still come.
        ends: `SOLVED`, and the ids of detached dense layers.
        longest: the most layers of a chain.
        labelled: the samples that heads are solved on: inputs `[N, ...]` as layers take them, and classes `[N]`.
        readout: makes rows for heads.
        cache: the features.
        attacher: the layers as modules.
    """

    def __init__(
        self,
        bank: Bank,
        dataset: Dataset,
        *,
        entries: Sequence[Entry] | None = None,
        longest: int = 8,
        samples: int = 2000,
        choice: int = 1000,
        memory: int = MEMORY,
        stitches: bool = False,
        refining: int = 0,
        detached_ends: bool = True,
        readout: Readout | None = None,
        state: State | None = None,
        empty: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Look at what fits what; nothing is run on the data yet.

        Args:
            entries: of the bank, those that may be used; all by default.
            samples: of the train part, for heads.
            choice: of the validation part, to judge chains.
            memory: bytes of features that may be held.
            stitches: attach layers behind a stitch where shapes differ.
            refining: gradient steps of each stitch toward penultimate features, see `Attacher`.
            detached_ends: let a chain also end with a dense layer as it is.
            readout: `Pooled()` by default.
            state: what agents see; `Seen()` by default.
            empty: how many layers may come while it is searched, see `note`.
            seed: draws the samples.

        Raises:
            BankError: the bank is empty (or no bank), or none of its layers takes the data (`CannotAttach`).
            ChainError: the data has no classes, or a number makes no sense.
        """
        for name, number in (("longest", longest), ("samples", samples), ("choice", choice), ("memory", memory)):
            if number < 1:
                raise ChainError(f"{name} must be at least 1, got {number}")
        if not dataset.classes:
            raise ChainError(
                f"chains end with heads that are solved for classes, and the task of {dataset.name} is "
                f"{dataset.task.name}; choose data whose samples have one class each"
            )
        self._dataset, self._device = dataset, torch.device(device)
        generator = generator_of(seed)
        heads, labels = self._drawn(dataset.train, samples, generator)
        choices, self._wanted = self._drawn(dataset.validation, choice, generator)
        self._inputs = torch.cat([heads, choices])
        self._heads = len(heads)
        self.bank, self.labelled = bank, (self._inputs[: len(heads)], labels)
        all_entries = bank.entries() if entries is None else tuple(entries)
        self._start = Signature.of(self._inputs)
        attachable(self._start, all_entries, stitches)  # says what is wrong if nothing fits
        dense = [one for one in all_entries if one.kind is Kind.DENSE and one.output.shape == (dataset.outputs,)]
        self.layers = (*(one.id for one in all_entries if one.kind is not Kind.DENSE), *(EMPTY,) * empty)
        self.ends = (SOLVED, *(one.id for one in dense)) if detached_ends else (SOLVED,)
        self.longest = longest
        self.attacher = Attacher(
            bank,
            all_entries,
            heads[:STITCHED].split(BATCH),
            stitches=stitches,
            refining=refining,
            device=self._device,
        )
        if not any(self.attacher.takes(self._start, id) for id in self.entries):
            raise CannotAttach(
                f"none of the {len(all_entries)} entries takes data of shape {self._start}, and a stitch is fitted to "
                "what a layer saw at home on the same data, which no network of the bank takes either; add one"
            )
        self.cache = FeatureCache(self._inputs, self._step, memory)
        self.readout = readout or Pooled()
        self._state = state or Seen()
        self._signatures: dict[Prefix, tuple[Signature, int, int]] = {(): (self._start, 0, 0)}
        self._spent = 0
        self._gradients: dict[str, tuple[float, ...]] = {}
        self._descriptions: Tensor | None = None

    @property
    def entries(self) -> dict[str, Entry]:
        """Of all layers and dense layers, by id."""
        return self.attacher.entries

    @property
    def spent(self) -> int:
        """FLOPs so far: of layers, stitches, their fits, heads and gradients."""
        return self._spent + self.attacher.fitting

    def spend(self, flops: int) -> None:
        """Count what somebody else computed."""
        self._spent += flops

    @property
    def descriptions(self) -> Tensor:
        """float32 `[actions, 14]`: kind, place at home, cost and sizes of each layer, and what gradients told of it."""
        if self._descriptions is None:
            self._descriptions = torch.tensor([self._described(id) for id in self.layers + self.ends])
        return self._descriptions

    def note(self, record: Record) -> None:
        """See `netmorph.chain.Problem`.

        Raises:
            EntryError: a copy is no longer in the bank.
        """
        for id, numbers in zip(record.chain.layers, record.gradients, strict=False):
            before = self._gradients.get(id, UNSEEN)
            self._gradients[id] = tuple(map(sum, zip(before, small(Told(*numbers)), strict=True)))
            self._descriptions = None
        if record.lesson is not None:
            for id in dict.fromkeys(record.lesson.copies.layers):
                if id not in self.layers:
                    self._add(self.bank.entry(id))

    def _add(self, entry: Entry) -> None:
        """Put a layer in the first empty place."""
        if EMPTY not in self.layers:
            raise ChainError(f"there is no empty place for the layer {entry.id}; make the problem with more of them")
        place = self.layers.index(EMPTY)
        self.layers = (*self.layers[:place], entry.id, *self.layers[place + 1 :])
        self.entries[entry.id] = entry
        self._descriptions = None

    def allowed(self, prefix: Prefix) -> tuple[bool, ...]:
        """Whether each layer takes the features there, and each end; no more layers at the longest chain."""
        features = self.signature(prefix)
        goes_on = len(prefix) < self.longest
        layers = tuple(goes_on and id != EMPTY and self.attacher.takes(features, id) for id in self.layers)
        return layers + tuple(id == SOLVED or self.attacher.takes(features, id) for id in self.ends)

    def signature(self, prefix: Prefix) -> Signature:
        """Of the features behind a prefix."""
        return self._told(prefix)[0]

    def state(self, prefix: Prefix) -> Tensor:
        """See `netmorph.chain.states`."""
        features = self._features(prefix)[:PROBE] if self._state.needs_features else None
        signature, flops, _ = self._told(prefix)
        numbers = [self.layers.index(id) for id in prefix]
        actions = len(self.layers) + len(self.ends)
        return self._state(Place(features, signature.channel, numbers, actions, self.longest, flops))

    @torch.no_grad()
    def judge(self, chain: Chain) -> Outcome:
        """Run a chain that fits, solve its head or attach its dense layer, and look at its answers."""
        features = self._features(chain.layers)
        signature, flops, parameters = self._told(chain.layers)
        classes = self._dataset.outputs
        if chain.end != SOLVED:
            told = self.attacher.told(signature, chain.end)
            module = self.attacher.module(chain.layers, chain.end, signature, features)
            answers = _run(module, features[self._heads :])
            self._spent += told.flops * len(answers)
            return outcome(answers.softmax(1), self._wanted, flops + told.flops, parameters + told.parameters)
        rows = _run(self.readout(signature), features)
        width = rows.shape[1]
        flops, parameters = flops + 2 * width * classes, parameters + (width + 1) * classes
        self._spent += 2 * width * classes * len(self._wanted)
        try:
            head = self._solved(rows[: self._heads])
        except SolveError as error:
            return failed(str(error), flops, parameters)
        return outcome(head(rows[self._heads :].double()), self._wanted, flops, parameters)

    @torch.no_grad()
    def answering(self, chain: Chain) -> nn.Module:
        """What makes answers of the features behind a chain: a head, solved anew, or the dense layer that ends it.

        Raises:
            SolveError: there is no head for such features.
        """
        signature, features = self.signature(chain.layers), self._features(chain.layers)
        if chain.end != SOLVED:
            module = self.attacher.module(chain.layers, chain.end, signature, features)
            return nn.Sequential(module, nn.Softmax(1))
        readout = self.readout(signature)
        return nn.Sequential(readout, as_linear(self._solved(_run(readout, features[: self._heads]))))

    def flops(self, prefix: Prefix) -> int:
        """Of a sample's way through a prefix."""
        return self._told(prefix)[1]

    @torch.no_grad()
    def held_out(self, prefix: Prefix) -> tuple[Tensor, Tensor]:
        """What a head behind a prefix reads of the samples kept for the choice, `[N, d]`, and their labels `[N]`."""
        return _run(self.readout(self.signature(prefix)), self._features(prefix)[self._heads :]), self._wanted

    def modules(self, prefix: Prefix) -> Iterator[nn.Module]:
        """What runs one behind another: the layers of a prefix, each with its stitch."""
        for place, id in enumerate(prefix):
            before = prefix[:place]
            yield self.attacher.module(before, id, self.signature(before), self._features(before))

    def _solved(self, rows: Tensor) -> Head:
        classes = self._dataset.outputs
        self._spent += solving_flops(len(rows), rows.shape[1], classes)
        return solved_head(moments_of([(rows, self.labelled[1])], classes))

    def _features(self, prefix: Prefix) -> Tensor:
        return self.cache.of(prefix)

    def _step(self, prefix: Prefix, features: Tensor) -> nn.Module:
        """The module of a prefix' last layer, which is about to be run on all samples."""
        given = self.signature(prefix[:-1])
        self._spent += self.attacher.told(given, prefix[-1]).flops * len(features)
        return self.attacher.module(prefix[:-1], prefix[-1], given, features)

    def _told(self, prefix: Prefix) -> tuple[Signature, int, int]:
        """The features behind a prefix, and FLOPs and parameters of its layers."""
        if prefix not in self._signatures:
            given, flops, parameters = self._told(prefix[:-1])
            told = self.attacher.told(given, prefix[-1])
            self._signatures[prefix] = told.output, flops + told.flops, parameters + told.parameters
        return self._signatures[prefix]

    def _drawn(self, part: Part, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """So many samples as a network takes them, and their labels."""
        order = torch.randperm(len(part), generator=generator)[:count]
        like = torch.empty(0, device=self._device)
        pairs = [(prepare(inputs, self._dataset, like), labels) for inputs, labels in part.cut(BATCH, order)]
        return torch.cat([one for one, _ in pairs]), torch.cat([one for _, one in pairs]).to(self._device)

    def _described(self, id: str) -> list[float]:
        gradients = described(self._gradients.get(id, UNSEEN))
        if id in (SOLVED, EMPTY):
            return [float(id == SOLVED)] + [0.0] * 9 + gradients
        entry = self.entries[id]
        place = entry.origin.position / max(1, entry.origin.of - 1)
        kinds = [float(entry.kind is kind) for kind in Kind]
        sizes = [entry.input.channels, entry.output.channels, math.prod(entry.input.shape), entry.cost.parameters]
        large = [math.log10(1 + entry.cost.flops) / 10, *(math.log10(1 + one) / 5 for one in sizes)]
        return [0.0, *kinds, place, *large, *gradients]


def _run(module: nn.Module, features: Tensor) -> Tensor:
    return torch.cat([module(batch) for batch in features.split(BATCH)])
