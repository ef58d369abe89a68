"""A run folder whose start network is born and trained, and what its networks answer."""

from pathlib import Path

import torch
from torch import Tensor

from netmorph.run.names import Stage
from netmorph.search.births import Birth
from netmorph.search.jobs import Training, Worker
from tests.train.tiny import CONFIG

DATA = CONFIG.data.load()
START = Birth(1, None, 11, generations=0)


def started(folder: Path) -> Worker:
    """With a trained start network on the store."""
    worker = Worker(folder, CONFIG, DATA)
    worker(START)
    worker(Training(1, 12, 2))
    return worker


def outputs(worker: Worker, network: int, stage: Stage = Stage.TRAINED) -> Tensor:
    with torch.no_grad():
        return worker.store.take(network, stage)[0].eval()(worker.dataset.validation.inputs[:50].float() / 255)
