"""EfficientNet-Lite0 of ImageNet under the knife: larger and back again, and halved, grown and tuned a little.

    python -m benchmarks.edit_efficientnet --images path/to/imagenet_samples --output DIR

Needs what `shrink_efficientnet` needs, and draws the same halves of the images. *Exact edits*, in float64: how far the
answers to judging images change, and how many first answers stay. *Tuned*: the network at half its FLOPs,
reconstructed and with its norms recalibrated, learns the whole network's answers to the 500 images that are not judged;
the same after it grew, by R2R or at random. Labels are not used. Results are appended to a file as they come; a run
that was stopped goes on. One thread.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

import netmorph
from benchmarks._records import Record, read_records
from benchmarks._shrink_tables import table
from benchmarks._shrinking import spread, where
from benchmarks.engine import used
from benchmarks.shrink_efficientnet import (
    Task,
    agreement,
    answers_of,
    efficientnet,
    inner_groups,
    read_images,
    reconstructed,
    task_of,
)
from netmorph import EditError, recalibrate, widenings
from netmorph.edit import copy_block, widen_all
from netmorph.files import write_text
from netmorph.graph import Graph
from netmorph.measure import flops
from netmorph.measure.cost import parameters
from netmorph.widenings import Widening
from netmorph.workers import keep_freed_memory

WIDER, GROWN = 1.125, 1.5  # times the channels
EPOCHS, RATE, BATCHES = 8, 3e-5, 5  # BATCHES: of judging images, in float64
EXACT_COLUMNS = ("edit", "parameters", "largest change / largest answer", "same answer", "seconds")
TUNED_COLUMNS = ("way", "FLOPs", "parameters", "same answer", "of the five best")


def widened(graph: Graph) -> Graph:
    """All free groups, an eighth more channels."""
    return netmorph.apply(graph, widen_all(graph, {g.name: round(WIDER * g.size) + 1 for g in graph.editable()}))


def deepened(graph: Graph) -> Graph:
    """A copy of every block that can have one, with a zero in front of its sum: from the last to the first."""
    for number in reversed(range(len(graph.model.get_submodule("_blocks")))):
        try:
            edit = copy_block(graph, f"_blocks.{number}")
        except EditError:  # its shape changes, so it adds nothing to its input
            continue
        graph = netmorph.apply(graph, edit)
    return graph


def undone(graph: Graph) -> Graph:
    """All edits taken back."""
    while graph.journal:
        graph = netmorph.apply(graph, netmorph.undo(graph))
    return graph


STEPS = {"widened by an eighth": widened, "and deepened": deepened, "both undone": undone}


def exact(model: nn.Module, images: Sequence[Tensor]) -> list[Record]:
    """What each step changes in the answers of the network of before all of them, in float64.

    Args:
        images: batches `[N, C, H, W]`.
    """
    images = [batch.double() for batch in images]
    graph = netmorph.trace(copy.deepcopy(model).double().eval(), images[0][:2])
    wanted, whole, found = answers_of(graph.model, images), parameters(graph.model), []
    for name, step in STEPS.items():
        started = time.perf_counter()
        graph = step(graph)
        seconds = round(time.perf_counter() - started, 1)
        answers = answers_of(graph.model, images)
        found.append(
            {
                "way": name,
                "parameters": parameters(graph.model) / whole,
                "change": float((answers - wanted).abs().max() / wanted.abs().max()),
                "same": agreement(answers, wanted)[0],
                "seconds": seconds,
            }
        )
    return found


def halved(task: Task) -> nn.Module:
    """Half of the FLOPs, readers make up for what goes, norms recalibrated."""
    model = reconstructed(task)
    recalibrate(model, task.calibration)
    return model


def grown(model: nn.Module, image: Tensor, method: Widening) -> nn.Module:
    """The groups that were narrowed, half as wide again."""
    graph = netmorph.trace(model, image)
    widths = {name: round(GROWN * graph.group(name).size) for name in inner_groups(graph)}
    return netmorph.apply(graph, widen_all(graph, widths, method)).model


def tuned(model: nn.Module, images: Sequence[Tensor], answers: Sequence[Tensor], seed: int, epochs: int) -> None:
    """Learn other answers to images; the statistics of the norms stay, since batches are small.

    Args:
        images: batches `[N, C, H, W]`.
        answers: logits `[N, classes]` for each.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    for _ in range(epochs):
        for place in torch.randperm(len(images), generator=generator).tolist():
            optimizer.zero_grad()
            wanted = log_softmax(answers[place], 1)
            loss = kl_div(log_softmax(model(images[place]), 1), wanted, reduction="batchmean", log_target=True)
            loss.backward()
            optimizer.step()


GROWTHS: dict[str, Widening | None] = {
    "no growth": None,
    "grown by R2R": widenings.r2r,
    "grown at random": widenings.random_pad,
}


def tunings(task: Task, start: nn.Module, seed: int, way: str, epochs: int) -> Record:
    """The halved network after a growth, before and after tuning."""
    model, method = copy.deepcopy(start), GROWTHS[way]
    if method is not None:
        model = grown(model, task.image, method)
    before = agreement(answers_of(model, task.judging), task.answers)
    learnt = answers_of(task.model, task.calibration).split([len(batch) for batch in task.calibration])
    tuned(model, task.calibration, learnt, seed, epochs)
    return {
        "flops": flops(model, task.image) / flops(task.model, task.image),
        "parameters": parameters(model) / parameters(task.model),
        "before": before,
        "tuned": agreement(answers_of(model, task.judging), task.answers),
    }


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    keep_freed_memory()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    journal = options.output / "results.jsonl"
    records = read_records(journal)

    def add(record: Record) -> None:
        records.append(record)
        with journal.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(record, flush=True)

    model, images = efficientnet(), torch.stack(list(read_images(options.images)))
    for seed in options.seeds:
        waiting = [way for way in GROWTHS if not any((r["seed"], r["way"]) == (seed, way) for r in records)]
        has_exact = any("change" in record for record in records)
        if not waiting and has_exact:
            continue
        task = task_of(model, images, seed)
        if not has_exact:
            for record in exact(model, task.judging[:BATCHES]):
                add({"seed": seed} | record)
        start = halved(task) if waiting else model
        for way in waiting:
            add({"seed": seed, "way": way} | tunings(task, start, seed, way, options.epochs))
    told = f"{exact_table(records)}\n{tuned_table(records)}\n{where()}; {used()}\n"
    Console(width=160, highlight=False).print(told)
    write_text(options.output / "results.md", told)


def exact_table(records: Sequence[Record]) -> str:
    return table(
        EXACT_COLUMNS,
        [
            [r["way"], f"{r['parameters']:.3f}", f"{r['change']:.0e}", f"{r['same']:.1%}", f"{r['seconds']:.1f}"]
            for r in records
            if "change" in r
        ],
    )


def tuned_table(records: Sequence[Record]) -> str:
    """The mean over the seeds, and the range."""
    found = []
    for way in GROWTHS:
        mine = [record for record in records if record["way"] == way]
        for key, name in (("before", f"halved, {way}"), ("tuned", f"halved, {way}, tuned")):
            if mine:
                shares = [f"{sum(r[which] for r in mine) / len(mine):.3f}" for which in ("flops", "parameters")]
                found.append([name, *shares, *(spread([r[key][place] for r in mine], 1) for place in (0, 1))])
    return table(TUNED_COLUMNS, found)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.edit_efficientnet", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="a folder of Parquet files with images")
    parser.add_argument("--output", type=Path, required=True, help="folder for results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of tuning (default: %(default)s)")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
