"""Every agent on small banks of random layers for the digits: the best loss of as many distinct chains, beside random.

    python -m benchmarks.chain_agents [AGENT ...] [--seeds 5] [--budget 300] [--reward layer] [--state layers]

A bank, drawn anew for each seed, has three ways in and twelve random layers; chains have at most six. Differences are
paired by seed. One thread.
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
from torch import nn

from benchmarks._intervals import interval
from benchmarks.engine import machine_line
from netmorph import data
from netmorph.bank import Bank, Signature
from netmorph.chain import AGENTS, REWARDS, STATES, Agent, DetachedLayers, Pooled, State, Trials, search
from netmorph.data import Dataset

WAYS_IN, RANDOM_LAYERS, LONGEST = 3, 12, 6
NAMES = ("random", "local", "beam", "tree", "reinforce", "actor-critic")


def drawn(folder: Path, seed: int) -> Bank:
    """A bank of layers that nobody trained."""
    torch.manual_seed(seed)
    bank = Bank(folder)
    for number in range(WAYS_IN):
        way_in = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
        bank.add_whole(way_in, torch.randn(2, 1, 8, 8), f"way in {number}")
    bank.add_random(Signature((8, 8, 8), "float32", 0, (False, False, False)), RANDOM_LAYERS, seed)
    return bank


def best_loss(agent: Agent, bank: Bank, digits: Dataset, budget: int, seed: int, state: State) -> float:
    """Of the chains that an agent found, on the samples kept for the choice."""
    sizes = {"longest": LONGEST, "samples": 600, "choice": 216}
    problem = DetachedLayers(bank, digits, seed=seed, readout=Pooled(128), state=state, **sizes)
    trials = Trials(problem, budget)
    search(agent, trials, seed)
    return trials.best().outcome.loss


def table(losses: dict[str, list[float]]) -> Table:
    """The mean best loss of each agent, and how much lower than random it is."""
    shown = Table("agent", "best loss", "minus random")
    for name, found in sorted(losses.items(), key=lambda item: statistics.mean(item[1])):
        less = [one - other for one, other in zip(found, losses["random"], strict=True)]
        shown.add_row(name, interval(found, "{:.4f}"), "" if name == "random" else interval(less, "{:+.4f}"))
    return shown


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain_agents", description=__doc__.partition("\n")[0])
    parser.add_argument("agents", nargs="*", metavar="AGENT", help=", ".join(AGENTS))
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--budget", type=int, default=300, metavar="N", help="distinct chains (default: %(default)s)")
    parser.add_argument("--reward", choices=REWARDS, default="end", help="of agents that learn (default: end)")
    parser.add_argument("--state", choices=STATES, default="features", help="that they see (default: features)")
    options = parser.parse_args(list(arguments))
    if unknown := set(options.agents) - set(AGENTS):
        parser.error(f"no agent {', '.join(map(repr, unknown))}; there are {', '.join(AGENTS)}")
    names = dict.fromkeys(("random", *(options.agents or NAMES)))
    torch.set_num_threads(1)
    digits, losses = data.load("digits"), {name: [] for name in names}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            bank = drawn(Path(folder), seed)
            for name in track(names, f"seed {seed}", transient=True):
                agent, state = AGENTS[name](REWARDS[options.reward]), STATES[options.state]
                losses[name].append(best_loss(agent, bank, digits, options.budget, seed, state))
    Console().print(machine_line(), table(losses), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
