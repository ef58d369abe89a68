"""Which pixels an answer hangs on, by captum; and how alike two such maps are."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from netmorph.errors import require
from netmorph.look.weights import LookError, layer_at
from netmorph.seeds import generator_of
from netmorph.wording import listed

Method = Callable[[nn.Module, Tensor, Tensor], Tensor]
EXTRA = "look"


def gradients(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """How the logit of a class changes with each number of an image: `[N, C, H, W]`.

    Source: K. Simonyan et al., Deep Inside Convolutional Networks, arXiv 1312.6034.
    """
    found: Tensor = require("captum.attr", EXTRA).Saliency(model).attribute(images, target=classes, abs=False)
    return found


def integrated_gradients(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """What each number of an image adds to the logit, on the way from zeros to the image: `[N, C, H, W]`.

    32 points of Gauss and Legendre; zeros are the mean image of normalized data.

    Source: M. Sundararajan et al., Axiomatic Attribution for Deep Networks, arXiv 1703.01365.
    """
    method = require("captum.attr", EXTRA).IntegratedGradients(model)
    found: Tensor = method.attribute(images, target=classes, n_steps=32)
    return found


def grad_cam(layer: str) -> Method:
    """Where in the maps of a layer the evidence for a class lies: a method that gives `[N, 1, H, W]`, from 0 on.

    The maps are added up by the mean gradient of each, what is below zero is cut off, and the rest is brought to the
    size of the image (bilinear).

    Args:
        layer: path of a module that gives maps `[N, C, h, w]`, often the last convolution.

    Source: R. Selvaraju et al., Grad-CAM, arXiv 1610.02391.
    """

    def method(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
        module = layer_at(model, layer)
        maps_of(model, layer, images[:1])
        cam = require("captum.attr", EXTRA).LayerGradCam(model, module)
        found: Tensor = cam.attribute(images, target=classes, relu_attributions=True).detach()
        return interpolate(found, images.shape[2:], mode="bilinear", align_corners=False)

    return method


def maps_of(model: nn.Module, layer: str, images: Tensor) -> tuple[int, ...]:
    """The shape `(C, h, w)` of the maps that a layer gives.

    Raises:
        LookError: no such layer, or what it gives are no maps.
    """
    shapes = _shapes(model, images)
    layer_at(model, layer)
    shape = shapes.get(layer, ())
    if len(shape) != 4:
        gives = f"gives {tuple(shape)}" if shape else "is not called, or gives no tensor"
        others = listed([path for path, other in shapes.items() if path and len(other) == 4], limit=12)
        raise LookError(
            f"Grad-CAM needs maps of channels, height and width, and {layer!r} {gives}; layers with maps are "
            f"{others or 'none here: take gradients or integrated gradients'}"
        )
    return shape[1:]


def last_maps(model: nn.Module, images: Tensor) -> str:
    """The last convolution that gives maps of more than one pixel.

    Raises:
        LookError: there is none.
    """
    shapes = _shapes(model, images)
    found: list[str] = [
        path
        for path, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and len(shapes.get(path, ())) == 4 and max(shapes[path][2:]) > 1
    ]
    if not found:
        raise LookError("Grad-CAM needs a convolution, and this network has none; take gradients instead")
    return found[-1]


def _shapes(model: nn.Module, images: Tensor) -> dict[str, tuple[int, ...]]:
    """The shape of what each module gives."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(path: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                shapes[path] = tuple(output.shape)

        return hook

    handles = [module.register_forward_hook(note(path)) for path, module in model.named_modules()]
    try:
        with torch.no_grad(), looked_at(model):
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def saliency(model: nn.Module, images: Tensor, classes: Tensor, method: Method = gradients) -> Tensor:
    """How much an answer hangs on each pixel, in size: `[N, H, W]`, the largest number of the pixel's channels.

    The network is looked at in eval mode, and is left as it was.

    Args:
        images: `[N, C, H, W]`, as the network takes them.
        classes: int64 `[N]`, the class of each that is asked for.
        method: `gradients`, `integrated_gradients`, `grad_cam(layer)`, or any such function.

    Raises:
        MissingExtra: captum is not installed.
        LookError: the images are none, the network does not give a number for each class, or has no such layer.
    """
    if images.ndim != 4:
        raise LookError(f"saliency is of images [N, C, H, W], got {list(images.shape)}")
    with looked_at(model):
        with torch.no_grad():
            outputs = model(images[:1])
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or outputs.shape[1] <= int(classes.max()):
            gives = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise LookError(f"the network must give [N, classes] with the class {int(classes.max())}, it gives {gives}")
        found = method(model, images.detach().clone().requires_grad_(), classes)
    return found.detach().abs().amax(1)


@contextmanager
def looked_at(model: nn.Module) -> Iterator[None]:
    """Eval mode for a while, and no activation in place: it would overwrite what a method has noted of a layer."""
    modes = [(module, module.training) for module in model.modules()]
    in_place = [module for module in model.modules() if vars(module).get("inplace") is True]
    try:
        model.eval()
        for module in in_place:
            module.inplace = False  # type: ignore[assignment]
        yield
    finally:
        for module in in_place:
            module.inplace = True  # type: ignore[assignment]
        for module, was in modes:
            module.training = was


def shuffled(model: nn.Module, seed: int = 0) -> nn.Module:
    """A copy of a network that has learnt nothing: the numbers of each weight in random order.

    So every layer keeps its sizes, and a picture that stays the same shows the architecture, not what was learnt.
    Biases and scales, which have one dimension, stay.

    Source: J. Adebayo et al., Sanity Checks for Saliency Maps, arXiv 1810.03292 (there, weights are drawn anew).
    """
    other, generator = copy.deepcopy(model), generator_of(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.ndim > 1:
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return other


def alike(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of the ranks of pixels between maps `[N, H, W]` and `[N, H, W]`: float64 `[N]`.

    1 where both order all pixels alike, near 0 where they have nothing to do with each other. Equal numbers get the
    mean of their ranks; a map of equal numbers has no order, and gives NaN.
    """
    first, second = (_ranks(maps.flatten(1)) for maps in (one, other))
    first, second = (ranks - ranks.mean(1, keepdim=True) for ranks in (first, second))
    found: Tensor = (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))
    return found


def _ranks(rows: Tensor) -> Tensor:
    found = []
    for row in rows:
        _, places, counts = row.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        found.append((last - (counts.double() - 1) / 2)[places])
    return torch.stack(found)
