"""A search for a chain in a folder: what was asked for, what was judged, the network, and a page about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from netmorph.bank import Bank, Entry, EntryError
from netmorph.chain import (
    AGENTS,
    REWARDS,
    STATES,
    ChainError,
    DetachedLayers,
    Link,
    Record,
    Trials,
    assembled,
    cheap,
    lineage,
    search,
)
from netmorph.chain.journal import Journal
from netmorph.data import Dataset
from netmorph.errors import require, suggest
from netmorph.export import write_code
from netmorph.files import write_text
from netmorph.graph import trace
from netmorph.report.chaining import Searched, write_page
from netmorph.run.config import DataConfig, begun_with, data_of
from netmorph.run.lock import RunLock
from netmorph.run.machine import machine, versions
from netmorph.showing import Shows, View
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples
from netmorph.wording import flops_text

CONFIG, RESULT, NETWORK = "chain.json", "result.json", "network.py"
RANDOM = "random"
MEBIBYTE = 2**20


@dataclass(frozen=True)
class ChainConfig:
    """What a search was asked to do, as plain values.

    Attributes:
        bank: its folder.
        data: see `DataConfig`.
        entries: the layers of the bank that may be used; those of its beginning, so that it goes on with the same.
        fingerprint: of the data, for the same reason.
        agent: a name of `netmorph.chain.AGENTS`.
        reward: of `netmorph.chain.REWARDS`.
        state: of `netmorph.chain.STATES`.
        budget: distinct chains, of the agent and as many of random search beside it.
        price: loss that a FLOP of a sample's forward pass costs.
        memory: MiB of features that are kept.
        longest, samples, choice, stitches, detached_ends: see `netmorph.chain.DetachedLayers`.
        beside: let random search stand beside the agent.
        seed: of samples and agents.
        device: where layers are run.
        threads: of this process; part of what decides the numbers.
    """

    bank: str
    data: DataConfig
    entries: tuple[str, ...] = ()
    fingerprint: str = ""
    agent: str = "beam"
    reward: str = "end"
    state: str = "features"
    budget: int = 200
    price: float = 0.0
    longest: int = 8
    samples: int = 2000
    choice: int = 1000
    memory: int = 1024
    stitches: bool = False
    detached_ends: bool = True
    beside: bool = True
    seed: int = 0
    device: str = "cpu"
    threads: int = 1

    @property
    def searches(self) -> tuple[str, ...]:
        """The agents that search, the one that was asked for first."""
        return (self.agent,) if self.agent == RANDOM or not self.beside else (self.agent, RANDOM)

    @staticmethod
    def read(folder: Path) -> ChainConfig:
        """The config that a folder began with.

        Raises:
            ChainError: there is none, or it is damaged.
        """

        def made(told: dict[str, Any]) -> ChainConfig:
            return ChainConfig(**told | {"data": data_of(told), "entries": tuple(told["entries"])})

        return begun_with(folder / CONFIG, made, "search", ChainError)


@dataclass(frozen=True, eq=False, repr=False)
class Finished(Shows):
    """What a search found.

    Attributes:
        best: the chain that was chosen.
        links: where its layers are from.
        network: the chain as a network.
        test: its accuracy on the test part.
        searched: of each agent all that it judged, the one that was asked for first.
        code: the network as plain Python, its weights beside it; page: the report.
    """

    best: Record
    links: tuple[Link, ...]
    network: nn.Sequential
    test: float
    searched: tuple[Searched, ...]
    code: Path
    page: Path

    def view(self) -> View:
        """A row for each layer of the chain."""
        outcome = self.best.outcome
        return View(
            f"Chain of {len(self.links)} layers: test accuracy {self.test:.2%}, {outcome.parameters:,} parameters, "
            f"{flops_text(outcome.flops)}",
            ("name", "layer", "of network", "path there", "stitched"),
            ((link.name, link.id, link.network, link.path, link.is_stitched) for link in self.links),
            notes=[
                f"{one.agent}: {len(one.records)} chains judged, test accuracy of the best {one.test:.2%}"
                for one in self.searched
            ],
        )


def create(folder: Path, config: ChainConfig, dataset: Dataset) -> ChainConfig:
    """Start the folder of a search, once bank, data and names are known to work together.

    Returns:
        The config with the layers that may be used.

    Raises:
        NetmorphError: they do not, or the folder is not free.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ChainError(f"{folder} is not an empty folder; go on with --resume {folder}, or choose another folder")
    for name, known in ((config.agent, AGENTS), (config.reward, REWARDS), (config.state, STATES)):
        if name not in known:
            raise ChainError(f"{name!r} is none of {', '.join(known)}{suggest(name, known)}")
    for package in ("matplotlib", "jinja2"):  # before minutes of searching, not after
        require(package, "report")
    if config.agent == "ppo":
        require("sb3_contrib", "chain")
    entries = tuple(entry.id for entry in Bank(config.bank).entries())
    found = replace(
        config,
        bank=str(Path(config.bank).expanduser().resolve()),
        data=config.data.absolute(),
        entries=entries,
        fingerprint=dataset.fingerprint,
    )
    problem_of(found, dataset)  # says what does not fit
    write_text(folder / CONFIG, json.dumps(asdict(found), indent=2))
    return found


def problem_of(config: ChainConfig, dataset: Dataset) -> DetachedLayers:
    """The problem that a config tells of.

    Raises:
        ChainError: the data changed since the search began.
        NetmorphError: see `DetachedLayers`; or a layer is no longer in the bank.
    """
    if config.fingerprint != dataset.fingerprint:
        raise ChainError(f"the data {dataset.name} changed since the search began; start a new one")
    bank = Bank(config.bank)
    return DetachedLayers(
        bank,
        dataset,
        entries=_entries(bank, config.entries),
        longest=config.longest,
        samples=config.samples,
        choice=config.choice,
        memory=config.memory * MEBIBYTE,
        stitches=config.stitches,
        detached_ends=config.detached_ends,
        state=STATES[config.state],
        seed=config.seed,
        device=config.device,
    )


def run(
    folder: Path,
    config: ChainConfig,
    dataset: Dataset,
    on_record: Callable[[str, Record, Record], None] = lambda agent, record, best: None,
) -> Finished:
    """Start or go on with the search in a folder, test the network of its best chain, and write a page.

    Args:
        on_record: told of each chain that is judged: the agent, the chain, the best one so far.

    Raises:
        RunInUse: another process works in the folder.
        NetmorphError: a layer is gone or damaged, features take more memory than was given, and so on.
    """
    with RunLock(folder):
        searched, networks = [], []
        for agent in config.searches:
            problem = problem_of(config, dataset)
            trials = _searched(folder, agent, config, problem, on_record)
            best = trials.best()
            network = assembled(problem, best.chain, dataset)
            test = evaluate(network, dataset.test, dataset).numbers["accuracy"]
            links = lineage(problem, best.chain)
            networks.append((best, links, network))
            worths = tuple(cheap(config.price)(record.outcome) for record in trials.records)
            searched.append(Searched(agent, tuple(trials.records), worths, best, test, problem.cache.counts))
        best, links, network = networks[0]
        code = folder / NETWORK
        write_code(trace(network, examples(dataset, network, 2)), code)
        _write_result(folder / RESULT, searched, links)
        entries = {entry.id: entry for entry in _entries(Bank(config.bank), config.entries)}
        page = write_page(folder, f"A chain for {dataset.name}", searched, links, entries, config.price)
    return Finished(best, links, network, searched[0].test, tuple(searched), code, page)


def _searched(
    folder: Path,
    agent: str,
    config: ChainConfig,
    problem: DetachedLayers,
    on_record: Callable[[str, Record, Record], None],
) -> Trials:
    journal = Journal(folder / f"{agent}.jsonl")

    def keep(record: Record) -> None:
        journal.add_record(record)
        on_record(agent, record, max(journal.records, key=lambda one: worth(one.outcome)))

    worth = cheap(config.price)
    trials = Trials(
        problem,
        config.budget,
        worth,
        known=list(journal.records),
        states=journal.states,
        on_record=keep,
        on_state=journal.add_state,
    )
    search(AGENTS[agent](REWARDS[config.reward]), trials, config.seed)
    return trials


def _entries(bank: Bank, ids: tuple[str, ...]) -> tuple[Entry, ...]:
    known = {entry.id: entry for entry in bank.entries()}
    if gone := [id for id in ids if id not in known]:
        raise EntryError(
            f"the search began with layers that are no longer in the bank {bank.folder}: {', '.join(gone)}"
        )
    return tuple(known[id] for id in ids)


def _write_result(path: Path, searched: list[Searched], links: tuple[Link, ...]) -> None:
    told = {
        "chain": asdict(searched[0].best.chain),
        "lineage": [link.as_json() for link in links],
        "searches": {
            one.agent: {
                "best": one.best.as_json(),
                "test_accuracy": one.test,
                "distinct_chains": len(one.records),
                "cache": asdict(one.cache),
            }
            for one in searched
        },
        "machine": machine(),
        "versions": versions(),
    }
    write_text(path, json.dumps(told, indent=2))
