"""Further classes for a chain that was found: its head solved for all data together, of which only the new are read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from netmorph.chain import ChainError, Kept
from netmorph.chain.learnt import KEPT
from netmorph.chaining import NETWORK, ChainConfig
from netmorph.data import DataError, Dataset
from netmorph.errors import require
from netmorph.export import write_code
from netmorph.files import write_text
from netmorph.graph import trace
from netmorph.report.numbers import percent
from netmorph.report.plain_page import Page, Table
from netmorph.run.config import DataConfig, data_of
from netmorph.run.folders import REPORT, RESULT, Kind, begin, check_free, config_of, kind_of, result_of
from netmorph.showing import Shows, View
from netmorph.typed import check_fields


@dataclass(frozen=True)
class Source:
    """Data that a head was solved from.

    Attributes:
        data: see `DataConfig`.
        fingerprint: of the samples, to find out that they changed.
    """

    data: DataConfig
    fingerprint: str


@dataclass(frozen=True)
class Extension:
    """What a chain was extended by, as plain values.

    Attributes:
        chain: the folder of the chain as it was before.
        sources: all data that its head is solved from, the oldest first; the last are those that came.
    """

    chain: str
    sources: tuple[Source, ...]

    @staticmethod
    def read(folder: Path) -> Extension:
        """What stands in a folder.

        Raises:
            ChainError: nothing, or it is damaged.
        """

        def source(told: dict[str, Any]) -> Source:
            made = Source(data_of(told), told["fingerprint"])
            check_fields(made)
            return made

        def made(told: dict[str, Any]) -> Extension:
            return Extension(told["chain"], tuple(map(source, told["sources"])))

        return config_of(folder, Kind.EXTENSION, made, ChainError)


@dataclass(frozen=True)
class Tested:
    """The answers to a test part.

    Attributes:
        data: its name.
        classes, samples: how many it has.
        accuracy: the share of right answers, among all classes; None where the data are gone.
        why: they cannot be tested on.
    """

    data: str
    classes: int = 0
    samples: int = 0
    accuracy: float | None = None
    why: str | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Extended(Shows):
    """What came of it.

    Attributes:
        kept: the chain with its new head.
        added: the classes that are new.
        tests: on the test part of each of the data, the oldest first.
        code: the network as plain Python, its weights beside it.
    """

    kept: Kept
    added: tuple[str, ...]
    tests: tuple[Tested, ...]
    code: Path

    @property
    def samples(self) -> int:
        """Of all test parts that are there."""
        return sum(one.samples for one in self.tests if one.accuracy is not None)

    @property
    def accuracy(self) -> float:
        """The share of right answers to these."""
        right = sum(one.samples * one.accuracy for one in self.tests if one.accuracy is not None)
        return right / self.samples

    def view(self) -> View:
        """A row for each test part."""
        return View(
            f"Chain that learnt {len(self.added)} further classes, {len(self.kept.classes)} in all: test accuracy "
            f"{self.accuracy:.2%}",
            ("test part of", "classes", "samples", "accuracy"),
            ((one.data, one.classes, one.samples, one.accuracy) for one in self.tests),
            notes=[f"not tested on {one.data}: {one.why}" for one in self.tests if one.why is not None],
        )


def extend(run: Path, data: DataConfig, dataset: Dataset, folder: Path, command: str = "") -> Extended:
    """Solve the head of a chain for further classes, or from more samples, and write it into a folder of its own.

    No old sample is read but those of the old test parts, where these data are still found.

    Args:
        run: the folder of a search that came to its end, or of an earlier extension.
        data, dataset: those that come, as told and loaded.
        folder: where the result goes; it can be extended again.
        command: what the user typed.

    Raises:
        ChainError: the run keeps no moments, these data were learnt already or are unlike its own, or the folder is not
            free.
        SolveError, SaveError: see `Kept.extended`, `Kept.save`.
    """
    check_free(folder)
    require("jinja2", "report")
    kept, before = Kept.load(run / KEPT), _sources(run)
    source = Source(data.absolute(), dataset.fingerprint)
    if source.fingerprint in [one.fingerprint for one in before]:  # in another split, test samples would be learnt
        raise ChainError(f"the chain in {run} was solved from the data {dataset.name} already; give others")
    extended = kept.extended(dataset)
    tests = (*(_tested_again(extended, one) for one in before), _tested(extended, dataset))
    code = folder / NETWORK
    write_code(trace(extended.network, extended.input.example()), code)
    extended.save(folder / KEPT)
    config = Extension(str(run.expanduser().resolve()), (*before, source))
    begin(folder, Kind.EXTENSION, asdict(config), command)
    found = Extended(extended, extended.classes[len(kept.classes) :], tests, code)
    told = {
        "classes": extended.classes,
        "added": found.added,
        "test_accuracy": found.accuracy,
        "tests": [asdict(test) for test in tests],
        "network": NETWORK,
    }
    write_text(folder / RESULT, json.dumps(told, indent=2))
    page_of(folder).write(folder / REPORT)
    return found


def page_of(folder: Path) -> Page:
    """The page of an extension, from its folder.

    Raises:
        ChainError: it is not finished.
    """
    told = result_of(folder)
    if told is None:
        raise ChainError(f"the extension in {folder} was stopped; delete the folder, and extend the chain again")
    tests = [Tested(**one) for one in told["tests"]]
    known = [one for one in tests if one.accuracy is not None]
    rows = [[one.data, str(one.classes), str(one.samples), percent(one.accuracy)] for one in known]
    samples = sum(one.samples for one in known)
    total = ["all of them", str(len(told["classes"])), str(samples), percent(told["test_accuracy"])]
    paragraphs = [
        f"New classes: {', '.join(told['added']) or 'none'}; {len(told['classes'])} in all. "
        f"{percent(told['test_accuracy'])} of the test samples are answered right.",
        *(f"Not tested on {one.data}: {one.why}" for one in tests if one.accuracy is None),
    ]
    tables = [Table("Test parts", ("test part of", "classes", "samples", "accuracy"), [*rows, total])]
    return Page("A chain with further classes", paragraphs, tables)


def _sources(run: Path) -> tuple[Source, ...]:
    """The data that the head in a folder was solved from."""
    if kind_of(run) is Kind.EXTENSION:
        return Extension.read(run).sources
    config = ChainConfig.read(run)
    return (Source(config.data, config.fingerprint),)


def _tested(kept: Kept, dataset: Dataset) -> Tested:
    classes = len(dataset.test.targets.unique())
    return Tested(dataset.name, classes, len(dataset.test), kept.accuracy(dataset))


def _tested_again(kept: Kept, source: Source) -> Tested:
    """On the test part of earlier data, which need not be there any more."""
    try:
        dataset = source.data.load()
    except DataError as error:
        return Tested(source.data.source, why=str(error))
    if dataset.fingerprint != source.fingerprint:
        return Tested(dataset.name, why="the data changed since the head was solved from them")
    return _tested(kept, dataset)
