"""Deepening: put a layer that changes nothing behind a module."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from netmorph.edit.blocks import IDEMPOTENT, THERE, Spec, chain_of, dense, start_identity, start_r2r
from netmorph.edit.plan import Described, Plan
from netmorph.edit.trial import holds_its_number, listed_behind
from netmorph.errors import EditError, suggest
from netmorph.graph import Allow, Graph
from netmorph.graph.axis import atoms, size
from netmorph.graph.journal import Description
from netmorph.observe.features import Batch, by_channel, passes
from netmorph.seeds import generator_of
from netmorph.widenings import WidthError

Start = Callable[[nn.Module, torch.Generator], None]


@dataclass(frozen=True, repr=False)
class DeepenEdit(Described):
    """A new block behind module `after`: an entry of its own where that is an entry of a list that may grow there.

    Elsewhere both stand in its place, one in the other's container.

    Attributes:
        spec: a container with the old module as its first part and the new block as its last.
        start: sets the weights of the new block.
        exact: whether the block then passes its input on.
        method, width: for people and the journal.
    """

    after: str
    spec: Spec
    method: str
    width: int
    start: Start
    exact: bool = True
    seed: int = 0

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        module_at(graph, self.after)
        *_, new = self.spec.parts
        listed = listed_behind(graph, self.after, is_copy=new.kind == "copy")
        if listed is not None:
            spec, path = Spec("entry", parts=(new,)), listed.place.path
            block = spec.entry(graph.model, path)
            self.start(block, generator_of(self.seed))
            return Plan(
                exact=self.exact,
                inserted={path: block},
                attributes=listed.attributes,
                specs={path: spec.as_json()},
                inverse={"kind": "entry", "path": path, "attributes": listed.before},
            )
        if new.kind == "copy":
            check_one_tensor(graph, self.after)
        own = holds_its_number(graph, self.after) if new.kind == "copy" else None
        if own is not None:
            raise EditError(
                f"no copy of {self.after!r} is possible: it holds its number in its list ({own}), and the forward does "
                "not run one more entry of that list behind it, so that the copy would have to have the same number"
            )
        both = self.spec.build(graph.model, self.after)
        *_, block = both.children()
        self.start(block, generator_of(self.seed))
        return Plan(
            exact=self.exact,
            modules={self.after: both},
            specs={self.after: self.spec.as_json()},
            inverse={"kind": "deepen", "after": self.after},
        )

    def describe(self) -> Description:
        """See `Edit`."""
        return Description("deepen", self.method, self.after, 0, self.width)


def residual(graph: Graph, after: str, hidden: int | None = None, kernel: int = 3, seed: int = 0) -> DeepenEdit:
    """A residual block `x + W2 relu(W1 x)` behind a module, exact from the start (R2R deepen, arXiv 2410.11038).

    Args:
        after: path of a module that returns one tensor.
        hidden: the width inside, even; the width of the features by default (rounded up to even).
        kernel: odd kernel size, where the features have height and width.

    Raises:
        EditError: no such module, or its output is not a tensor of features.
        WidthError: `hidden` is not a positive even number.
    """
    channels, spatial = features(graph, after)
    hidden = channels + channels % 2 if hidden is None else hidden
    if hidden < 2 or hidden % 2:
        raise WidthError(f"the hidden width of an R2R block must be even and at least 2, got {hidden}")
    _check_kernel(kernel)
    # The branch ends linear: behind a ReLU on exact zeros no gradient would ever pass.
    body = dense(channels, hidden, spatial, kernel), Spec("relu"), dense(hidden, channels, spatial, kernel)
    return DeepenEdit(after, chain_of(THERE, Spec("residual", parts=body)), "residual", hidden, start_r2r, seed=seed)


def identity(
    graph: Graph, after: str, kernel: int = 3, norm: bool = False, data: Iterable[Batch] | None = None
) -> DeepenEdit:
    """An identity layer behind a module (Net2Net deepen, arXiv 1511.05641).

    Behind an idempotent activation (ReLU, ReLU6) the new layer ends in the same activation. Behind a layer that is read
    by such an activation alone, called as a function (`F.relu(self.fc(x))`), the new one begins with it, and the
    call that is there ends it. Elsewhere, and before such a call with `norm`, it is linear.

    Args:
        norm: put a batch norm behind the new layer that gives back what it normalizes: its running statistics are those
            of the features, its scale `sqrt(variance + eps)`, its shift their mean. Exact in eval mode; in training
            mode it is off by as much as a batch's statistics are.
        data: batches of inputs to take these statistics from; the example inputs where none are given.

    Raises:
        EditError: no such module, or its output is not a tensor of features (for a batch norm: with channels in
            dimension 1), or `data` holds no batch.
    """
    channels, spatial = features(graph, after)
    _check_kernel(kernel)
    last = module_at(graph, after)
    while type(last) is nn.Sequential and len(last):  # a subclass may do more in its forward
        last = last[-1]
    activation = [Spec(name) for name, kind in IDEMPOTENT.items() if type(last) is kind]
    called = [] if activation or norm else _called_behind(graph, after)
    layer = dense(channels, channels, spatial, kernel)
    start: Start = start_identity
    if norm:
        if spatial == 0 and len(graph.channels[after]) != 2:
            raise EditError(f"a batch norm behind {after!r} is not possible: its output holds channels last")
        layers = [layer, Spec(f"batch_norm{max(1, spatial)}d", {"num_features": channels})]
        mean, variance = _statistics(graph, after, spatial, data)
        start = partial(_start_normed, mean=mean, variance=variance)
    else:
        layers = [layer]
    block = chain_of(*called, *layers, *activation)
    return DeepenEdit(after, chain_of(THERE, block), "identity", channels, start)


def _called_behind(graph: Graph, path: str) -> list[Spec]:
    """The idempotent activation that alone reads what a module returned, where it is called as a function."""
    value, calls = graph.recording.module_outputs.get(path), graph.recording.calls
    readers = [call for call in calls if any(read is value for read in call.values)]
    makers = [call for call in calls if any(made is value for made in call.outputs)]
    if len(readers) != 1 or len(makers) != 1 or any(output is value for output in graph.recording.outputs):
        return []
    (reader,), (maker,) = readers, makers
    name = reader.op.overloadpacket.__name__.removesuffix("_")
    # What a module returned before its last call is not known: one that runs twice may be read elsewhere, too.
    runs = sum((call.module, call.op, call.location) == (maker.module, maker.op, maker.location) for call in calls)
    is_module = isinstance(graph.modules[reader.module], tuple(IDEMPOTENT.values()))
    return [Spec(name)] if name in IDEMPOTENT and runs == 1 and not is_module else []


def _statistics(graph: Graph, path: str, spatial: int, data: Iterable[Batch] | None) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of each channel of a module's output."""
    outputs = [by_channel(output, spatial) for _, output in passes(graph, path, data)]
    rows = torch.cat(outputs)
    return rows.mean(0), rows.var(0, correction=min(1, len(rows) - 1))


@torch.no_grad()
def _start_normed(block: nn.Module, generator: torch.Generator, mean: Tensor, variance: Tensor) -> None:
    start_identity(block, generator)
    norm = next(module for module in block.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    for name, value in (("running_mean", mean), ("running_var", variance)):
        norm.get_buffer(name).copy_(value)
    norm.weight.copy_((norm.get_buffer("running_var").double() + norm.eps).sqrt())
    norm.bias.copy_(norm.get_buffer("running_mean"))


Deepening = Callable[[Graph, str], DeepenEdit]
DEEPENINGS: dict[str, Deepening] = {"residual": residual, "identity": identity}


def places(graph: Graph) -> list[str]:
    """The modules behind which a layer can be put."""
    found = [path for path in graph.channels if path and _feature_axis(graph, path) is not None]
    return [path for path in found if not _is_read_past(graph, path)]


def module_at(graph: Graph, path: str) -> nn.Module:
    """The module at a path.

    Raises:
        EditError: there is none, or it is the model itself, or a part of a module that reads its weights past it.
    """
    known = dict(graph.model.named_modules())
    if not path or path not in known:
        raise EditError(f"no module {path!r} to edit{suggest(path, known)}; see model.named_modules()")
    module: nn.Module = known[path]
    scripted = next((place for place in _around(path) if isinstance(known[place], torch.jit.ScriptModule)), None)
    if scripted is not None:
        raise EditError(
            f"{path!r} cannot be replaced: {scripted!r} is a scripted module, which keeps its parts in C++. "
            f"Depth edits of {scripted!r} as a whole work"
        )
    if _is_read_past(graph, path):
        owner = path.rpartition(".")[0]
        raise EditError(
            f"{path!r} cannot be replaced: {type(known[owner]).__name__} reads its weights without calling it. Width "
            f"edits work there, and depth edits of {owner!r} as a whole"
        )
    return module


def _around(path: str) -> list[str]:
    """The paths of the modules that hold this one, from the outside; not the model's own."""
    names = path.split(".")
    return [".".join(names[:end]) for end in range(1, len(names))]


def _is_read_past(graph: Graph, path: str) -> bool:
    """In eval mode these hand the weights of their parts to one fused operator, which tracing keeps them from."""
    owner = graph.model.get_submodule(path.rpartition(".")[0])
    is_fused = isinstance(owner, nn.TransformerEncoderLayer | nn.MultiheadAttention)
    return is_fused and bool(graph.model.get_submodule(path)._parameters)


def check_one_tensor(graph: Graph, path: str) -> None:
    """Refuse a module whose input could not stand for what it returns: a recurrent layer returns its states as well.

    Raises:
        EditError: it returns something else than one tensor.
    """
    runs = any(f"{call.module}.".startswith(f"{path}.") for call in graph.recording.calls)
    if runs and path not in graph.recording.module_outputs:
        kind = type(graph.model.get_submodule(path)).__name__
        raise EditError(
            f"{path!r} ({kind}) does not return one tensor where the forward calls it, so its input cannot take "
            "the place of its result; give a module around it that does"
        )


def features(graph: Graph, path: str) -> tuple[int, int]:
    """(channels, spatial dimensions) of a module's output.

    Raises:
        EditError: no such module, or its output is not a tensor of features.
    """
    module_at(graph, path)
    found = _feature_axis(graph, path)
    if found is None:
        raise EditError(
            f"no layer can go behind {path!r}: it was not called by the traced forward, or its output is not one "
            f"tensor of features; possible places are {', '.join(places(graph)) or 'none'}"
        )
    return found


def _feature_axis(graph: Graph, path: str) -> tuple[int, int] | None:
    """(channels, spatial dimensions) of a module's output: convolutional features or those of a linear layer."""
    axes = graph.channels.get(path)
    if axes is None or len(axes) < 2:
        return None
    # Channels that could change width tell which axis holds the features; tokens beside them are frozen.
    for allow in (Allow.INEXACT, Allow.FROZEN):
        if 3 <= len(axes) <= 5 and any(atom.allow >= allow for atom in atoms(axes[1])):
            return size(axes[1]), len(axes) - 2
        if any(atom.allow >= allow for atom in atoms(axes[-1])):
            return size(axes[-1]), 0
    return None


def _check_kernel(kernel: int) -> None:
    if kernel < 1 or kernel % 2 == 0:
        raise EditError(f"the kernel of an inserted layer must be odd and at least 1, got {kernel}")
