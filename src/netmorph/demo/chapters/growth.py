"""Growth: a language model gets deeper while it learns

A small network learns fast at first and a large one well at last. One that
grows has some of both.
To read on: docs/growth.md, with the settings in which it does not pay.
"""

# %% A GPT learns to write Python, character by character, from sources of
# Python's standard library. One block of it learns first, and becomes two,
# four and eight, by copies. Beside it eight blocks from the start, for as
# many steps and for about as many training FLOPs, and one block to the
# end. Each reads its text once.
from itertools import accumulate, pairwise
from typing import Any

import torch

import netmorph
from netmorph import data, demo, measure, zoo
from netmorph.policy import WAYS, Growth, growing, to_depth
from netmorph.train import History, Recipe, evaluate, generate, train

torch.set_num_threads(1)
recipe = Recipe(
    epochs=1,
    batch_size=8,
    optimizer="muon",
    learning_rate=1e-2,
    schedule="stable",
    warmup=0.05,
    clip_norm=1.0,
)


def read(parts: int) -> data.Dataset:
    """So many parts of the text."""
    return data.load(
        "stdlib", window=64, train_size=1200 * parts, validation=0.01
    )


def gpt(depth: int) -> torch.nn.Module:
    """A GPT of so many blocks."""
    torch.manual_seed(0)
    return zoo.build(
        "gpt",
        text.input_shape,
        text.outputs,
        depth=depth,
        channels=32,
        heads=4,
    )


text = read(8)
window = text.train.head(1)
flops = {
    depth: 3 * 1200 * measure.flops(gpt(depth), window)
    for depth in (1, 2, 4, 8)
}  # of a part
sizes = [1, 1, 1, 2, 2, 4, 4, 8]  # blocks in each part
cost = sum(flops[depth] for depth in sizes) / flops[8]
print(f"What grows costs as much as {cost:.2f} parts with eight blocks.")

# %% `growing` tells the training loop when and how. On the command line:
# netmorph train --data stdlib --option depth=1 --schedule stable --grow "at
# 40%: depth 2 copied" --grow "at 60%: depth 4 copied" --grow "at 85%: depth
# 8 copied". Whatever is done between two steps can look, too: here at the
# loss on text that is not learnt.
growths = [
    Growth(place / len(sizes), to_depth(after, WAYS["copied"]))
    for place, (before, after) in enumerate(pairwise(sizes), 1)
    if after > before
]


def course(
    name: str, model: torch.nn.Module, sizes: list[int]
) -> demo.Course:
    """Train it, with so many blocks in each part of the text."""
    grow = growing(growths, recipe.epochs)["edit"]
    grows = sizes[0] < sizes[-1]
    losses: list[float] = []

    def look(
        graph: netmorph.Graph, history: History, optimizer: Any
    ) -> netmorph.Graph:
        seen = evaluate(graph.model, text.validation, text)
        losses.append(seen["loss"])
        return grow(graph, history, optimizer) if grows else graph

    moments = [part / len(sizes) for part in range(1, len(sizes))]
    lessons = read(len(sizes))
    history = train(model, lessons, recipe, edit=look, edit_at=moments)
    losses.append(history.best.validation["loss"])
    print(f"{name}: loss {losses[-1]:.3f} on unseen text")
    spent = [*accumulate(flops[depth] for depth in sizes)]
    return demo.Course(name, spent, losses, sizes)


model = gpt(1)
grown = course("one block, then two, four, eight", model, sizes)
equal = course("eight blocks, as many FLOPs", gpt(8), [8] * round(cost))
full = course("eight blocks", gpt(8), [8] * len(sizes))
small = course("one block", gpt(1), [1] * len(sizes))

# %% What it writes by now.
assert isinstance(text.encoder, data.Vocabulary)
begun = "    def __init__(self, name):\n        "
start = text.encoder.encode(begun)
print(begun + text.encoder.decode(generate(model, start, text, count=120)))

# %% What it comes to, as a picture, too.
finding = demo.growth(
    grown,
    equal,
    full,
    small,
    "netmorph train --data stdlib --option depth=1 --schedule stable "
    '--grow "at 40%: depth 2 copied" --grow "at 60%: depth 4 copied" '
    '--grow "at 85%: depth 8 copied"',
)
print(finding.verdict)
