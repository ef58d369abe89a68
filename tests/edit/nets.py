"""Small networks for the tests of edits, and what to compare before and after."""

from typing import Any

import torch
from torch import Tensor, nn


def small() -> tuple[nn.Sequential, Tensor]:
    """Convolutions with batch norm, a flatten boundary, a linear head; float64."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    ).double()
    return model, torch.randn(3, 2, 6, 6).double()


def output(model: nn.Module, x: Tensor) -> Tensor:
    """In eval mode, without a gradient."""
    mode = model.training
    with torch.no_grad():
        result: Tensor = model.eval()(x)
    model.train(mode)
    return result


def trained(model: nn.Module, x: Tensor, optimizer: torch.optim.Optimizer, steps: int = 2) -> torch.optim.Optimizer:
    """The optimizer after some steps."""
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - 1).pow(2).mean().backward()
        optimizer.step()
    return optimizer


def snapshot(model: nn.Module, *optimizers: torch.optim.Optimizer) -> dict[str, Any]:
    """Everything an edit may touch, by identity and by content."""
    return {
        "modules": [(path, id(module), repr(module)) for path, module in model.named_modules()],
        "attributes": [
            {k: v for k, v in vars(module).items() if isinstance(v, int | tuple | str)} for module in model.modules()
        ],
        "tensors": {
            name: (id(t), t.requires_grad, t.detach().clone(), None if t.grad is None else t.grad.clone())
            for name, t in (*model.named_parameters(remove_duplicate=False), *model.named_buffers())
        },
        "groups": [[[id(p) for p in group["params"]] for group in o.param_groups] for o in optimizers],
        "options": [[{k: v for k, v in g.items() if k != "params"} for g in o.param_groups] for o in optimizers],
        "state": [
            {id(p): {k: v.clone() if isinstance(v, Tensor) else v for k, v in s.items()} for p, s in o.state.items()}
            for o in optimizers
        ],
    }


def same(one: Any, other: Any) -> bool:
    """Equal, bit for bit, in all nested parts."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)
