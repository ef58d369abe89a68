"""How many validation images of a folder in ImageNet's layout EfficientNet-Lite0 recognizes with its public weights.

    python -m benchmarks.imagenet_layout path/to/imagenet_samples FOLDER
    python -m benchmarks.recognize FOLDER

The images are streamed (`netmorph.data.stream`): what would go wrong is the order of the classes, the crops, or the
normalization. Needs what `shrink_efficientnet` needs, and folders that are named as ImageNet's 1000 classes are. One
thread; nothing is kept on the disk.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.engine import machine_line, used
from benchmarks.shrink_efficientnet import MEAN, SIDE, STD, efficientnet
from netmorph.data import stream
from netmorph.train import evaluate
from netmorph.workers import keep_freed_memory

BATCH = 50


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recognize", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(arguments).folder
    keep_freed_memory()
    torch.set_num_threads(1)
    print(recognized(efficientnet(), folder, SIDE), machine_line(), used(), sep="\n")


def recognized(model: nn.Module, folder: Path, side: int) -> str:
    """A line that tells how many images of the folder's test part the model recognizes, and how fast.

    Args:
        model: takes images `[N, 3, side, side]`, normalized, and gives logits in the order of the folder's classes.
    """
    dataset = stream(folder, size=side, validation=0, mean=MEAN, std=STD, workers=0, cache_limit=0)
    started = time.perf_counter()
    accuracy = evaluate(model, dataset.test, dataset, batch_size=BATCH)["accuracy"]
    seconds, count = time.perf_counter() - started, len(dataset.test)
    return (
        f"{round(accuracy * count):,} of {count:,} images recognized ({accuracy:.1%}) in {seconds:.0f} s, "
        f"{count / seconds:.1f} images a second"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
