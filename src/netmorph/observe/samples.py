"""What a network computes on some batches: what reads each channel group sees of it, and how the loss reacts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from netmorph.errors import EditError
from netmorph.graph import Contraction, Graph, Group, Role, Site, Value
from netmorph.graph.axis import Atom, size
from netmorph.graph.couple import contractions_of
from netmorph.graph.record import canonical_names
from netmorph.graph.running import no_fused_attention, untouched
from netmorph.observe.features import as_inputs
from netmorph.seeds import generator_of

BatchLoss = Callable[[nn.Module, Any], Tensor]
Read = tuple[str, str, int]  # group, tensor, dimension

# At most so many positions of one activation are looked at, drawn at random: neighbours tell little more.
POSITIONS = 16384
# The positions of a batch's last samples, this share of them, are kept apart, too: what was fitted without them can be
# judged by them.
HELD_OUT = 0.2


@dataclass(eq=False)
class Seen:
    """What one reader saw of one group's `n` channels, over all positions.

    Attributes:
        shift: float64 `[n]`: roughly their means; products of what differs from it are added up, or else the small
            variance of a channel with a large mean would be lost in rounding.
        products: float64 `[n, n]`: the sum of `(x - shift) (x - shift)^T`.
        total: float64 `[n]`: the sum of `x - shift`.
        absolute: float64 `[n]`: the sum of `|x|`.
        count: the number of positions.
        biases: the biases that are added to what the reader computes; None stands for a call without one.
        held: the part of all this that comes from the last samples of each batch, a fifth of them.
    """

    shift: Tensor
    products: Tensor
    total: Tensor
    absolute: Tensor
    count: int = 0
    biases: set[str | None] = field(default_factory=set)
    held: Seen | None = None

    @staticmethod
    def nothing(shift: Tensor) -> Seen:
        """To start with."""
        return Seen(shift, torch.outer(shift, shift).zero_(), torch.zeros_like(shift), torch.zeros_like(shift))

    def add(self, rows: Tensor) -> None:
        """Look at more positions, float64 `[positions, n]`, those of the last samples last."""
        if self.held is not None:
            self.held.add(rows[len(rows) - int(HELD_OUT * len(rows)) :])
        self.absolute += rows.abs().sum(0)
        rows = rows - self.shift
        self.products.addmm_(rows.T, rows)
        self.total += rows.sum(0)
        self.count += len(rows)

    def without(self, other: Seen) -> Seen:
        """What is left without a part of the positions."""
        return replace(
            self,
            products=self.products - other.products,
            total=self.total - other.total,
            absolute=self.absolute - other.absolute,
            count=self.count - other.count,
            held=None,
        )

    @property
    def mean(self) -> Tensor:
        """float64 `[n]`."""
        return self.shift + self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """float64 `[n, n]`."""
        mean = self.total / self.count
        return self.products / self.count - mean.outer(mean)

    @property
    def second_moments(self) -> Tensor:
        """float64 `[n, n]`: the mean of `x x^T`."""
        return self.covariance + self.mean.outer(self.mean)


class Samples:
    """A graph's model on some batches. What is asked for is computed once, in eval mode, and kept.

    Args:
        graph: the current graph.
        batches: what `trace` takes as example inputs, or whatever `loss` takes; gone through more than once (a list,
            a `DataLoader`).
        loss: `(model, batch) -> scalar`. Without it the model is called on the batch alone.
        seed: draws the positions that are looked at, and random scores.
    """

    def __init__(self, graph: Graph, batches: Iterable[Any] = (), loss: BatchLoss | None = None, seed: int = 0) -> None:
        self.graph, self.batches, self.loss, self.seed = graph, batches, loss, seed

    @cached_property
    def seen(self) -> dict[Read, Seen]:
        """For each editable group and each weight that sums over its channels: what it saw.

        A weight is left out where the forward computes on it before it is used.
        """
        observer = _Observer(self.graph, self.seed)
        for batch in self._each():
            with torch.inference_mode(), observer:
                run_batch(self.graph.model, batch, self.loss)
        return observer.seen

    @cached_property
    def importance(self) -> dict[str, Tensor]:
        """By editable group, float64 `[n]`: how much the loss would change, to first order, without a channel.

        That is `|sum of activation * gradient|` where the channel is read, added up over the batches (Molchanov et al.,
        arXiv 1611.06440): for a reader's weights `sum of weight * gradient` is the same number. Where nobody reads the
        channel with weights of its own, all its weights stand in.

        Raises:
            EditError: there is no loss.
        """
        if self.loss is None:
            raise EditError(
                "first-order (taylor) scores need a loss, for instance "
                "loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1])"
            )
        groups = self.graph.editable()
        result = {group.name: torch.zeros(group.size, dtype=torch.float64) for group in groups}
        weights = {name: p for name, p in self.graph.model.named_parameters() if p.is_floating_point()}
        for batch in self._each():
            with torch.inference_mode(False), torch.enable_grad(), _trainable(weights.values()):
                loss = self.loss(self.graph.model, batch)
                gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            products = {
                name: (weight * gradient).detach()
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
                if gradient is not None
            }
            for group in groups:
                sites = [site for site in group.where(Role.READ) or group.sites if site.tensor in products]
                sums = [channel_sums(products[site.tensor], site, group.atom) for site in sites]
                result[group.name] += sum(sums, torch.zeros(group.size, dtype=torch.float64)).abs()
        return result

    def _each(self) -> Iterator[Any]:
        """The batches, with the model in eval mode; it is left as it was."""
        model, empty = self.graph.model, True
        with untouched(model), no_fused_attention():
            model.eval()
            for batch in self.batches:
                empty = False
                yield batch
        if empty:
            raise EditError(
                "there are no batches to look at; pass batches (a list or a DataLoader: an iterator is used up "
                "when it is gone through once)"
            )


@contextmanager
def _trainable(weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """A gradient for frozen weights as well: a channel matters no less for not being trained."""
    frozen = [weight for weight in weights if not weight.requires_grad]
    try:
        for weight in frozen:
            weight.requires_grad_(True)
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)


def run_batch(model: nn.Module, batch: Any, loss: BatchLoss | None) -> Any:
    """The loss of the model on a batch, or without a loss what the model returns for it."""
    if loss is not None:
        return loss(model, batch)
    inputs = as_inputs(batch)
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def channel_sums(tensor: Tensor, site: Site, atom: Atom) -> Tensor:
    """float64 `[n]`: for each channel of the atom, the sum of all entries of the tensor that belong to it."""
    entries = tensor.movedim(site.dim, 0).flatten(1) if tensor.dim() > 1 else tensor.unsqueeze(1)
    rows = entries.sum(1, dtype=torch.float64).cpu()
    total = torch.zeros(atom.size, dtype=torch.float64)

    def add(part: Tensor, dim: int) -> Tensor:
        total.add_(part.movedim(dim, 0).reshape(atom.size, -1).sum(1))
        return part

    replace(site, dim=0).change(rows, {atom: add})
    return total


def channel_rows(tensor: Tensor, site: Site, atom: Atom) -> Tensor:
    """`[n, entries]`: for each channel of the atom, all entries of the tensor that belong to it."""
    entries = tensor.movedim(site.dim, 0).flatten(1)
    rows: list[Tensor] = []

    def keep(part: Tensor, dim: int) -> Tensor:
        rows.append(part.movedim(dim, 0).reshape(atom.size, -1))
        return part

    replace(site, dim=0).change(entries, {atom: keep})
    return torch.cat(rows, 1)


class _Observer(TorchDispatchMode):
    """Adds up what the readers of editable groups see."""

    def __init__(self, graph: Graph, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: dict[Read, Seen] = {}
        self._names = canonical_names(graph.model)
        self._readers: dict[str, list[tuple[Group, Site]]] = {}
        for group in graph.editable():
            for site in group.where(Role.READ):
                self._readers.setdefault(site.tensor, []).append((group, site))
        self._generator = generator_of(seed)

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(self._names.get(id(leaf)) in self._readers for leaf in tree_leaves((args, kwargs))):
            held: dict[Value, Tensor] = {}

            def value(tensor: Tensor) -> Value:
                made = Value.of(tensor, self._names.get(id(tensor)))
                held[made] = tensor
                return made

            seen, named, outputs = tree_map_only(Tensor, value, (args, kwargs or {}, tree_leaves(result)))
            for contraction in contractions_of(func, seen, named, outputs):
                if contraction.input in held:
                    self._look_at(contraction, held[contraction.input])
        return result

    def _look_at(self, contraction: Contraction, x: Tensor) -> None:
        offset = contraction.offset
        for group, site in self._readers.get(contraction.weight.name or "", ()):
            for dim, place in contraction.read:
                if place == site.dim:
                    self._look(group, site, x, dim % x.dim(), None if offset is None else offset.name)

    def _look(self, group: Group, site: Site, x: Tensor, dim: int, bias: str | None) -> None:
        x = x.unflatten(dim, (-1, size(site.axis)))  # the groups of a grouped convolution are positions like others
        key = group.name, site.tensor, site.dim

        def add(part: Tensor, place: int) -> Tensor:
            rows = part.movedim(place, -1).flatten(0, -2)
            if len(rows) > POSITIONS:
                drawn = torch.randperm(len(rows), generator=self._generator)[:POSITIONS].sort().values
                rows = rows[drawn.to(rows.device)]
            rows = rows.to("cpu", torch.float64)
            if key not in self.seen:
                self.seen[key] = Seen.nothing(shift=rows.mean(0))
                self.seen[key].held = Seen.nothing(shift=rows.mean(0))
            self.seen[key].biases.add(bias)
            self.seen[key].add(rows)
            return part

        replace(site, dim=dim + 1).change(x, {group.atom: add})
