"""What a birth takes, and what it saves that edits of different places are made together.

    python -m benchmarks.births [--model lenet5] [--data mnist] [--width 0.25] [--births 20]

CPU time of one thread, the mean over births: to trace the parent, for its edits, and to score it on 1,000 samples
before and after all of them. Beside that, as many edits made one after another, each traced, checked and scored by
itself.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from time import process_time

import numpy as np
import torch

from benchmarks.engine import machine_line
from netmorph import zoo
from netmorph.data import Dataset, Split, load
from netmorph.graph import Graph, trace
from netmorph.policy import Mutation, mutate
from netmorph.search.births import JUDGES
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples


def main(arguments: list[str]) -> None:
    """Measure and print the parts of both, and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.births")
    parser.add_argument("--model", default="lenet5")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--births", type=int, default=20)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    dataset = load(given.data)
    print(machine_line())
    rows: dict[str, list[list[float]]] = {"together": [], "one by one": []}
    for seed in range(-1, given.births):  # the first one warms up
        mutation = Mutation()
        together = _birth(given.model, given.width, dataset, seed + 1, mutation, 1)
        single = _birth(given.model, given.width, dataset, seed + 1, replace(mutation, edits=1), int(together[-1]))
        for name, row in (("together", together), ("one by one", single)) if seed >= 0 else ():
            rows[name].append(row)
    means = {name: np.mean(row, axis=0) for name, row in rows.items()}
    print(f"{given.model} on {given.data}: CPU ms: parent traced, edits, scores; steps, edits")
    for name, mean in means.items():
        print(f"{name:10}", *(f"{1000 * value:8.1f}" for value in mean[:3]), *(f"{value:6.2f}" for value in mean[3:]))
    one, other = (means[name][1:3] for name in ("together", "one by one"))
    shares = one[0] / other[0], one[1] / other[1], sum(one) / sum(other)
    print("together takes {:.2f} of the edits' time, {:.2f} of the scores', {:.2f} of both".format(*shares))


def _birth(name: str, width: float, dataset: Dataset, seed: int, mutation: Mutation, generations: int) -> list[float]:
    """CPU seconds of the trace, the edits and the scores; steps, and edits."""
    torch.manual_seed(seed)
    model = zoo.build(name, dataset.input_shape, dataset.outputs, width=width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    judges = Split(*next(iter(dataset.validation.cut(JUDGES))))
    one_by_one, scoring, steps = mutation.edits == 1, 0.0, 0

    def score() -> None:
        nonlocal scoring
        began = process_time()
        evaluate(model, judges, dataset)
        scoring += process_time() - began

    def note(graph: Graph, shares: object) -> None:
        nonlocal steps
        steps += 1
        if one_by_one:
            score()

    began = process_time()
    graph = trace(model, examples(dataset, model))
    traced = process_time()
    score()
    generator = np.random.default_rng(seed)
    for _ in range(generations):
        graph = mutate(graph, generator, mutation, optimizer=optimizer, on_edits=note)
    if not one_by_one:
        score()
    edits = process_time() - traced - scoring
    return [traced - began, edits, scoring, steps, len(graph.journal)]


if __name__ == "__main__":
    main(sys.argv[1:])
