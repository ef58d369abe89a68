"""Growth: a language model gets deeper while it learns

A small network learns fast at first and a large one well at last. One that
grows has some of both.
To read on: docs/growth.md, with the settings in which it does not pay.
"""

# %% A GPT learns to write Python, character by character, from sources of
# Python's standard library. One block of it learns first, and becomes two,
# four and eight, by copies. Beside it eight blocks from the start, for as
# many epochs and for about as many training FLOPs, and one block to the
# end. One seed, little training: the direction, not a measurement.
from dataclasses import replace
from itertools import accumulate, pairwise

import torch

from netmorph import data, demo, measure, zoo
from netmorph.policy import WAYS, Growth, growing, to_depth
from netmorph.train import History, Recipe, generate, train

torch.set_num_threads(1)
text = data.load("stdlib", window=64, train_size=1200, validation=0.01)
window = text.train.head(1)
recipe = Recipe(
    epochs=8,
    batch_size=8,
    optimizer="muon",
    learning_rate=1e-2,
    schedule="stable",
    warmup=0.05,
    clip_norm=1.0,
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


flops = {
    depth: 3 * len(text.train) * measure.flops(gpt(depth), window)
    for depth in (1, 2, 4, 8)
}  # of an epoch
sizes = [1, 1, 1, 2, 2, 4, 4, 8]  # blocks in each epoch
cost = sum(flops[depth] for depth in sizes) / flops[8]
print(f"What grows costs as much as {cost:.2f} epochs of eight blocks.")

# %% `growing` tells the training loop when and how. On the command line:
# netmorph train --data stdlib --option depth=1 --schedule stable --grow "at
# 40%: depth 2 copied" --grow "at 60%: depth 4 copied" --grow "at 85%: depth
# 8 copied"
growths = [
    Growth(place / len(sizes), to_depth(after, WAYS["copied"]))
    for place, (before, after) in enumerate(pairwise(sizes), 1)
    if after > before
]


def told(name: str, history: History, sizes: list[int]) -> demo.Course:
    """How a network learnt, with so many blocks in each epoch."""
    spent = [*accumulate(flops[depth] for depth in sizes)]
    losses = [epoch.validation["loss"] for epoch in history]
    print(f"{name}: loss {min(losses):.3f} on unseen text")
    return demo.Course(name, spent, losses, sizes)


def unchanged(name: str, depth: int, epochs: int) -> demo.Course:
    """A network that keeps its size."""
    lessons = replace(recipe, epochs=epochs)
    history = train(gpt(depth), text, lessons)
    return told(name, history, [depth] * epochs)


model = gpt(1)
history = train(model, text, recipe, **growing(growths, recipe.epochs))
grown = told("one block, then two, four, eight", history, sizes)
equal = unchanged("eight blocks, as many FLOPs", 8, round(cost))
full = unchanged("eight blocks", 8, recipe.epochs)
small = unchanged("one block", 1, recipe.epochs)

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
