"""The networks whose ranks are compared: random weights, and trained on the digits for seconds."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph import zoo
from netmorph.data import Split, load
from netmorph.zoo.transformer import Block

STEPS, BATCH, RATE = 400, 128, 2e-3
SAMPLES = 64
CLASSES = 10
TOKENS = 17  # values of a pixel


@dataclass(frozen=True)
class Ranked:
    """A network in float64 and eval mode, and inputs `[samples, ...]`.

    Attributes:
        told: how well it does on the test digits.
    """

    model: nn.Module
    inputs: Tensor
    told: str = ""


class ViT(nn.Module):
    """`[N, 1, 8, 8]` -> `[N, 10]`: patches of 2x2 pixels through the blocks of `zoo.gpt`, averaged."""

    def __init__(self, channels: int = 24, heads: int = 3, depth: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, channels, 2, 2)
        self.blocks = nn.Sequential(*(Block(channels, heads, 2 * channels, nn.LayerNorm, 0.0) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(channels), nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits


IMAGES: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: zoo.build("mlp", (1, 8, 8), CLASSES, hidden=(24, 12)),
    "lenet5": lambda: zoo.build("lenet5", (1, 8, 8), CLASSES, width=0.25),
    "resnet": lambda: zoo.build("resnet", (1, 8, 8), CLASSES, blocks=(1, 1), channels=(6, 10)),
    "vit": ViT,
}


def random_weights(name: str, seed: int) -> Ranked:
    """Random weights and statistics of norms, so that nothing is special."""
    torch.manual_seed(seed)
    model = IMAGES[name]().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 2)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.2)
    return Ranked(model, torch.randn(SAMPLES, 1, 8, 8, dtype=torch.float64))


def trained(name: str, seed: int) -> Ranked:
    """Trained on the digits, looked at on test digits."""
    torch.manual_seed(seed)
    model = IMAGES[name]()
    train, test = _digits()
    _fit(model, train.inputs, lambda logits, rows: functional.cross_entropy(logits, train.targets[rows]))
    with torch.no_grad():
        right = (model.eval()(test.inputs).argmax(1) == test.targets).double().mean()
    return Ranked(model.double(), test.inputs[:SAMPLES].double(), f"{right:.1%}")


def behind_embeddings(seed: int) -> Ranked:
    """A GPT that was trained to tell the next of the 16 pixels of a digit, from its first block on."""
    torch.manual_seed(seed)
    model = zoo.build("gpt", (15,), TOKENS, channels=16, heads=2, depth=2, mlp_ratio=2, tied=False)
    train, test = (functional.avg_pool2d(part.inputs, 2).mul(16).round().long().flatten(1) for part in _digits())

    def loss(logits: Tensor, tokens: Tensor) -> Tensor:
        return functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())

    _fit(model, train[:, :-1], lambda logits, rows: loss(logits, train[rows, 1:]))
    with torch.no_grad():
        found = loss(model.eval()(test[:, :-1]), test[:, 1:])
        embedded = model.tokens(test[:8, :-1]) + model.positions.weight
    behind = nn.Sequential(model.blocks, model.norm, model.head).double()
    return Ranked(behind, embedded.double(), f"loss {found:.2f}")


@functools.cache
def _digits() -> tuple[Split, Split]:
    """Training and test digits, inputs float32 `[N, 1, 8, 8]` from 0 to 1."""
    dataset = load("digits", seed=0)
    parts = []
    for part in (dataset.train, dataset.test):
        assert isinstance(part, Split)
        parts.append(Split(part.inputs.float() / part.inputs.max(), part.targets))
    return parts[0], parts[1]


def _fit(model: nn.Module, inputs: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    for _ in range(STEPS):
        rows = torch.randint(len(inputs), (BATCH,))
        optimizer.zero_grad()
        loss(model(inputs[rows]), rows).backward()
        optimizer.step()
