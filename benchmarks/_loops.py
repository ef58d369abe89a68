"""One network trained by different loops: the same data, batches, hyper-parameters and whole validation each epoch.

The loops that hold normalized floats pad with the mean colour, the others with black.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset, default_collate

from netmorph.data import Dataset, Part, normalize
from netmorph.errors import require
from netmorph.train.evaluation import CPU_BATCH
from netmorph.train.fit import cropped, set_rate
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import learning_rate_of

VALIDATION_BATCH = CPU_BATCH  # of all loops


class Trained(NamedTuple):
    """Seconds of each epoch, training and validation, and the validation accuracy after the last one."""

    seconds: list[float]
    accuracy: float


Loop = Callable[[nn.Module, Dataset, Recipe, int], Trained]


def plain_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer as people construct it, with PyTorch's choice of implementation."""
    kind, options = _optimizer(recipe)
    return kind(model.parameters(), lr=recipe.learning_rate, **options)


def ordinary(model: nn.Module, dataset: Dataset, recipe: Recipe, seed: int) -> Trained:
    """A DataLoader over PIL images without workers, torchvision's transforms for each, metrics read at every step."""
    training, validating = Pictures(dataset.train, dataset, recipe), Pictures(dataset.validation, dataset)
    torch.manual_seed(seed)
    optimizer = plain_optimizer(model, recipe)
    seconds = []
    for _ in range(recipe.epochs):
        started = perf_counter()
        model.train()
        running_loss, running_correct = 0.0, 0
        for images, labels in DataLoader(training, recipe.batch_size, shuffle=True):
            optimizer.zero_grad()
            logits = model(images)
            loss = functional.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            running_correct += (logits.argmax(1) == labels).sum().item()
        model.eval()
        loss_sum, correct = 0.0, 0
        with torch.no_grad():
            for images, labels in DataLoader(validating, recipe.batch_size):
                logits = model(images)
                loss_sum += functional.cross_entropy(logits, labels).item()
                correct += int((logits.argmax(1) == labels).sum().item())
        seconds.append(perf_counter() - started)
    return Trained(seconds, correct / len(validating))


def bare(model: nn.Module, dataset: Dataset, recipe: Recipe, seed: int) -> Trained:
    """One float tensor in memory, normalized before the clock starts; batches are cut and augmented as a whole.

    The one loop beside ours that follows the recipe's schedule.
    """
    images, validation = _floats(dataset.train, dataset), _floats(dataset.validation, dataset)
    labels, expected = dataset.train.targets, dataset.validation.targets
    torch.manual_seed(seed)
    optimizer = plain_optimizer(model, recipe)
    seconds = []
    for epoch in range(1, recipe.epochs + 1):
        started = perf_counter()
        model.train()
        steps = torch.randperm(len(labels)).split(recipe.batch_size)
        for step, chosen in enumerate(steps):
            set_rate(optimizer, learning_rate_of(recipe, epoch, step, len(steps)))
            optimizer.zero_grad()
            inputs = cropped(images[chosen], recipe, torch.default_generator)
            functional.cross_entropy(model(inputs), labels[chosen]).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            logits = torch.cat([model(batch) for batch in validation.split(VALIDATION_BATCH)])
            functional.cross_entropy(logits, expected).item()
            accuracy = (logits.argmax(1) == expected).double().mean().item()
        seconds.append(perf_counter() - started)
    return Trained(seconds, accuracy)


def lightning(model: nn.Module, dataset: Dataset, recipe: Recipe, seed: int) -> Trained:
    """PyTorch Lightning's Trainer with everything switched off that it does not need to train."""
    library: Any = require("pytorch_lightning", "lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # it tells about devices and products at each start

    class Classifier(library.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.seconds: list[float] = []

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return plain_optimizer(self.model, recipe)

        def on_train_epoch_start(self) -> None:
            self.started = perf_counter()

        def training_step(self, batch: Sequence[Tensor], _: int) -> Tensor:
            images, labels = batch
            return functional.cross_entropy(self.model(images), labels)

        def validation_step(self, batch: Sequence[Tensor], _: int) -> None:
            images, labels = batch
            logits = self.model(images)
            self.log("loss", functional.cross_entropy(logits, labels))
            self.log("accuracy", (logits.argmax(1) == labels).float().mean())

        def on_train_epoch_end(self) -> None:  # the validation is part of the epoch
            self.seconds.append(perf_counter() - self.started)

    training, validating = _tensors(dataset.train, dataset), _tensors(dataset.validation, dataset)
    torch.manual_seed(seed)
    classifier = Classifier()
    trainer = library.Trainer(
        accelerator="cpu",
        max_epochs=recipe.epochs,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to use workers, and deprecations inside Lightning
        trainer.fit(
            classifier,
            DataLoader(training, recipe.batch_size, shuffle=True, collate_fn=_collate(recipe)),
            DataLoader(validating, VALIDATION_BATCH),
        )
    return Trained(classifier.seconds, float(trainer.callback_metrics["accuracy"]))


def skorch(model: nn.Module, dataset: Dataset, recipe: Recipe, seed: int) -> Trained:
    """skorch's NeuralNetClassifier, which validates after each epoch by itself."""
    classifier: Any = require("skorch", "dev").NeuralNetClassifier
    predefined_split: Any = require("skorch.helper", "dev").predefined_split
    kind, options = _optimizer(recipe)
    training, validating = _tensors(dataset.train, dataset), _tensors(dataset.validation, dataset)
    torch.manual_seed(seed)
    net = classifier(
        model,
        criterion=nn.CrossEntropyLoss,
        optimizer=kind,
        lr=recipe.learning_rate,
        max_epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        train_split=predefined_split(validating),
        iterator_train__shuffle=True,
        iterator_train__collate_fn=_collate(recipe),
        iterator_valid__batch_size=VALIDATION_BATCH,
        verbose=0,
        **{f"optimizer__{name}": value for name, value in options.items()},
    )
    net.fit(training, None)
    return Trained(net.history[:, "dur"], net.history[-1, "valid_acc"])


def netmorph_plain(model: nn.Module, dataset: Dataset, recipe: Recipe, seed: int) -> Trained:
    """Ours, in float32."""
    history = train(model, dataset, recipe, seed=seed)
    return Trained([epoch.seconds for epoch in history], history[-1].validation["accuracy"])


def netmorph_fast(model: nn.Module, dataset: Dataset, recipe: Recipe, seed: int) -> Trained:
    """Ours, with the layout and the arithmetic that are faster for most convolutions."""
    return netmorph_plain(model, dataset, replace(recipe, channels_last=True, bf16=True), seed)


def netmorph_compiled(model: nn.Module, dataset: Dataset, recipe: Recipe, seed: int) -> Trained:
    """The same, compiled. The epoch that compiles is not timed; one more is, whose accuracy is not told."""
    fast = replace(recipe, channels_last=True, bf16=True, compile=True, epochs=recipe.epochs + 1)
    history = train(model, dataset, fast, seed=seed)
    return Trained([epoch.seconds for epoch in history[1:]], history[-2].validation["accuracy"])


LOOPS: dict[str, Loop] = {
    "ordinary loop (DataLoader, PIL)": ordinary,
    "bare loop": bare,
    "PyTorch Lightning": lightning,
    "skorch": skorch,
    "netmorph, float32": netmorph_plain,
    "netmorph, channels_last + bf16": netmorph_fast,
}


# The loop that people write for speed, and the fastest of ours.
COMPARED = {name: loop for name, loop in LOOPS.items() if loop in (bare, netmorph_fast)}


class Pictures(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """PIL images, transformed one by one; augmented if a recipe is given that asks for it."""

    def __init__(self, part: Part, dataset: Dataset, recipe: Recipe | None = None) -> None:
        transforms: Any = require("torchvision.transforms", "vision")
        to_picture = transforms.ToPILImage()
        self.pictures = [to_picture(image) for image in part.head(len(part))]
        self.targets: list[int] = part.targets.tolist()
        steps = []
        if recipe is not None and recipe.pad:
            steps.append(
                transforms.RandomCrop(
                    dataset.input_shape[1:],
                    padding=recipe.pad,
                    padding_mode="reflect" if recipe.reflect else "constant",
                )
            )
        if recipe is not None and recipe.flip:
            steps.append(transforms.RandomHorizontalFlip())
        steps += [transforms.ToTensor(), transforms.Normalize(dataset.preparation.mean, dataset.preparation.std)]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pictures[index]), self.targets[index]


def _optimizer(recipe: Recipe) -> tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]:
    decay = {"weight_decay": recipe.decay}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD, decay | {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer], decay


def _floats(part: Part, dataset: Dataset) -> Tensor:
    return normalize(part.head(len(part)), dataset.preparation.mean, dataset.preparation.std)


def _tensors(part: Part, dataset: Dataset) -> TensorDataset:
    return TensorDataset(_floats(part, dataset), part.targets)


def _collate(recipe: Recipe) -> Callable[[list[tuple[Tensor, Tensor]]], tuple[Tensor, Tensor]]:
    """What a DataLoader makes a batch with: augmentation of whole batches, as in the bare loop."""

    def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = default_collate(samples)
        return cropped(images, recipe, torch.default_generator), labels

    return collate
