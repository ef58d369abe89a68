"""A search for a chain in a folder: what was asked for, what was judged, the network, and a page about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from netmorph.bank import Bank, BankError, Entry, EntryError
from netmorph.chain import (
    AGENTS,
    MODES,
    REWARDS,
    STATES,
    ChainError,
    DetachedLayers,
    Kept,
    Learnt,
    Link,
    Record,
    Trials,
    assembled_and_learnt,
    cheap,
    lineage,
    search,
)
from netmorph.chain.gradients import as_tensors
from netmorph.chain.journal import Journal, read_records
from netmorph.chain.learnt import KEPT
from netmorph.chain.lessons import in_turn, looking, seen_in
from netmorph.data import Dataset
from netmorph.errors import require, require_all, suggest
from netmorph.export import write_code
from netmorph.files import atomic_write, write_text
from netmorph.graph import trace
from netmorph.report.chain_result import as_json
from netmorph.report.chain_result import page_of as told_page
from netmorph.report.plain_page import Page
from netmorph.report.searched import Learning, Searched
from netmorph.report.templates import PAGE
from netmorph.run.config import DataConfig, data_of
from netmorph.run.folders import FIGURES, REPORT, RESULT, Kind, begin, check_free, config_of, result_of
from netmorph.run.lock import RunLock
from netmorph.showing import Shows, View
from netmorph.tensor_files import write_sealed
from netmorph.train.checks import usable_device
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples
from netmorph.wording import flops_text

NETWORK = "network.py"
GRADIENTS = "gradients.safetensors"
SHOWN = 8  # good chains whose gradients are kept by index
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
        longest, samples, choice, stitches, refining, detached_ends: see `netmorph.chain.DetachedLayers`.
        learn: when layers learn, a name of `netmorph.chain.MODES`.
        gradients: look at those of each chain; agents are told of them, and the report.
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
    refining: int = 0
    detached_ends: bool = True
    learn: str = "never"
    gradients: bool = False
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

        return config_of(folder, Kind.CHAIN, made, ChainError)


@dataclass(frozen=True, eq=False, repr=False)
class Finished(Shows):
    """What a search found.

    Attributes:
        best: the chain that was chosen.
        links: where its layers are from.
        network: the chain as a network, whose weights have learnt if they should once it was chosen.
        test: its accuracy on the test part.
        learning: FLOPs of the gradient steps once it was chosen.
        searched: of each agent all that it judged, the one that was asked for first.
        code: the network as plain Python, its weights beside it; page: the report.
        not_kept: why it cannot be kept as `netmorph.chain.Kept`, if so; classes cannot be added to it then.
    """

    best: Record
    links: tuple[Link, ...]
    network: nn.Sequential
    test: float
    learning: int
    searched: tuple[Searched, ...]
    code: Path
    page: Path
    not_kept: str | None = None

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


def create(folder: Path, config: ChainConfig, dataset: Dataset, command: str = "") -> ChainConfig:
    """Start the folder of a search, once bank, data and names are known to work together.

    Returns:
        The config with the layers that may be used.

    Raises:
        NetmorphError: they do not, or the folder is not free.
    """
    check_free(folder)
    check_names(config)
    require_all(PAGE)
    if config.agent == "ppo":
        require("sb3_contrib", "chain")
    usable_device(config.device)
    entries = tuple(entry.id for entry in Bank(config.bank).entries())
    found = replace(
        config,
        bank=str(Path(config.bank).expanduser().resolve()),
        data=config.data.absolute(),
        entries=entries,
        fingerprint=dataset.fingerprint,
    )
    problem_of(found, dataset)  # says what does not fit
    begin(folder, Kind.CHAIN, asdict(found), command)
    return found


def check_names(config: ChainConfig) -> None:
    """Refuse names that are unknown.

    Raises:
        ChainError: one is.
    """
    names = ((config.agent, AGENTS), (config.reward, REWARDS), (config.state, STATES), (config.learn, MODES))
    for name, known in names:
        if name not in known:
            raise ChainError(f"{name!r} is none of {', '.join(known)}{suggest(name, known)}")


def left(folder: Path, config: ChainConfig, agent: str) -> int:
    """How many chains an agent may still judge. Raises as `read_records`."""
    return config.budget - len(read_records(folder / f"{agent}.jsonl"))


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
        refining=config.refining,
        detached_ends=config.detached_ends,
        state=STATES[config.state],
        empty=MODES[config.learn].empty(config.longest),
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
        searched, networks, mode = [], [], MODES[config.learn]
        for agent in config.searches:
            problem = problem_of(config, dataset)
            trials = _searched(folder, agent, config, problem, on_record)
            best = trials.best()
            network, learnt = assembled_and_learnt(problem, best.chain, dataset)
            test = evaluate(network, dataset.test, dataset).numbers["accuracy"]
            links = lineage(problem, best.chain)
            networks.append((problem, best, links, network, learnt))
            worths = tuple(cheap(config.price)(record.outcome) for record in trials.records)
            searched.append(Searched(agent, tuple(trials.records), worths, best, test, problem.cache.counts))
        problem, best, links, network, learnt = networks[0]
        learning, test = mode.finish(network, links, dataset, config.seed), searched[0].test
        if learning:
            test = evaluate(network, dataset.test, dataset).numbers["accuracy"]
        seen = seen_in(problem, searched[0].good[:SHOWN]) if config.gradients else {}
        if seen:
            atomic_write(folder / GRADIENTS, lambda file: write_sealed(as_tensors(seen), file, {}))
        code = folder / NETWORK
        write_code(trace(network, examples(dataset, network, 2)), code)
        # Moments are of features that are no more, once layers or stitches have learnt.
        not_kept = _kept(folder / KEPT, network, dataset, None if learning else learnt)
        told = Learning(config.learn, learning, test, {place: one.told for place, one in seen.items()})
        title = f"A chain for {dataset.name}"
        found = as_json(title, searched, links, told, NETWORK, not_kept)
        write_text(folder / RESULT, json.dumps(found, indent=2))
        made = page_of(folder)
        made.save_pictures(folder / FIGURES)
        written = made.write(folder / REPORT)
    return Finished(best, links, network, test, learning, tuple(searched), code, written, not_kept)


def page_of(folder: Path) -> Page:
    """The page of a search that is finished, from its folder and its bank.

    Raises:
        ChainError: it is not finished, or a file is damaged.
        BankError: the bank is gone.
    """
    config, told = ChainConfig.read(folder), result_of(folder)
    if told is None:
        raise ChainError(f"the search in {folder} is not finished; go on with netmorph chain --resume {folder}")
    return told_page(folder, told, Bank(config.bank).entries(), config.price)


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

    worth, study = cheap(config.price), MODES[config.learn].study(problem)
    trials = Trials(
        problem,
        config.budget,
        worth,
        known=list(journal.records),
        states=journal.states,
        study=in_turn(looking(problem), study) if config.gradients else study,
        on_record=keep,
        on_state=journal.add_state,
    )
    search(AGENTS[agent](REWARDS[config.reward]), trials, config.seed)
    return trials


def _kept(path: Path, network: nn.Module, dataset: Dataset, learnt: Learnt | None) -> str | None:
    """Keep the network without code, and what its head was solved from; or say why that cannot be."""
    try:
        Kept.of(network, dataset, learnt).save(path)
    except BankError as error:
        return str(error)
    return None


def _entries(bank: Bank, ids: tuple[str, ...]) -> tuple[Entry, ...]:
    known = {entry.id: entry for entry in bank.entries()}
    if gone := [id for id in ids if id not in known]:
        raise EntryError(
            f"the search began with layers that are no longer in the bank {bank.folder}: {', '.join(gone)}"
        )
    return tuple(known[id] for id in ids)
