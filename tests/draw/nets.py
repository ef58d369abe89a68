"""Networks of every kind of connection that pictures have to show."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.relu(self.conv(x)))


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv = nn.Conv2d(2 * outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return functional.relu(self.conv(torch.cat([skip, self.up(x)], 1)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.downs = nn.ModuleList([nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)])
        self.ups = nn.ModuleList([Up(16, 8), Up(8, 4)])

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.first(x)]
        for down in self.downs:
            kept.append(down(self.pool(kept[-1])))
        x = kept.pop()
        for up in self.ups:
            x = up(x, kept.pop())
        return x


class Dense(nn.Module):
    """Each layer reads what all before gave."""

    def __init__(self, layers: int = 5) -> None:
        super().__init__()
        self.layers = nn.ModuleList([DenseLayer(3 + 2 * number) for number in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        made = [x]
        for layer in self.layers:
            made.append(layer(made))
        return torch.cat(made, 1)


class DenseLayer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, 2, 3, padding=1)

    def forward(self, made: list[Tensor]) -> Tensor:
        return self.conv(self.norm(torch.cat(made, 1)))


class Heads(nn.Module):
    """Equal layers side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(6, 3) for _ in range(4)])

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([head(x) for head in self.heads], 1)


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no forward today")


def broken() -> tuple[nn.Module, Tensor]:
    return Broken(), torch.randn(2, 4)


def images(size: int = 8) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
