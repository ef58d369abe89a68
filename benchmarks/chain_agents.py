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
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats
from torch import nn

from benchmarks._intervals import interval
from benchmarks.engine import machine_line
from netmorph import data
from netmorph.bank import Bank, Signature
from netmorph.chain import AGENTS, REWARDS, STATES, Agent, DetachedLayers, Pooled, Trials, search
from netmorph.chain.states import State
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


@dataclass(frozen=True)
class Found:
    """What an agent found on a bank.

    Attributes:
        loss: of its best chain, on the samples kept for the choice.
        foretold: how well it knew what a chain is worth before it was judged, in the second half of its chains:
            Spearman's correlation; 0 of agents that expect nothing.
    """

    loss: float
    foretold: float


def found_by(agent: Agent, bank: Bank, digits: Dataset, budget: int, seed: int, state: State) -> Found:
    """Let an agent search."""
    problem = DetachedLayers(
        bank, digits, longest=LONGEST, samples=600, choice=216, seed=seed, readout=Pooled(128), state=state
    )
    trials = Trials(problem, budget)
    records = search(agent, trials, seed)
    told = [(one.expected, -one.outcome.loss) for one in records[len(records) // 2 :] if one.expected is not None]
    foretold = float(stats.spearmanr(*zip(*told, strict=True)).statistic) if len(told) > 2 else 0.0
    return Found(trials.best().outcome.loss, foretold)


def table(found: dict[str, list[Found]]) -> Table:
    """The mean best loss of each agent, how much lower than random it is, and how well it knew before."""
    shown = Table("agent", "best loss", "minus random", "foretold")
    for name, mine in sorted(found.items(), key=lambda item: statistics.mean(one.loss for one in item[1])):
        less = [one.loss - other.loss for one, other in zip(mine, found["random"], strict=True)]
        foretold = interval([one.foretold for one in mine], "{:.2f}") if any(one.foretold for one in mine) else ""
        better = "" if name == "random" else interval(less, "{:+.4f}")
        shown.add_row(name, interval([one.loss for one in mine], "{:.4f}"), better, foretold)
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
    digits = data.load("digits")
    found: dict[str, list[Found]] = {name: [] for name in names}
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            bank = drawn(Path(folder), seed)
            for name in track(names, f"seed {seed}", transient=True):
                agent, state = AGENTS[name](REWARDS[options.reward]), STATES[options.state]
                found[name].append(found_by(agent, bank, digits, options.budget, seed, state))
    Console().print(machine_line(), table(found), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
