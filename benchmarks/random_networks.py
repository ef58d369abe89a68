"""Random networks and edits against the checkers in float64: ten thousand of them, where the tests try a few hundred.

    python -m benchmarks.random_networks --count 10000 [--seed 0] [--workers 1] [--output runs/random-networks.jsonl]
    python -m benchmarks.random_networks --again 17:3 [--seed 0]

Networks and edits are those of the contract suite (`tests/contract/architectures.py`, `every_edit.py`), drawn by
hypothesis from a seed of its own for each fifty. Each edit goes through all of `check_edit`: outputs kept where that
is promised, narrowing against the masked original, undo, files, code, gradients. An edit that a network has no place
for is told apart and does not count. Stopped, it goes on where it was. Told is how many were tried by what networks
are made of and by edit, and each failure with its number, from which `--again` makes it once more. Status 1 if
anything failed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from torch import Tensor, nn

from benchmarks._records import read_records

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "contract"))

from architectures import networks  # noqa: E402
from every_edit import EDITS, Nowhere  # noqa: E402
from test_every_edit import check  # noqa: E402

BATCH = 50  # networks from one seed
DRAWN_IN = {"architectures", "mixers"}  # modules whose classes are the blocks of a network
FINE, NOWHERE = "fine", "nowhere"


@dataclass(frozen=True)
class Tried:
    """One edit of one network.

    Attributes:
        number: its batch and its place there, `17:3`.
        parts: what the network is made of.
        became: "fine", "nowhere", or the error.
    """

    number: str
    edit: str
    parts: list[str]
    became: str
    seconds: float


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="edits that a network has a place for")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/random-networks.jsonl"), help="the seed is added to its name"
    )
    parser.add_argument("--again", metavar="BATCH:PLACE", help="one that failed, with its error")
    given = parser.parse_args(arguments)
    if given.again:
        batch, place = map(int, given.again.split(":"))
        with _processes(1) as pool:
            print(pool.submit(batch_of, given.seed, batch, again=place).result()[place])
        return
    tried = run(given.count, given.seed, given.workers, given.output)
    print(table(tried))
    sys.exit(any(failed(one) for one in tried))


def run(wanted: int, base: int, workers: int, output: Path) -> list[Tried]:
    """Batch after batch, each one's rows at once, until so many edits have been tried."""
    output = output.with_stem(f"{output.stem}-{base}")
    output.parent.mkdir(parents=True, exist_ok=True)
    tried = [Tried(**row) for row in read_records(output)]
    done = {int(one.number.split(":")[0]) for one in tried}
    began, before = time.monotonic(), _count(tried)
    with _processes(workers) as pool:
        waiting = (batch for batch in count() if batch not in done)
        while _count(tried) < wanted:
            for rows in pool.map(partial(batch_of, base), islice(waiting, workers)):
                with output.open("a") as file:
                    file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
                tried += rows
                for row in filter(failed, rows):
                    print(f"{row.number} {row.edit}, {', '.join(row.parts)}: {row.became}", flush=True)
            left = max(0, wanted - _count(tried)) * (time.monotonic() - began) / (_count(tried) - before + 1) / 60
            print(f"{_count(tried)} of {wanted}, about {left:.0f} min left", file=sys.stderr, flush=True)
    return tried


def _processes(workers: int) -> ProcessPoolExecutor:
    """Of a kind: what hypothesis draws depends on the modules that a process has imported, too."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))


def batch_of(base: int, batch: int, again: int | None = None) -> list[Tried]:
    """The networks and edits of a batch, the same each time; of one that is asked for, the error in full is printed."""
    torch.set_num_threads(1)
    rows: list[Tried] = []
    begun = count()

    @seed(base * 10**6 + batch)
    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(networks(), st.sampled_from(list(EDITS)), st.data())
    def draw(network: tuple[nn.Module, Tensor], edit: str, data: st.DataObject) -> None:
        if next(begun) == 0:  # hypothesis begins with the simplest of all, whatever the seed
            return
        began = time.monotonic()
        try:
            check(*network, edit, lambda options: data.draw(st.sampled_from(options)), export=True)
            became = FINE
        except Nowhere:
            became = NOWHERE
        except HypothesisException:
            raise
        except Exception as error:
            became = f"{type(error).__name__}: {error}"
            if again == len(rows):
                traceback.print_exc()
                print(network)
        seconds = round(time.monotonic() - began, 2)
        rows.append(Tried(f"{batch}:{len(rows)}", edit, parts_of(network[0]), became, seconds))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw()
    return rows


def parts_of(model: nn.Module) -> list[str]:
    """What a network is made of: its blocks by class, and layers that couple channels in their own way."""
    found = {type(each).__name__ for each in model.modules() if type(each).__module__ in DRAWN_IN}
    found |= {"convolution in groups" for each in model.modules() if getattr(each, "groups", 1) > 1}
    found |= {"one dimension" for each in model.modules() if isinstance(each, nn.Conv1d)}
    return sorted(found - {"Flat"})


def failed(one: Tried) -> bool:
    return one.became not in (FINE, NOWHERE)


def _count(tried: list[Tried]) -> int:
    return sum(one.became != NOWHERE for one in tried)


def table(tried: list[Tried]) -> str:
    """How many were tried and failed, by edit and by what networks are made of."""
    by_edit: Callable[[Tried], list[str]] = lambda one: [one.edit]  # noqa: E731
    by_part: Callable[[Tried], list[str]] = lambda one: one.parts or ["layers one after another"]  # noqa: E731
    lines = [*_rows("edit", tried, by_edit), "", *_rows("network with", tried, by_part), ""]
    lines += [f"{one.number} {one.edit}: {one.became}" for one in tried if failed(one)]
    seconds = sum(one.seconds for one in tried)
    return "\n".join([*lines, f"{_count(tried)} edits, {sum(map(failed, tried))} failed, {seconds / 60:.0f} min"])


def _rows(title: str, tried: list[Tried], keys: Callable[[Tried], list[str]]) -> Iterator[str]:
    counts = defaultdict[str, Counter[str]](Counter)
    for one in tried:
        for key in keys(one):
            counts[key][one.became if not failed(one) else "failed"] += 1
    yield f"| {title} | tried | failed | no place |"
    yield "|---|---|---|---|"
    for key, found in sorted(counts.items()):
        yield f"| {key} | {found[FINE] + found['failed']} | {found['failed']} | {found[NOWHERE]} |"


if __name__ == "__main__":
    main()
