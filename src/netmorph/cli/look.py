"""The commands that look at what a network has learnt: look filters, look saliency, look classes."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netmorph.cli.answers import answer
from netmorph.cli.app import Options, app, options, tell
from netmorph.cli.meaning import size
from netmorph.cli.networks import Against, AgainstBase, AgainstOption, BaseOption, Classes, Input, Network
from netmorph.cli.options import DATA, AsJson, Resize, Seed, picture

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from torch import Tensor, nn

    from netmorph.cli.given import Wanted
    from netmorph.data import Dataset
    from netmorph.look import Method, Sheet

look = typer.Typer(
    name="look",
    help="What a network has learnt, and what an edit made of it: filters, saliency, images that excite a class.",
    no_args_is_help=True,
)
app.add_typer(look)


class MethodName(StrEnum):
    """Ways to find which pixels matter."""

    gradients = "gradients"
    integrated_gradients = "integrated-gradients"
    grad_cam = "grad-cam"


Output = Annotated[
    Path | None,
    typer.Option(
        callback=picture,
        help="*.svg: pictures; *.html: a page; *.json: the numbers, which pictures have beside them, too.",
    ),
]
Random = Annotated[
    bool,
    typer.Option(
        "--random/--no-random", help="Show a network that has learnt nothing beside it: its weights in random order."
    ),
]
Images = Annotated[
    str,
    typer.Option(
        "--data",
        help="The images on which it was trained: digits, mnist, cifar10 ..., or a folder.",
        rich_help_panel=DATA,
    ),
]


@look.command()
def filters(
    model: Network,
    layer: Annotated[
        str | None, typer.Option(help="A convolution or a linear layer.", show_default="the first one")
    ] = None,
    against: Against = None,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Draw the weights of the layer as one matrix, deep layers for instance.")
    ] = False,
    output: Output = None,
    as_json: AsJson = False,
    input_shape: Input = None,
    option: Options = None,
    classes: Classes = None,
    base: BaseOption = None,
    against_option: AgainstOption = None,
    against_base: AgainstBase = None,
) -> None:
    """The filters of a layer; with --against, what became of them, and which are new.

    Filters of a convolution are its kernels; of a linear layer that reads the pixels, its rows. What --against has more
    of is new, and stands behind the others, as in every widening of netmorph; below the others stands the cosine.

    Examples:

      netmorph look filters torchvision:resnet18 --option weights=DEFAULT

      netmorph look filters runs/digits-1:1 --against runs/digits-1 --output filters.html

      netmorph look filters lenet5 --layer conv2 --matrix
    """
    from netmorph.cli.given import Wanted, other_than, shape_of
    from netmorph.look import filter_sheet, layers, matrix_sheet
    from netmorph.look import filters as filters_of
    from netmorph.look import matrix as as_matrix

    wanted = Wanted(model, base, shape_of(input_shape), classes, options(option))
    asked = _with(wanted, other_than(wanted, against, against_base, options(against_option)))
    networks = [_built(wanted) for wanted in asked]
    path = layer or next(iter(layers(networks[0][0])), "")
    found = [filters_of(network, path, _read(network, path, shape)) for network, shape in networks]
    title = f"{' → '.join(wanted.model for wanted in asked)}: {path}"
    if matrix:
        names = ["before", "after"] if len(found) > 1 else [""]
        sheet = matrix_sheet({name: as_matrix(kernels) for name, kernels in zip(names, found, strict=True)}, title)
    else:
        sheet = filter_sheet(found[0], title, found[1] if len(found) > 1 else None)
    _write(sheet, output, "filters", as_json)


@look.command()
def saliency(
    model: Network,
    data: Images,
    method: Annotated[
        MethodName,
        typer.Option(help="Gradients of the logit; these integrated from the mean image; or where maps have evidence."),
    ] = MethodName.gradients,
    layer: Annotated[
        str | None, typer.Option(help="For grad-cam: the layer with the maps.", show_default="the last convolution")
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=12, help="Test images, of one class after another.")] = 6,
    against: Against = None,
    random: Random = True,
    output: Output = None,
    as_json: AsJson = False,
    resize: Resize = None,
    option: Options = None,
    base: BaseOption = None,
    against_option: AgainstOption = None,
    against_base: AgainstBase = None,
) -> None:
    """Which pixels of test images the true class hangs on; needs captum.

    Below the maps stands how alike they are to those in the first row (Spearman's correlation of pixels). A map that is
    like that of a network that has learnt nothing tells of the architecture, not of what was learnt.

    Examples:

      netmorph look saliency runs/digits-1 --data digits

      netmorph look saliency runs/digits-1:1 --against runs/digits-1 --data digits --method grad-cam
    """
    from netmorph.cli.given import Wanted, other_than
    from netmorph.errors import require
    from netmorph.look import saliency as saliency_of
    from netmorph.look import saliency_sheet

    require("captum.attr", "look")  # before the data are read, not after
    loaded = _images(data, resize)
    wanted = Wanted(model, base, loaded.input_shape, len(loaded.classes), options(option))
    networks = _named(wanted, other_than(wanted, against, against_base, options(against_option)), random)
    stored, labels = _one_a_class(loaded, images)
    maps = {}
    for name, network in networks.items():
        inputs = loaded.preparation(stored, next(network.parameters()))
        maps[name] = saliency_of(network, inputs, labels, _method(method, layer, network, inputs))
    names = [loaded.classes[label] for label in labels.tolist()]
    title = f"{model}: what answers hang on, by {method.replace('-', ' ')}"
    _write(saliency_sheet(stored.double() / 255, maps, title, names), output, "saliency", as_json)


@look.command("classes")
def excited(
    model: Network,
    data: Images,
    count: Annotated[int, typer.Option("--classes", min=1, max=12, help="The first so many classes.")] = 6,
    layer: Annotated[
        str | None, typer.Option(help="Excite the first channels of this layer, in place of classes.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of Adam.")] = 128,
    seed: Seed = 0,
    against: Against = None,
    random: Random = True,
    output: Output = None,
    as_json: AsJson = False,
    resize: Resize = None,
    option: Options = None,
    base: BaseOption = None,
    against_option: AgainstOption = None,
    against_base: AgainstBase = None,
) -> None:
    """Images that excite classes most, or channels of a layer, found by gradients.

    Examples:

      netmorph look classes runs/digits-1 --data digits

      netmorph look classes runs/digits-1:1 --against runs/digits-1 --data digits --output classes.html

      netmorph look classes runs/digits-1 --data digits --layer conv2
    """
    from netmorph.cli.given import Wanted, other_than
    from netmorph.data import Pixels
    from netmorph.look import colours, excite, excited_sheet, normalized, of_channels, of_classes

    loaded = _images(data, resize)
    wanted = Wanted(model, base, loaded.input_shape, len(loaded.classes), options(option))
    networks = _named(wanted, other_than(wanted, against, against_base, options(against_option)), random)
    pixels = loaded.preparation
    assert isinstance(pixels, Pixels)  # of images, which `_images` asked for
    count = count if layer else min(count, len(loaded.classes))
    found = {
        name: excite(
            network,
            of_channels(layer, range(count)) if layer else of_classes(range(count)),
            loaded.input_shape,
            count,
            prepare=normalized(pixels),
            mixing=colours(loaded.train.head(1000)),
            steps=steps,
            seed=seed,
        )
        for name, network in networks.items()
    }
    names = [f"{layer} {channel + 1}" for channel in range(count)] if layer else loaded.classes[:count]
    what = f"channels of {layer}" if layer else "classes"
    _write(excited_sheet(found, f"{model}: what excites {what}", names), output, "classes", as_json)


def _with(wanted: Wanted, other: Wanted | None) -> list[Wanted]:
    return [wanted] if other is None else [wanted, other]


def _built(wanted: Wanted) -> tuple[nn.Module, tuple[int, ...]]:
    """The network, and the shape of one of its inputs."""
    from torch import Tensor
    from torch.utils._pytree import tree_leaves

    from netmorph.cli.given import network

    model, inputs, _ = network(wanted)
    first = next(leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor))
    return model, tuple(first.shape[1:])


def _read(model: nn.Module, path: str, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of the images that a linear layer reads, where it reads as many numbers as they have."""
    from torch import nn

    module = dict(model.named_modules()).get(path)
    reads = isinstance(module, nn.Linear) and len(shape) == 3 and module.in_features == math.prod(shape)
    return shape if reads else None


def _named(wanted: Wanted, other: Wanted | None, random: bool) -> dict[str, nn.Module]:
    """The networks by what they are called in a picture."""
    from netmorph.look import shuffled

    networks = [_built(one)[0].double() for one in _with(wanted, other)]  # what is equal is seen to be
    names = ["trained"] if other is None else ["before", "after"]
    found = dict(zip(names, networks, strict=True))
    return found | ({"nothing learnt": shuffled(networks[-1])} if random else {})


def _images(name: str, resize: str | None) -> Dataset:
    from netmorph.data import load
    from netmorph.look import LookError

    data = load(name, size=size(resize))
    if not data.has_images or not data.classes:
        raise LookError(f"{name} holds no images in classes; give images to --data, such as digits or cifar10")
    return data


def _one_a_class(data: Dataset, count: int) -> tuple[Tensor, Tensor]:
    """The first test images of one class after another: uint8 [N, C, H, W], and their labels [N]."""
    import torch

    labels = data.test.targets
    places = [(labels == label).nonzero().flatten() for label in range(len(data.classes))]
    order = torch.cat([torch.arange(len(found)) * len(places) + label for label, found in enumerate(places)])
    chosen = torch.cat(places)[order.argsort()[:count]]
    return next(data.test.cut(count, chosen))


def _method(name: MethodName, layer: str | None, network: nn.Module, inputs: Tensor) -> Method:
    from netmorph.look import grad_cam, gradients, integrated_gradients, last_maps

    if name is MethodName.grad_cam:
        return grad_cam(layer or last_maps(network, inputs[:1]))
    return gradients if name is MethodName.gradients else integrated_gradients


def _write(sheet: Sheet, output: Path | None, name: str, as_json: bool) -> None:
    path = sheet.save(output or Path(f"{name}.svg"))
    tell(f"Pictures: {path}")
    if path.suffix != ".json":
        tell(f"Numbers: {path.with_suffix('.json')}")
    for note in sheet.notes:
        tell(f"  {note}")
    if as_json:
        answer("look", {"pictures": str(path), **sheet.as_json(values=False)})
