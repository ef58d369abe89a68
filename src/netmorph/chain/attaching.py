"""What a layer of a bank becomes behind other layers: itself, or a stitch and itself; and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from netmorph.bank import (
    Bank,
    Entry,
    EntryError,
    Kind,
    Signature,
    cost_of,
    fit_stitch,
    fits,
    refine_stitch,
    seen_at_home,
    stitch_for,
)
from netmorph.bank import can_attach as can_stitch
from netmorph.bank.attach import Pair
from netmorph.chain.values import Prefix


@dataclass(frozen=True)
class Told:
    """What is known of an attached layer before it is run.

    Attributes:
        output: what comes out.
        flops: of a sample, with its stitch.
        parameters: likewise.
        is_stitched: whether it needs a stitch.
    """

    output: Signature
    flops: int
    parameters: int
    is_stitched: bool


class Attacher:
    """The layers of a bank as modules, and their stitches, each made once.

    Attributes:
        entries: by id.
        fitting: FLOPs of fitting stitches so far.
    """

    def __init__(
        self,
        bank: Bank,
        entries: Sequence[Entry],
        home: Sequence[Tensor],
        *,
        stitches: bool = False,
        refining: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Start with nothing made.

        Args:
            home: batches of the data, on which stitches are fitted: the first samples of those that chains see.
            stitches: attach layers that need one, too.
            refining: gradient steps of each stitch, once it is fitted, toward the penultimate features of the network
                that the layer behind it was cut out of; none where that network is not whole in the bank.
        """
        self.entries = {entry.id: entry for entry in entries}
        self.fitting = 0
        self._bank, self._home, self._stitches, self._device = bank, home, stitches, device
        self._refining = refining
        self._told: dict[tuple[Signature, str], Told] = {}
        self._pieces: dict[str, nn.Module] = {}
        self._fitted: dict[tuple[Prefix, str], nn.Module] = {}
        self._homes: dict[str, tuple[Entry, ...] | None] = {}

    def takes(self, features: Signature, id: str) -> bool:
        """Whether a layer can be attached to such features."""
        entry = self.entries[id]
        if fits(features, entry):
            return True
        return self._stitches and can_stitch(features, entry) and self._before(entry) is not None

    def told(self, features: Signature, id: str) -> Told:
        """What a layer does to such features, which it takes."""
        key = features, id
        if key not in self._told:
            self._told[key] = self._looked_at(features, self.entries[id])
        return self._told[key]

    def piece(self, id: str) -> nn.Module:
        """The layer itself, in eval mode.

        Raises:
            EntryError: its file is gone or damaged.
        """
        if id not in self._pieces:
            self._pieces[id] = self._bank.load(id).to(self._device).eval().requires_grad_(False)
        return self._pieces[id]

    def module(self, prefix: Prefix, id: str, given: Signature, features: Tensor) -> nn.Module:
        """What runs on the features of a prefix: the layer, behind a stitch if it needs one.

        Args:
            given: the signature of the features, which the layer takes.
            features: of all samples, those of `home` first.
        """
        if not self.told(given, id).is_stitched:
            return self.piece(id)
        if (prefix, id) not in self._fitted:
            self._fitted[prefix, id] = self._fit(self.entries[id], given, features)
        return nn.Sequential(self._fitted[prefix, id], self.piece(id))

    def _fit(self, entry: Entry, given: Signature, features: Tensor) -> nn.Module:
        """A stitch toward what the layer saw at home, on the samples of `home`."""
        stitch = stitch_for(given, entry)
        before = self._before(entry)
        assert stitch is not None
        assert before is not None
        stitch = stitch.to(self._device).eval().requires_grad_(False)
        layers = [self.piece(one.id) for one in before]
        pairs, start = [], 0
        for batch in self._home:
            pairs.append((features[start : start + len(batch)], seen_at_home(layers, batch)))
            start += len(batch)
        fit_stitch(stitch, pairs)
        home = sum(one.cost.flops for one in before)
        channels = given.channels
        self.fitting += start * (home + 2 * channels * (channels + entry.input.channels)) + 10 * channels**3
        if self._refining and entry.kind is not Kind.DENSE:
            self._refine(stitch, entry, given, pairs)
        return stitch

    @torch.enable_grad()
    def _refine(self, stitch: nn.Module, entry: Entry, given: Signature, pairs: Sequence[Pair]) -> None:
        """Go on toward the penultimate features at home, where they are known."""
        try:
            rest = (entry, *self._bank.behind(entry))
        except EntryError:
            return
        layers = [self.piece(one.id) for one in rest]
        targets = [(features, seen_at_home(layers, home)) for features, home in pairs]
        stitch.requires_grad_(True)
        refine_stitch(stitch, nn.Sequential(*layers), targets, steps=self._refining)
        stitch.requires_grad_(False)
        forward = sum(one.cost.flops for one in rest)
        samples = sum(len(pairs[step % len(pairs)][0]) for step in range(self._refining))
        self.fitting += sum(len(home) for _, home in pairs) * forward
        self.fitting += 3 * samples * (cost_of(stitch, given).flops + forward)

    def _before(self, entry: Entry) -> tuple[Entry, ...] | None:
        """The layers that made what an entry saw at home, if they are known and take these data."""
        if entry.id not in self._homes:
            try:
                before = self._bank.before(entry)
            except EntryError:
                before = None
            takes = before is not None and fits(Signature.of(self._home[0]), (*before, entry)[0])
            self._homes[entry.id] = before if takes else None
        return self._homes[entry.id]

    def _looked_at(self, features: Signature, entry: Entry) -> Told:
        stitch = stitch_for(features, entry)
        flops = parameters = 0
        given = features
        if stitch is not None:
            price = cost_of(stitch, features)
            flops, parameters = price.flops, price.parameters
            given = replace(entry.input, free=(False,) * len(entry.input.shape))
        if given.shape == entry.input.shape:
            output, price = replace(entry.output, free=(False,) * len(entry.output.shape)), entry.cost
        else:  # a size that is free is another one here
            piece = self.piece(entry.id)
            with torch.no_grad():
                made = piece(given.example().to(self._device))
            output, price = Signature.of(made, entry.output.channel), cost_of(piece, given)
        return Told(output, flops + price.flops, parameters + price.parameters, stitch is not None)
