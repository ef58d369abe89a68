"""What new channels learn, and whether old ones move: the gallery of docs/pictures.md.

    python -m benchmarks.eyes [FOLDER] [--page docs/pictures.md]

On MNIST and CIFAR-10 small networks with four channels in their first layer are trained, widened to eight by R2R,
Net2Net and random padding, and trained on; so is one of two linear layers on MNIST, and one on CIFAR-10 gets a new
first layer. Their filters, saliency maps and what excites their classes are drawn before, right after the edit and
after training, beside a network that has learnt nothing. Trained in float32, looked at in float64; one seed, one
thread, about a minute. Data from NETMORPH_DATA, or downloaded; needs captum. The folder gets pictures and their
numbers; the page, the tables between its two marks.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import process_time

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import netmorph
from benchmarks._shrink_tables import table
from benchmarks.engine import machine_line
from netmorph import look
from netmorph.data import Dataset, Pixels, Split, batches
from netmorph.files import write_text
from netmorph.graph import Graph
from netmorph.measure import twin_distances
from netmorph.train import evaluate
from netmorph.widenings import net2net, r2r, random_pad
from netmorph.workers import keep_freed_memory

BEFORE, AFTER, BATCH, RATE, SEED = 2, 3, 64, 2e-3, 0  # epochs before and after the edit
OLD, WIDE = 4, 8
DATA = ("mnist", "cifar10")
WAYS = {"R2R": r2r, "Net2Net": net2net, "random padding": random_pad}
MARKS = "<!-- benchmarks.eyes: begin -->\n", "<!-- benchmarks.eyes: end -->"
EDIT, END = "edit", f"epoch {AFTER}"
METHODS: dict[str, Callable[[str], look.Method]] = {
    "gradients": lambda layer: look.gradients,
    "integrated gradients": lambda layer: look.integrated_gradients,
    "Grad-CAM": look.grad_cam,
}


@dataclass(frozen=True)
class Subject:
    """What is trained, and looked at.

    Attributes:
        build: the network.
        layer: the first one, which is widened.
        maps: the layer for Grad-CAM; none where there are no maps.
        image: of a first layer that is linear.
    """

    title: str
    name: str
    data: Dataset
    build: Callable[[], nn.Module]
    layer: str
    maps: str = ""
    image: tuple[int, ...] | None = None


@dataclass
class Learner:
    """A network in training, and what was seen of it."""

    graph: Graph
    optimizer: torch.optim.Optimizer
    course: look.Course | None = None
    steps: int = 0
    parted: int | None = None
    started: nn.Module | None = field(default=None)

    def learn(self, data: Dataset, epochs: int) -> Learner:
        """So many epochs; the twins are looked at before each step."""
        model, group = self.graph.model, self.course and self.course.group
        for epoch in range(epochs):
            generator = torch.Generator().manual_seed(SEED + epoch)
            for images, labels in batches(data.train, BATCH, generator=generator):
                self.optimizer.zero_grad()
                cross_entropy(model(data.preparation(images, next(model.parameters()))), labels).backward()
                self.optimizer.step()
                self.steps += 1
                if group and self.parted is None and twin_distances(self.graph).get(group, 0.0) >= 0.01:
                    self.parted = self.steps
            if self.course is not None:
                self.course.look(f"epoch {epoch + 1}")
        return self


def shortened(data: Dataset, train: int, test: int) -> Dataset:
    """The first images of both parts."""
    parts = {
        name: Split(part.head(count), part.targets[:count])
        for name, part, count in (("train", data.train, train), ("test", data.test, test))
    }
    return replace(data, **parts)


def mnist_network() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, OLD, 7, padding=3),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(OLD, 12, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(12 * 25, 10),
        )
    )


def cifar_network() -> nn.Module:
    """The first layer scales each colour, as networks do that take pixels: behind it a new first layer can go."""
    scale = nn.Conv2d(3, 3, 1, groups=3)
    nn.init.ones_(scale.weight)
    nn.init.zeros_(scale.bias)  # type: ignore[arg-type]
    return nn.Sequential(
        OrderedDict(
            scale=scale,
            conv1=nn.Conv2d(3, OLD, 7, padding=3),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(OLD, 16, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(16, 32, 3, padding=1),
            relu3=nn.ReLU(),
            pool3=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(32 * 16, 10),
        )
    )


def linear_network() -> nn.Module:
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), fc1=nn.Linear(784, OLD), fc2=nn.Linear(OLD, 10)))


def start(subject: Subject) -> Learner:
    """Trained with four channels."""
    torch.manual_seed(SEED)
    model = subject.build()
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    graph = netmorph.trace(model, subject.data.preparation(subject.data.train.head(8), next(model.parameters())))
    return Learner(graph, optimizer).learn(subject.data, BEFORE)


def edited(subject: Subject, learner: Learner, edit: Callable[[Graph], netmorph.edit.Edit], layer: str) -> Learner:
    """A copy of the learner, edited and trained on; with the network as it was right behind the edit."""
    model = copy.deepcopy(learner.graph.model)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    optimizer.load_state_dict(copy.deepcopy(learner.optimizer.state_dict()))
    graph = netmorph.trace(model, learner.graph.inputs)
    before = look.filters(model, layer, subject.image) if layer == subject.layer else None
    graph = netmorph.apply(graph, edit(graph), optimizer)
    course = look.Course(graph, layer if before is not None else new_layer(graph), subject.image, before)
    found = Learner(graph, optimizer, course, started=copy.deepcopy(model))
    return found.learn(subject.data, AFTER)


def new_layer(graph: Graph) -> str:
    """The first layer with kernels wider than a pixel."""
    kernels = ((path, module) for path, module in look.layers(graph.model).items() if isinstance(module, nn.Conv2d))
    return next(path for path, module in kernels if module.kernel_size != (1, 1))


def images_of(subject: Subject, count: int, model: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Test images from 0 to 1, as the network takes them, and their classes: the first of each class."""
    targets = subject.data.test.targets
    places = torch.stack([(targets == label).nonzero()[0, 0] for label in range(count)])
    [(stored, classes)] = subject.data.test.cut(count, places)
    return stored.double() / 255, subject.data.preparation(stored, next(model.parameters())), classes


def networks(learner: Learner, grown: Learner) -> dict[str, nn.Module]:
    """Those that saliency and classes are drawn of."""
    assert grown.started is not None
    models = {
        "before": learner.graph.model,
        "right after R2R": grown.started,
        f"{AFTER} epochs later": grown.graph.model,
        "nothing learnt": look.shuffled(grown.graph.model),
    }
    return {name: copy.deepcopy(model).double() for name, model in models.items()}


def saliency(subject: Subject, models: Mapping[str, nn.Module], drawn: str) -> tuple[look.Sheet, list[list[str]]]:
    """Maps by one method as a picture, and by all as lines of a table."""
    some = next(iter(models.values()))
    shown, images, classes = images_of(subject, 6, some)
    lines, sheets = [], {}
    for name, method in METHODS.items():
        maps = {which: look.saliency(model, images, classes, method(subject.maps)) for which, model in models.items()}
        first = maps["before"]
        errors = (maps["right after R2R"] - first).abs().amax() / first.abs().amax()
        same = [f"{float(look.alike(first, other).nanmean()):.2f}" for other in [*maps.values()][1:]]
        lines.append([subject.title, name, f"{float(errors):.1g}", *same])
        names = [subject.data.classes[label] for label in classes.tolist()]
        sheets[name] = look.saliency_sheet(shown, maps, f"{subject.title}: what an answer hangs on, by {name}", names)
    return sheets[drawn], lines


def classes(subject: Subject, models: Mapping[str, nn.Module], steps: int) -> tuple[look.Sheet, list[str]]:
    """What excites the first classes most."""
    count = 6
    pixels, preparation = subject.data.train.head(1000), subject.data.preparation
    assert isinstance(preparation, Pixels)
    prepare = look.normalized(preparation)
    found = {
        name: look.excite(
            model,
            look.of_classes(range(count)),
            subject.data.input_shape,
            count,
            prepare=prepare,
            mixing=look.colours(pixels),
            steps=steps,
        )
        for name, model in models.items()
    }
    names = [*subject.data.classes[:count]]
    difference = (found["right after R2R"].images - found["before"].images).abs().max()
    scores = [f"{float(one.scores.mean()):.1f}" for one in found.values()]
    sheet = look.excited_sheet(found, f"{subject.title}: what excites a class", names)
    return sheet, [subject.title, f"{float(difference):.1g}", *scores]


def accuracy(subject: Subject, model: nn.Module) -> float:
    return evaluate(model, subject.data.test, subject.data)["accuracy"]


def gallery(folder: Path, small: bool = False) -> str:
    """Draw everything, and tell it as a part of a page."""
    data = {name: shortened(netmorph.data.load(name), *((128, 100) if small else (6000, 2000))) for name in DATA}
    mnist = Subject("MNIST", "mnist", data["mnist"], mnist_network, "conv1", "conv2")
    cifar = Subject("CIFAR-10", "cifar10", data["cifar10"], cifar_network, "conv1", "conv3")
    linear = Subject("MNIST, two linear layers", "linear", data["mnist"], linear_network, "fc1", image=(1, 28, 28))
    pictures: dict[str, look.Sheet] = {}
    filters: list[list[str]] = []
    maps: list[list[str]] = []
    excited: list[list[str]] = []
    for subject in (mnist, linear, cifar):
        print(f"{subject.title}: {process_time():.0f} s", file=sys.stderr)
        learner = start(subject)
        grown = {
            name: edited(
                subject, learner, partial(netmorph.widen, group=subject.layer, to=WIDE, method=way), subject.layer
            )
            for name, way in WAYS.items()
        }
        pictures[f"eyes-{subject.name}"] = beside(subject, grown)
        filters += [line(subject, learner, name, one) for name, one in grown.items()]
        if subject is linear:
            pictures["eyes-through"] = seen_through(learner, grown["R2R"])
            continue
        models = networks(learner, grown["R2R"])
        drawn = "integrated gradients" if subject is mnist else "Grad-CAM"
        pictures[f"eyes-saliency-{subject.name}"], lines = saliency(subject, models, drawn)
        maps += lines
        pictures[f"eyes-classes-{subject.name}"], told = classes(subject, models, 4 if small else 96)
        excited.append(told)
        if subject is cifar:
            pictures["eyes-first"] = new_first(subject, learner)
    for name, sheet in pictures.items():
        sheet.save(folder / f"{name}.svg", values=False)
    return page(pictures, filters, maps, excited)


def beside(subject: Subject, grown: Mapping[str, Learner]) -> look.Sheet:
    """The filters before, and by each way at the edit and after training."""
    courses = {name: one.course for name, one in grown.items() if one.course is not None}
    title = f"{subject.title}: the first layer, four channels widened to eight"
    first = next(iter(courses.values())).sheet(title, ["before"])
    return look.below(title, {"": first, **{name: one.sheet(title, [EDIT, END]) for name, one in courses.items()}})


def line(subject: Subject, learner: Learner, name: str, grown: Learner) -> list[str]:
    """Whether the old ones moved, and when the twins parted."""
    assert grown.course is not None
    assert grown.started is not None
    last = grown.course.looks[-1]
    old, new = last.moved[:OLD], last.moved[OLD:]
    twins = any(one.mark == "twin" for one in grown.course.kin)
    parted = "no twins" if not twins else "never" if grown.parted is None else f"step {grown.parted}"
    apart = "–" if last.twins is None else f"{last.twins:.2f}"
    models = learner.graph.model, grown.started, grown.graph.model
    return [
        *(subject.title, name, f"{min(old):.3f} to {max(old):.3f}", f"{min(new):.3f} to {max(new):.3f}", parted, apart),
        *(f"{100 * accuracy(subject, model):.1f}" for model in models),
    ]


def seen_through(learner: Learner, grown: Learner) -> look.Sheet:
    """What the ten outputs of two linear layers see of an image."""
    assert grown.started is not None
    models = {
        "before": learner.graph.model,
        "right after R2R": grown.started,
        f"{AFTER} epochs later": grown.graph.model,
    }
    sheets = {
        name: look.filter_sheet(
            look.through(look.filters(model, "fc1", (1, 28, 28)), model.get_submodule("fc2").weight.detach()),
            name,
            columns=10,
            names=list("0123456789"),
        )
        for name, model in models.items()
    }
    return look.below("MNIST: what each digit's output sees through two linear layers", sheets)


def new_first(subject: Subject, learner: Learner) -> look.Sheet:
    """A new first layer, by identity and as a residual block."""
    ways = {
        "identity": partial(netmorph.identity, after="scale", kernel=5),
        "residual block": partial(netmorph.residual, after="scale", hidden=6, kernel=5),
    }
    title = f"{subject.title}: a new first layer"
    sheets = {}
    for name, way in ways.items():
        course = edited(subject, learner, way, "").course
        assert course is not None
        sheets[name] = course.sheet(title, [EDIT, END])
    return look.below(title, sheets)


def page(
    pictures: Mapping[str, look.Sheet],
    filters: Sequence[Sequence[str]],
    maps: Sequence[Sequence[str]],
    excited: Sequence[Sequence[str]],
) -> str:
    """The tables and pictures as Markdown."""
    columns = (
        *(
            "",
            "widened by",
            f"old filters, cosine after {AFTER} epochs",
            "new ones",
            "twins part at",
            "their distance then",
        ),
        *("test accuracy before, %", "at the edit", f"after {AFTER} epochs"),
    )
    later, random = f"{AFTER} epochs later", "nothing learnt"
    shown = "\n\n".join(f"![{sheet.title}](images/{name}.svg)" for name, sheet in pictures.items())
    return "\n\n".join(
        [
            f"Measured on {machine_line()}.",
            table(columns, filters),
            "How alike saliency maps are to those of before (Spearman's correlation of pixels, mean of six images):",
            table(("", "method", "largest relative difference at the edit", "at the edit", later, random), maps),
            "The mean logit that an image reaches that excites a class:",
            table(("", "largest difference of a pixel at the edit", "before", "at the edit", later, random), excited),
            shown,
        ]
    )


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eyes", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("eyes"), help="(default: %(default)s)")
    parser.add_argument("--page", type=Path, help="write tables and pictures between the two marks of this page")
    parser.add_argument("--small", action="store_true", help="128 images only, to see that it works")
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(1)
    keep_freed_memory()
    began = process_time()
    told = gallery(options.folder, options.small)
    console = Console()
    console.print(told, markup=False, soft_wrap=True)
    console.print(f"{process_time() - began:.0f} seconds of one core; pictures: {options.folder}")
    if options.page is not None:
        head, _, rest = options.page.read_text(encoding="utf-8").partition(MARKS[0])
        write_text(options.page, f"{head}{MARKS[0]}\n{told}\n\n{MARKS[1]}{rest.partition(MARKS[1])[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
