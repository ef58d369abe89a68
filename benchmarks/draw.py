"""Pictures of a zoo of classifiers: seconds beyond the trace, and kilobytes.

    python -m benchmarks.draw path/to/models.csv
    python -m benchmarks.draw path/to/models.csv --only resnet34 vit_b_32 --folder pictures

The models are named by a CSV file with columns `suite` (torchvision or timm), `model` and `input` (3x224x224). Seconds
are those of the process, so that other processes on the machine count less; one thread.
"""

from __future__ import annotations

import argparse
import csv
import gc
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from netmorph import draw, trace
from netmorph.cli.given import Wanted, network, shape_of

MOST_SECONDS, MOST_KB = 2.0, 300.0


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo", type=Path, help="the CSV file")
    parser.add_argument("--only", nargs="*", help="names of models")
    parser.add_argument("--folder", type=Path, help="keep the pictures and pages here")
    options = parser.parse_args(arguments or None)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    with options.zoo.open() as file:
        models = [row for row in csv.DictReader(file) if not options.only or row["model"] in options.only]
    print(f"{'model':48}{'trace s':>9}{'svg s':>8}{'html s':>8}{'svg kB':>8}{'html kB':>9}{'px':>12}")
    for row in models:
        name = f"{row['suite']}:{row['model']}"
        told = measured(name, row["input"], options.folder)
        rows.append(told)
        trace_s, svg_s, html_s, svg_kb, html_kb, size = told
        print(f"{name:48}{trace_s:9.2f}{svg_s:8.2f}{html_s:8.2f}{svg_kb:8.0f}{html_kb:9.0f}{size:>12}", flush=True)
        gc.collect()
    if rows:
        beyond = [svg_s + html_s for _, svg_s, html_s, *_ in rows]
        largest = [max(svg_kb, html_kb) for *_, svg_kb, html_kb, _ in rows]
        within = sum(s <= MOST_SECONDS and kb <= MOST_KB for s, kb in zip(beyond, largest, strict=True))
        print(
            f"{len(rows)} models: both files in {statistics.median(beyond):.2f} s (median), at most {max(beyond):.2f}; "
            f"at most {max(largest):.0f} kB; {within} within {MOST_SECONDS:g} s and {MOST_KB:g} kB"
        )


def measured(name: str, shape: str, folder: Path | None) -> tuple[float, float, float, float, float, str]:
    """Seconds of trace, picture and page, kB of both, and how large the picture is."""
    torch.manual_seed(0)
    model, inputs, _ = network(Wanted(name, shape=shape_of(shape)))
    start = time.process_time()
    graph = trace(model, inputs)
    traced = time.process_time()
    diagram = draw.architecture(graph, name)
    picture = diagram.svg()
    drawn = time.process_time()
    page = diagram.html()
    end = time.process_time()
    if folder is not None:
        for suffix in ("svg", "html"):
            diagram.save(folder / f"{name.replace(':', '-')}.{suffix}")
    _, _, width, height = picture.partition('viewBox="')[2].partition('"')[0].split()
    kb = [len(text.encode()) / 1000 for text in (picture, page)]
    return traced - start, drawn - traced, end - drawn, kb[0], kb[1], f"{width}x{height}"


if __name__ == "__main__":
    main()
