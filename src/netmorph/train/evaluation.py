"""Loss, accuracy and class probabilities of a network on a split, without training it."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.data import Dataset, Part, batches
from netmorph.errors import NetmorphError
from netmorph.train.advice import out_of_memory
from netmorph.train.inputs import autocast, prepare, reference
from netmorph.train.modes import mode
from netmorph.train.views import mean_answer, views_of

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
        views: answer by the mean of the logits of so many views of an image (test-time augmentation), see
            `netmorph.train.views`.
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
                check_logits(answers[0], part.targets, model)
            found.append(mean_answer(answers))
            labels.append(targets)
    if not sum(map(len, labels)):
        raise NetmorphError(
            f"share {share[0]} of {share[1]} shares of {len(part)} images is empty; start fewer processes"
        )
    whole = torch.cat(found)
    return whole, torch.cat(labels).to(whole.device)
