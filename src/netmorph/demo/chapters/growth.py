"""Growth: a language model gets deeper while it learns

A small network learns fast at first and a large one well at last. One that
grows has some of both.
To read on: docs/growth.md, with the settings in which it does not pay.
"""

# %% A GPT learns to write Python, character by character, from sources of
# Python's standard library. One block of it learns first; at half of the
# steps it becomes four, by copies. Beside it four blocks from the start,
# for as many epochs and for as many training FLOPs, and one block to the
# end. One seed, little training: the direction, not a measurement.
from dataclasses import replace

import matplotlib.pyplot as plt
import torch

from netmorph import data, measure, zoo
from netmorph.policy import WAYS, Growth, growing, to_depth
from netmorph.train import Recipe, evaluate, generate, train

torch.set_num_threads(1)
text = data.load("stdlib", window=64, train_size=1000, validation=0.02)
window = text.train.head(1)
recipe = Recipe(
    epochs=6,
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
    for depth in (1, 4)
}  # of an epoch
depths = {
    "grows from 1 to 4 blocks": [1, 1, 1, 4, 4, 4],
    "4 blocks": [4, 4, 4, 4, 4, 4],
    "4 blocks, as many FLOPs": [4, 4, 4, 4],
    "1 block": [1, 1, 1, 1, 1, 1],
}
for name, course in depths.items():
    cost = sum(flops[depth] for depth in course)
    print(f"{name}: {cost:.2e} training FLOPs")

# %% `growing` tells the training loop when and how. On the command line:
# netmorph train --data stdlib --option depth=1 --schedule stable --grow "at
# 50%: depth 4 copied"
half = growing([Growth(0.5, to_depth(4, WAYS["copied"]))], recipe.epochs)
models, curves = {}, {}
for name, course in depths.items():
    models[name] = gpt(course[0])
    if course[0] != course[-1]:
        history = train(models[name], text, recipe, **half)
    else:
        lessons = replace(recipe, epochs=len(course))
        history = train(models[name], text, lessons)
    spent = [
        sum(flops[depth] for depth in course[: epoch.epoch])
        for epoch in history
    ]
    curves[name] = spent, [epoch.validation["loss"] for epoch in history]
    loss = evaluate(models[name], text.test, text)["loss"]
    print(f"{name}: loss {loss:.3f} on unseen text")

# %% The curves, by what they cost.
figure, axes = plt.subplots(figsize=(7, 4))
for name, (spent, losses) in curves.items():
    axes.plot(
        spent,
        losses,
        marker="o",
        linewidth=3 if "grows" in name else 1,
        label=name,
    )
axes.set(xlabel="training FLOPs", ylabel="loss on validation text")
axes.legend()
figure.savefig("growth.svg")

# %% What it writes by now.
assert isinstance(text.encoder, data.Vocabulary)
begun = "    def __init__(self, name):\n        "
start = text.encoder.encode(begun)
tokens = generate(
    models["grows from 1 to 4 blocks"], start, text, count=120
)
print(begun + text.encoder.decode(tokens))
