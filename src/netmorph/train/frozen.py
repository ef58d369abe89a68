"""The old network within a grown one stays as it is while the rest learns: weights, and what its norms have counted."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import torch
from torch import Tensor, nn

from netmorph.edit.entries import new_statistics
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.train.pace import Pace

Buffers = dict[str, Tensor]


class Frozen:
    """All that was there before the last edit keeps its bits, in a loop of any kind, until it is released.

        pace = Pace(optimizer)  # once
        graph = netmorph.apply(graph, netmorph.widen(graph, "0", 64), optimizer)
        with Frozen(graph, pace):
            ...  # train

    Weights are frozen by `Pace.freeze`. Buffers that training forwards write, such as the running statistics of batch
    norms, are no weights; their old entries are put back after each forward, by hooks on the modules that own them.
    `netmorph.edit.old_network` then takes out the network of before, the same bits. The pace alone is what checkpoints
    hold: a resumed loop makes its `Frozen` again.
    """

    def __init__(self, graph: Graph, pace: Pace) -> None:
        """Freeze.

        Args:
            graph: as the last `apply` returned it.
            pace: of the optimizers that train its model; its `edits` say how many of the last edits made what is new.

        Raises:
            NetmorphError, EditError: see `Pace.freeze`.
        """
        pace.freeze(graph)
        self._pace = pace
        statistics = new_statistics(graph, pace.edits)
        old = {name: ~new for name, new in statistics.items() if name not in graph.made_by_forward}
        self._handles = []
        for path, module in graph.model.named_modules():
            names = {name: f"{path}.{name}" if path else name for name in module._buffers}
            masks = {name: old[full] for name, full in names.items() if full in old and bool(old[full].any())}
            if masks:
                before, after = _keeping(module, path, masks)
                self._handles.append(module.register_forward_pre_hook(before))
                self._handles.append(module.register_forward_hook(after))

    def release(self) -> None:
        """Let all of it change again."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._pace.release()

    def __enter__(self) -> Frozen:
        """Frozen since it was made."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See `release`."""
        self.release()


def _keeping(own: nn.Module, path: str, masks: Buffers) -> tuple[Callable[..., None], Callable[..., None]]:
    """Hooks around a module's forward that keep some entries of its buffers. Copies of the module are not held."""
    kept: Buffers = {}

    def before(module: nn.Module, args: object) -> None:
        if module is own and module.training:
            for name, mask in masks.items():
                buffer = module._buffers[name]
                if buffer is None or buffer.shape != mask.shape:
                    raise NetmorphError(
                        f"{path}.{name} was edited since it was frozen; release, and make a Frozen of the new graph"
                    )
                kept[name] = buffer.clone()

    @torch.no_grad()
    def after(module: nn.Module, args: object, output: object) -> None:
        for name, held in kept.items() if module is own else ():
            buffer = module._buffers[name]
            assert buffer is not None
            # By way of `data`: autograd keeps a batch norm's statistics for backward, where training does not use them.
            buffer.data.copy_(torch.where(masks[name].to(buffer.device), held, buffer))
        kept.clear()

    return before, after
