"""A module that stands for another one in a list and passes its input on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from netmorph.edit.watched import same_bits


class StandIn(nn.Module):
    """Answers with what it is given, in the form of another module's answer; attributes are those of that module."""

    def __init__(self, like: nn.Module, answer: Any) -> None:
        super().__init__()
        vars(self).update(_like=like, _answer=lambda: answer, disturbing=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_like"], name)

    def disturb(self) -> None:
        """Answer with something else from now on."""
        vars(self)["disturbing"] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Anything that the module takes, with a tensor in the shape of the first that it answers."""
        leaves, form = tree_flatten(self._answer())
        at = next(number for number, leaf in enumerate(leaves) if isinstance(leaf, Tensor))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for number, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor):  # what a module hands on as it got it
                leaves[number] = next((tensor for tensor in given if same_bits(tensor, leaf)), leaf)
        passed = next(leaf for leaf in given if leaf.shape == leaves[at].shape).clone()  # as new as any answer
        leaves[at] = _disturbed(passed) if vars(self)["disturbing"] else passed
        return tree_unflatten(leaves, form)


def _disturbed(tensor: Tensor) -> Tensor:
    """Something else, which no norm takes back."""
    ramp = torch.linspace(0, 1, tensor.numel(), device=tensor.device).reshape(tensor.shape)
    return (tensor + ramp * (1 + tensor.abs().max())).to(tensor.dtype)
