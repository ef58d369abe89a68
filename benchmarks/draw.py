"""Pictures of a zoo of classifiers: seconds and kilobytes, and what others make of the same models.

    python -m benchmarks.draw path/to/models.csv
    python -m benchmarks.draw path/to/models.csv --only resnet34 vit_b_32 --folder pictures
    python -m benchmarks.draw path/to/models.csv --peers torchview torchvista

The models are named by a CSV file with columns `suite` (torchvision or timm), `model` and `input` (3x224x224). Seconds
are those of the process, so that other processes on the machine count less; one thread.

The peers are no requirements of netmorph: `pip install --no-deps torchview torchvista graphviz`. They trace by running
the model, so their seconds stand beside netmorph's with the trace. torchview (modules three deep, its default, nested
ones as boxes) gives a text for Graphviz's `dot`; laying that out comes on top of its seconds. torchvista (its default:
what is in top modules is closed) gives a page that holds its libraries and is laid out by the browser.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gc
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netmorph import draw, trace
from netmorph.cli.given import Wanted, network, shape_of

MOST_SECONDS, MOST_KB = 2.0, 300.0
Peer = Callable[[nn.Module, Any], str]


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path, help="the CSV file")
    parser.add_argument("--only", nargs="*", help="names of models")
    parser.add_argument("--folder", type=Path, help="keep the pictures and pages here")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=[], help="what else draws them")
    options = parser.parse_args(arguments or None)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    drawn: list[Drawn] = []
    others: dict[str, list[Attempt]] = {peer: [] for peer in options.peers}
    with options.zoo.open() as file:
        models = [row for row in csv.DictReader(file) if not options.only or row["model"] in options.only]
    heads = "".join(f"{peer + ' s':>14}{'kB':>8}" for peer in options.peers)
    print(f"{'model':48}{'trace s':>9}{'svg s':>8}{'html s':>8}{'svg kB':>8}{'html kB':>9}{'px':>12}{heads}")
    for row in models:
        name = f"{row['suite']}:{row['model']}"
        torch.manual_seed(0)
        model, inputs, _ = network(Wanted(name, shape=shape_of(row["input"])))
        told = measured(name, model, inputs, options.folder)
        drawn.append(told)
        for peer, attempts in others.items():
            attempts.append(attempt(PEERS[peer], model, inputs))
        line = f"{name:48}{told.trace:9.2f}{told.svg:8.2f}{told.html:8.2f}{told.svg_kb:8.0f}{told.html_kb:9.0f}"
        print(f"{line}{told.size:>12}{''.join(str(attempts[-1]) for attempts in others.values())}", flush=True)
        del model
        gc.collect()
    if drawn:
        print(summary(drawn))
    for peer, attempts in others.items() if drawn else ():
        print(f"{peer}: {summary_of(attempts)}")


@dataclass(frozen=True)
class Drawn:
    """Seconds of trace, picture and page, kB of both, and how large the picture is."""

    trace: float
    svg: float
    html: float
    svg_kb: float
    html_kb: float
    size: str


def measured(name: str, model: nn.Module, inputs: Any, folder: Path | None) -> Drawn:
    """netmorph's picture and page of a model."""
    start = time.process_time()
    graph = trace(model, inputs)
    traced = time.process_time()
    diagram = draw.architecture(graph, name)
    picture = diagram.svg()
    pictured = time.process_time()
    page = diagram.html()
    end = time.process_time()
    if folder is not None:
        for suffix in ("svg", "html"):
            diagram.save(folder / f"{name.replace(':', '-')}.{suffix}")
    _, _, width, height = picture.partition('viewBox="')[2].partition('"')[0].split()
    seconds = traced - start, pictured - traced, end - pictured
    return Drawn(*seconds, kilobytes(picture), kilobytes(page), f"{width}x{height}")


@dataclass(frozen=True)
class Attempt:
    """What a peer did: its seconds, and the kB of what came of it, or why nothing did."""

    seconds: float
    kb: float = 0.0
    failure: str = ""

    def __str__(self) -> str:
        return f"{self.failure:>22}" if self.failure else f"{self.seconds:14.2f}{self.kb:8.0f}"


def attempt(peer: Peer, model: nn.Module, inputs: Any) -> Attempt:
    """Let a peer draw a model; whatever it raises is its failure."""
    model.eval()
    start = time.process_time()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            text = peer(model, inputs)
    except Exception as error:
        return Attempt(time.process_time() - start, failure=type(error).__name__)
    return Attempt(time.process_time() - start, kilobytes(text))


def torchview(model: nn.Module, inputs: Any) -> str:
    """The graph as a text for Graphviz."""
    from torchview import draw_graph  # type: ignore[import-not-found]

    text: str = draw_graph(model, input_data=inputs, device="cpu", mode="eval", expand_nested=True).visual_graph.source
    return text


def torchvista(model: nn.Module, inputs: Any) -> str:
    """The page."""
    from torchvista import trace_model  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        trace_model(model, inputs, export_path=str(path))
        return path.read_text()


PEERS: Mapping[str, Peer] = {"torchview": torchview, "torchvista": torchvista}


def kilobytes(text: str) -> float:
    """Of a text in a file."""
    return len(text.encode()) / 1000


def summary(drawn: Sequence[Drawn]) -> str:
    """What netmorph did, in a line."""
    beyond = [told.svg + told.html for told in drawn]
    whole = [told.trace + told.svg + told.html for told in drawn]
    largest = [max(told.svg_kb, told.html_kb) for told in drawn]
    within = sum(s <= MOST_SECONDS and kb <= MOST_KB for s, kb in zip(beyond, largest, strict=True))
    return (
        f"{len(drawn)} models: both files in {statistics.median(beyond):.2f} s (median), at most {max(beyond):.2f}, "
        f"with the trace {statistics.median(whole):.2f} and {max(whole):.2f}; at most {max(largest):.0f} kB; "
        f"{within} within {MOST_SECONDS:g} s and {MOST_KB:g} kB"
    )


def summary_of(attempts: Sequence[Attempt]) -> str:
    """What a peer did, in a line."""
    done = [attempt for attempt in attempts if not attempt.failure]
    if not done:
        return f"none of {len(attempts)}: {attempts[0].failure}"
    seconds, kb = [attempt.seconds for attempt in done], [attempt.kb for attempt in done]
    return (
        f"{len(done)} of {len(attempts)} models, in {statistics.median(seconds):.2f} s (median), at most "
        f"{max(seconds):.2f}; {statistics.median(kb):.0f} kB (median), at most {max(kb):.0f}"
    )


if __name__ == "__main__":
    main()
