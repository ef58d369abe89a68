"""How long a forward takes, measured."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import nn

from netmorph.graph.running import untouched
from netmorph.observe.samples import run_batch

TIMED = 7  # runs whose median counts


def latency(model: nn.Module, inputs: Any, runs: int = TIMED) -> float:
    """The median seconds of a forward in eval mode; as good as the quiet of the machine. The model is left as it was.

    Args:
        inputs: what the model takes: a tensor, a tuple or a dict.
    """
    times = []
    with untouched(model), torch.inference_mode():
        model.eval()
        for _ in range(runs + 1):
            begin = time.perf_counter()
            run_batch(model, inputs, None)
            if torch.accelerator.is_available():  # which computes on after the call returns
                torch.accelerator.synchronize()
            times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])  # the first run warms up
