"""ResNet-9 to 94% on CIFAR-10, as in DAWNBench: accuracy, seconds and FLOPs, epoch by epoch.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --device cpu --width 0.25 --epochs 8

All 50,000 training images are learnt. The accuracy is that of the test images after each epoch, without test-time
augmentation; no choice is made by it. The record to compare with is airbench94 (K. Jordan, 2024): 94% after 3.6e14
FLOPs, in 3.8 seconds on one A100.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from netmorph import zoo
from netmorph.data import Dataset, load
from netmorph.measure.cost import cost
from netmorph.run.machine import machine, versions
from netmorph.train.history import Epoch
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe

GOAL = 0.94
RECORD_FLOPS = 3.6e14
# D. Page, How to train your ResNet, 2018: the rate rises for 5 of 24 epochs to 0.4 and falls to zero.
RECIPE = Recipe(
    epochs=24,
    batch_size=512,
    optimizer="sgd",
    learning_rate=0.4,
    weight_decay=5e-4,
    schedule="linear",
    warmup=0.2,
    pad=4,
    flip=True,
    label_smoothing=0.2,
    bf16=True,
    channels_last=True,
)


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    dataset = tested(load("cifar10", validation=0))
    torch.manual_seed(options.seed)
    model = zoo.build("resnet9", dataset.input_shape, len(dataset.classes), width=options.width)
    costs = cost(model, examples(dataset, model, 2))
    flops = costs.training_flops * len(dataset.train)
    on_gpu = torch.device(options.device).type == "cuda"
    where = torch.cuda.get_device_name(options.device) if on_gpu else f"{torch.get_num_threads()} threads"
    print(", ".join(f"{name} {value}" for name, value in (versions() | machine()).items()) + f"; {where}")
    print(f"ResNet-9, width {options.width}: {costs.parameters:,} parameters, {flops:.3g} training FLOPs an epoch")
    print(f"{'epoch':>5}{'loss':>9}{'test accuracy':>15}{'seconds':>9}{'in all':>9}{'FLOPs':>10}{'of the record':>15}")
    spent = 0.0

    def tell(epoch: Epoch) -> None:
        nonlocal spent
        spent += epoch.seconds
        used = flops * epoch.epoch
        reached = " *" if epoch.validation["accuracy"] >= GOAL else ""
        print(
            f"{epoch.epoch:>5}{epoch.train['loss']:>9.4f}{epoch.validation['accuracy']:>15.2%}{epoch.seconds:>9.2f}{spent:>9.1f}"
            f"{used:>10.3g}{used / RECORD_FLOPS:>15.2f}{reached}",
            flush=True,
        )

    # The first epoch's seconds include the compilation.
    recipe = replace(RECIPE, epochs=options.epochs, compile=on_gpu)
    train(model, dataset, recipe, seed=options.seed, device=options.device, on_epoch=tell)


def tested(dataset: Dataset) -> Dataset:
    """Validated on the test images, to follow the accuracy; the last epoch's is the result, whichever was best."""
    return replace(dataset, validation=dataset.test)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="(default: %(default)s)")
    parser.add_argument("--width", type=float, default=1.0, help="of the network (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
