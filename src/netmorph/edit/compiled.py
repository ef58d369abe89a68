"""What `torch.compile` has made of a network goes with each edit.

It would be of no use, and PyTorch compiles a function only so many times (`torch._dynamo.config.recompile_limit`, 8):
behind as many edits it would run the network uncompiled, without a word.
"""

from __future__ import annotations

import sys
from types import CodeType

import torch
from torch import nn


def forget_compiled(*models: nn.Module | None) -> None:
    """Let the forwards of models be compiled anew when they are next called; what was not compiled stays as it is.

    Networks whose forwards have the same code (all `nn.Sequential`s, say) are compiled anew as well. A function of the
    user's that was compiled with the network inside (a whole training step) is out of reach: `torch._dynamo.reset()`.
    """
    if "torch._dynamo.eval_frame" not in sys.modules:  # nothing was compiled
        return
    from torch._C._dynamo.eval_frame import reset_code
    from torch._dynamo.external_utils import wrap_inline
    from torch._dynamo.resume_execution import ContinueExecutionCache

    modules = [module for model in models if model is not None for module in model.modules()]
    codes = {wrap_inline(lambda: None).__code__}  # in it PyTorch's own modules are compiled
    codes |= {code for kind in {*map(type, modules)} if isinstance(code := _code(kind), CodeType)}
    waiting = list(codes)
    while waiting:  # what comes behind a break in a graph is a function of its own
        for rest in ContinueExecutionCache.cache.get(waiting.pop(), {}).values():
            if rest not in codes:
                codes.add(rest)
                waiting.append(rest)
    for code in codes:
        reset_code(code)


def _code(kind: type[nn.Module]) -> object:
    if issubclass(kind, torch.jit.ScriptModule):
        return None  # its forward is in C++
    return getattr(kind.forward, "__code__", None)  # a forward may be any callable
