"""Loss, accuracy and class probabilities of a network on a split, without training it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.data import Dataset, Part, batches, normalize
from netmorph.engine.allocator import out_of_memory
from netmorph.errors import NetmorphError

# What a network may be asked about an image: itself; and its mirror image; and both, shifted by a pixel to two opposite
# corners (K. Jordan, airbench94, 2024).
VIEWS = (1, 2, 6)


# Images of a batch. On a CPU, larger ones leave its caches: 1024 took twice as long for a ResNet.
CPU_BATCH, BATCH = 128, 1024


@dataclass(frozen=True)
class Metrics:
    """Mean cross-entropy (in nats) and share of right answers over `count` samples."""

    loss: float
    accuracy: float
    count: int


def evaluate(
    model: nn.Module,
    part: Part,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    bf16: bool = False,
    views: int = 1,
    share: tuple[int, int] = (0, 1),
) -> Metrics:
    """Measure a model in eval mode, on the device where it is; its mode is as before afterwards.

    Args:
        model: takes normalized images [N, C, H, W] and gives logits [N, classes].
        part: any images of the data set, for instance `dataset.test`.
        batch_size: images asked about at once; None chooses by the device. Where memory does not suffice, it is halved.
        dataset: gives the mean and standard deviation for normalization.
        views: answer by the mean of the logits of so many views of an image (test-time augmentation), see `VIEWS`.
        share: (k, n) measures the k-th of n shares of the images.

    Raises:
        NetmorphError: the part is empty, or a label or the output does not fit.
    """
    logits, labels = _logits(model, part, dataset, batch_size, bf16, views, share)
    loss = functional.cross_entropy(logits, labels).item()
    return Metrics(loss, int((logits.argmax(1) == labels).sum()) / len(labels), len(labels))


def predict(
    model: nn.Module,
    part: Part,
    dataset: Dataset,
    *,
    batch_size: int | None = None,
    bf16: bool = False,
    views: int = 1,
) -> Tensor:
    """Class probabilities [N, classes] on the CPU, in float32 or wider.

    Their mean over several models is the ensemble's. Arguments and errors are those of `evaluate`.
    """
    logits, _ = _logits(model, part, dataset, batch_size, bf16, views, (0, 1))
    return logits.softmax(1).cpu()


@contextmanager
def mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a model in train or eval mode for a while; every module gets its own mode back afterwards.

    What `stays_in_eval` names is in eval mode in both cases.
    """
    modes = [(module, module.training) for module in model.modules()]
    resting = stays_in_eval(model) if training else []
    try:
        model.train(training)
        for name in resting:
            model.get_submodule(name).training = False
        yield
    finally:
        for module, was in modes:
            module.training = was


def stays_in_eval(model: nn.Module) -> list[str]:
    """Names of the modules that training leaves in eval mode: those that are, beside others in train mode.

    They were put there to stay so, as frozen batch norms are. Where all of a model's modules are in eval mode, the
    model itself only holds them (`nn.Sequential(net.eval())`), and nothing can be told from it.
    """
    modes = {name: module.training for name, module in model.named_modules() if module is not model}
    if not model.training or not any(modes.values()):
        return []
    return [name for name, training in modes.items() if not training]


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    """Autocast to bfloat16 on this device, or nothing: entering a disabled one costs as much as a small layer."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def prepare(
    images: Tensor, dataset: Dataset, like: Tensor, memory_format: torch.memory_format = torch.contiguous_format
) -> Tensor:
    """uint8 images [N, C, H, W] as a model's input: on the device and in the dtype of `like`, normalized."""
    images = images.to(like.device, non_blocking=True)
    return normalize(images, dataset.mean, dataset.std, dtype=like.dtype, memory_format=memory_format)


def examples(dataset: Dataset, model: nn.Module, count: int = 8) -> Tensor:
    """A few training images as the model takes them, to trace it with."""
    return prepare(dataset.train.head(count), dataset, reference(model))


def reference(model: nn.Module) -> Tensor:
    """A tensor with the device and dtype of the model's input: its first floating parameter."""
    return next((parameter for parameter in model.parameters() if parameter.is_floating_point()), torch.empty(0))


def check_part(part: Part, name: str) -> None:
    """Refuse a part without images.

    Raises:
        NetmorphError: there is no image.
    """
    if len(part) == 0:
        raise NetmorphError(f"the {name} split is empty; take more samples, or another share for the split")


def check_logits(logits: object, labels: Tensor, model: nn.Module) -> None:
    """Refuse an output that is not one number for each sample and class.

    Raises:
        NetmorphError: the output is not [N, classes], or a label (of any samples) is outside the classes.
    """
    expected = "logits of shape [samples, classes] were expected"
    if not isinstance(logits, Tensor):
        raise NetmorphError(f"{type(model).__name__} gives {type(logits).__name__}; one tensor of {expected}")
    if logits.dim() != 2:
        raise NetmorphError(f"{type(model).__name__} gives shape {tuple(logits.shape)}; {expected}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise NetmorphError(
            f"the labels go from {low} to {high}, but {type(model).__name__} has outputs for the classes "
            f"0 to {logits.shape[1] - 1}; build it with the data set's class count"
        )


def _logits(
    model: nn.Module,
    part: Part,
    dataset: Dataset,
    batch_size: int | None,
    bf16: bool,
    views: int,
    share: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Logits [N, classes] in float32 or wider, and the labels [N], on the model's device."""
    check_part(part, "given")
    size = batch_size or (CPU_BATCH if reference(model).device.type == "cpu" else BATCH)
    while True:
        try:
            return _answers(model, part, dataset, size, bf16, views, share)
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not out_of_memory(error):
                raise
        size //= 2  # here, where nothing holds what the attempt took any more


def _answers(
    model: nn.Module, part: Part, dataset: Dataset, size: int, bf16: bool, views: int, share: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    like = reference(model)
    found: list[Tensor] = []
    labels: list[Tensor] = []
    with mode(model, training=False), torch.no_grad(), autocast(like.device, bf16):
        for images, targets in batches(part, size * share[1], share=share):
            answers = [model(view) for view in views_of(prepare(images, dataset, like), views)]
            if not found:  # once: comparing labels would hold an accelerator up
                check_logits(answers[0], part.labels, model)
            found.append(mean_answer(answers))
            labels.append(targets)
    if not sum(map(len, labels)):
        raise NetmorphError(
            f"share {share[0]} of {share[1]} shares of {len(part)} images is empty; start fewer processes"
        )
    whole = torch.cat(found)
    return whole, torch.cat(labels).to(whole.device)


def views_of(inputs: Tensor, views: int) -> list[Tensor]:
    """What a network is asked about images [N, C, H, W], see `VIEWS`."""
    if views not in VIEWS:
        raise NetmorphError(f"views must be one of {', '.join(map(str, VIEWS))}; {views!r} was given")
    if views == 1:
        return [inputs]
    shifted = []
    if views == 6:
        wide = functional.pad(inputs, (1, 1, 1, 1), "reflect")
        shifted = [wide[:, :, :-2, :-2], wide[:, :, 2:, 2:]]
    return [view for images in (inputs, *shifted) for view in (images, images.flip(3))]


def mean_answer(answers: list[Tensor]) -> Tensor:
    """The mean of the logits of all views, in float32 or wider."""
    wide = [answer.to(torch.promote_types(answer.dtype, torch.float32)) for answer in answers]
    return wide[0] if len(wide) == 1 else torch.stack(wide).mean(0)
