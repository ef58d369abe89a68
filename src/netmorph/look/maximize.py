"""Images that excite a class or a channel most, found by gradients: activation maximization.

Sources: C. Olah et al., Feature Visualization, Distill 2017: an image is written as waves, in colours that do not
depend on each other, and is shaken while it is found. D. Erhan et al., Visualizing Higher-Layer Features, 2009.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from netmorph.data import Pixels
from netmorph.look.maps import looked_at
from netmorph.look.weights import LookError, layer_at
from netmorph.seeds import generator_of

# From a network and images [N, C, H, W] as it takes them to a score [N]: each image makes its own as large as it can.
Objective = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Excited:
    """What was found.

    Attributes:
        images: `[N, C, H, W]`, from 0 to 1.
        scores: float64 `[N]`, of these images, at rest.
    """

    images: Tensor
    scores: Tensor


def of_classes(classes: Sequence[int]) -> Objective:
    """The logits of classes, one an image."""
    wanted = torch.tensor(list(classes))

    def score(model: nn.Module, images: Tensor) -> Tensor:
        outputs = model(images)
        if outputs.ndim != 2 or not 0 <= int(wanted.min()) <= int(wanted.max()) < outputs.shape[1]:
            raise LookError(f"the network must give [N, classes] with {list(classes)}, it gives {list(outputs.shape)}")
        scores: Tensor = outputs[torch.arange(len(images)), wanted.to(outputs.device)]
        return scores

    return score


def of_channels(layer: str, channels: Sequence[int]) -> Objective:
    """What channels of a layer give, on average over their maps, one an image."""
    wanted = torch.tensor(list(channels))

    def score(model: nn.Module, images: Tensor) -> Tensor:
        given: list[Tensor] = []
        handle = layer_at(model, layer).register_forward_hook(lambda module, inputs, output: given.append(output))
        try:
            model(images)
        finally:
            handle.remove()
        if not given or given[0].ndim < 2 or int(wanted.max()) >= given[0].shape[1]:
            told = list(given[0].shape) if given else "nothing, as it is not called"
            raise LookError(f"{layer!r} gives {told}; it has no channels {list(channels)}")
        means = given[0].reshape(*given[0].shape[:2], -1).mean(2)
        scores: Tensor = means[torch.arange(len(images)), wanted]
        return scores

    return score


def colours(images: Tensor) -> Tensor:
    """How the channels of images depend on each other: a matrix that makes independent numbers such colours.

    Args:
        images: uint8 or floating `[N, C, H, W]`, some of the data.

    Returns:
        float64 `[C, C]`, the square root of the channels' covariance, its longest row of length 1.
    """
    pixels = images.double().transpose(0, 1).flatten(1)
    values, vectors = torch.linalg.eigh(torch.cov(pixels).reshape(len(pixels), len(pixels)))
    root: Tensor = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    longest = float(root.norm(dim=1).max())
    return root / (longest or 1.0)


def normalized(pixels: Pixels) -> Callable[[Tensor], Tensor]:
    """What makes of images from 0 to 1 what a network takes that was trained on such pixels; gradients pass it."""
    mean, std = (torch.tensor(told, dtype=torch.float64).view(-1, 1, 1) for told in (pixels.mean, pixels.std))
    return lambda images: (images - mean.to(images)) / std.to(images)


def excite(
    model: nn.Module,
    objective: Objective,
    shape: Sequence[int],
    count: int,
    *,
    prepare: Callable[[Tensor], Tensor],
    mixing: Tensor | None = None,
    steps: int = 128,
    rate: float = 0.05,
    jitter: int = 2,
    seed: int = 0,
) -> Excited:
    """Images that make their scores as large as `steps` steps of Adam can.

    The network is looked at in eval mode, and is left as it was.

    Args:
        objective: `of_classes`, `of_channels`, or any such function.
        shape: `(C, H, W)` of an image.
        count: N, how many images.
        prepare: makes of images from 0 to 1 what the network takes, see `normalized`.
        mixing: of `colours`; None leaves the channels on their own.
        rate: the learning rate.
        jitter: the image is shifted by up to so many pixels in each step, so that no single pixel decides.
        seed: of the first image and the shifts.

    Raises:
        LookError: the shape is not that of images, or the objective cannot be had of this network.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise LookError(f"only images (channels, height, width) can be found, not inputs of the shape {tuple(shape)}")
    like = next(model.parameters())
    generator = generator_of(seed)
    mix = torch.eye(shape[0]) if mixing is None else mixing
    mix, scale = mix.to(like), _sizes(shape[1], shape[2]).to(like)
    start = 0.01 * torch.randn(count, shape[0], *scale.shape, 2, generator=generator, dtype=torch.float64)
    waves = start.to(like).requires_grad_()
    optimizer = torch.optim.Adam([waves], rate)

    def images() -> Tensor:
        pixels = torch.fft.irfft2(torch.view_as_complex(waves) * scale, s=tuple(shape[1:]), norm="ortho")
        return torch.einsum("dc,nchw->ndhw", mix, pixels).sigmoid()

    with looked_at(model):
        with torch.enable_grad():
            for _ in range(steps):
                shaken = _shifted(images(), jitter, generator)
                [waves.grad] = torch.autograd.grad(-objective(model, prepare(shaken)).sum(), [waves])
                optimizer.step()
        with torch.no_grad():
            found = images()
            return Excited(found, objective(model, prepare(found)).double())


def _sizes(height: int, width: int) -> Tensor:
    """How large each wave is: the longer, the larger, as in photographs. float64 `[H, W // 2 + 1]`."""
    down, across = torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.rfftfreq(width, dtype=torch.float64)
    frequency = (down[:, None].square() + across.square()).sqrt()
    sizes: Tensor = (height * width) ** 0.5 / frequency.clamp(min=1 / max(height, width)) / max(height, width)
    return sizes


def _shifted(images: Tensor, jitter: int, generator: torch.Generator) -> Tensor:
    if not jitter:
        return images
    down, across = torch.randint(2 * jitter + 1, (2,), generator=generator).tolist()
    height, width = images.shape[2:]
    return pad(images, (jitter,) * 4, mode="reflect")[:, :, down : down + height, across : across + width]
