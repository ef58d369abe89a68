"""Working back from the output: does it tell which layer a chain needs next?

    python -m benchmarks.chain_back [--seeds 5] [--prefixes 20]

For the 8x8 digits, a bank of four networks of one shape, drawn and trained anew for each seed. The dense layer of the
first is detached. From the answers that are wanted, `netmorph.solve.required_input` tells the features that it needs
for them; behind random prefixes each layer of the bank is ranked by how near its features come to those (the mean
cosine, no loss is computed), and by the loss once a head is solved. The second is what search goes by. One thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from benchmarks._intervals import interval
from benchmarks.engine import machine_line
from netmorph import data
from netmorph.bank import Bank, Kind
from netmorph.chain import SOLVED, Chain, DetachedLayers, Pooled, Prefix
from netmorph.data import Dataset
from netmorph.solve import one_hot, required_input
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe

NETWORKS, LAYERS = 4, 4
LEARNT = Recipe(epochs=5, learning_rate=3e-3)
HEAD = str(LAYERS + 2)
ROWS = ("its own head", "a solved head")


def network() -> nn.Sequential:
    """`[N, 1, 8, 8]` -> `[N, 10]`: layers that keep the shape, and a dense one on the mean over positions."""
    convolutions = [nn.Sequential(nn.Conv2d(32 if at else 1, 32, 3, padding=1), nn.ReLU()) for at in range(LAYERS)]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def filled(folder: Path, digits: Dataset, seed: int) -> tuple[Bank, nn.Linear]:
    """The bank, and the dense layer of its first network."""
    torch.manual_seed(seed)
    bank, heads = Bank(folder), []
    for number in range(NETWORKS):
        model = network()
        train(model, digits, LEARNT, seed=number)
        bank.add(model.eval(), examples(digits, model, 2), f"network {number}")
        heads.append(model.get_submodule(HEAD))
    assert isinstance(heads[0], nn.Linear)
    return bank, heads[0]


def nearness(features: Tensor, labels: Tensor, head: nn.Linear) -> float:
    """The mean cosine between features and the smallest that let a head answer with the right classes."""
    wanted = one_hot(labels, 10) - 0.1 + head.bias.detach()
    needed = required_input(head, wanted).input
    return float(functional.cosine_similarity(features.double(), needed).mean())


def ranked(problem: DetachedLayers, prefix: Prefix, head: nn.Linear, end: str) -> dict[str, float]:
    """How well what is needed tells the layers behind a prefix: correlations (Spearman), and the place of the nearest.

    Returns:
        Of each way to end the chain the correlation of nearness and minus the loss, and the share of the layers that
        are better than the nearest one.
    """
    layers = [id for id, fits in zip(problem.layers, problem.allowed(prefix), strict=False) if fits]
    near = [nearness(*problem.held_out((*prefix, id)), head) for id in layers]
    found = {}
    for name, how in zip(ROWS, (end, SOLVED), strict=True):
        losses = [problem.judge(Chain((*prefix, id), how)).loss for id in layers]
        found[name] = float(stats.spearmanr(near, losses).statistic) * -1
        chosen = losses[max(range(len(layers)), key=near.__getitem__)]
        found[f"{name}, better"] = sum(loss < chosen for loss in losses) / (len(layers) - 1)
    return found


def measured(seed: int, prefixes: int) -> dict[str, float]:
    """Means over random prefixes."""
    digits = data.load("digits")
    with tempfile.TemporaryDirectory() as folder:
        bank, head = filled(Path(folder), digits, seed)
        problem = DetachedLayers(
            bank, digits, longest=LAYERS + 1, samples=600, choice=216, seed=seed, readout=Pooled(32)
        )
        ends = [id for id in problem.ends if id != SOLVED]
        end = next(id for id in ends if problem.entries[id].origin.network == "network 0")
        ways_in = [id for id, fits in zip(problem.layers, problem.allowed(()), strict=False) if fits]
        others = [id for id in problem.layers if id not in ways_in and problem.entries[id].kind is Kind.BODY]
        generator = torch.Generator().manual_seed(seed)

        def drawn(layers: Sequence[str]) -> str:
            return layers[int(torch.randint(len(layers), (), generator=generator))]

        rows = []
        for number in range(prefixes):
            prefix = (drawn(ways_in), *(drawn(others) for _ in range(number % LAYERS)))
            rows.append(ranked(problem, prefix, head, end))
        return {name: statistics.mean(row[name] for row in rows) for name in rows[0]}


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain_back", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--prefixes", type=int, default=20, metavar="N", help="(default: %(default)s)")
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(1)
    found = [measured(seed, options.prefixes) for seed in track(range(options.seeds), transient=True)]
    table = Table("the loss is of", "correlation", "layers better than the nearest")
    for name in ROWS:
        better = interval([one[f"{name}, better"] for one in found], "{:.1%}")
        table.add_row(name, interval([one[name] for one in found], "{:.2f}"), better)
    Console().print(machine_line(), table, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
