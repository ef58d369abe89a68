"""Rank and shrinking: a network as narrow as what it computes

The singular values of what a layer computes tell how many directions it
uses. Make it so narrow, let it learn, and again.
To read on: docs/shrink.md, docs/ranks.md.
"""

# %% A perceptron with three layers of 128 units learns the digits.
from dataclasses import replace

import torch

import netmorph
from netmorph import data, demo, measure, zoo
from netmorph.shrink import activations, by_rank, shrink
from netmorph.train import Recipe, evaluate, train

torch.set_num_threads(1)
digits = data.load("digits")
recipe = Recipe(epochs=20, batch_size=32, learning_rate=2e-3)


def perceptron(*hidden: int) -> torch.nn.Module:
    """A perceptron with layers of these widths."""
    torch.manual_seed(0)
    return zoo.build(
        "mlp", digits.input_shape, digits.outputs, hidden=hidden
    )


def told(name: str, model: torch.nn.Module) -> demo.Measured:
    """What it costs, and what it answers."""
    right = evaluate(model, digits.test, digits)["accuracy"]
    size = measure.parameters(model)
    print(f"{name}: {size:,} parameters, {right:.2%} of the test images")
    return demo.Measured(size, right)


wide = perceptron(128, 128, 128)
train(wide, digits, recipe)
before = told("wide", wide)

# %% How many directions does each layer use? Three answers from the same
# singular values.
images = digits.preparation(digits.train.head(1000), like=torch.empty(0))
graph = netmorph.trace(wide, images[:4])
samples = netmorph.Samples(graph, [images])
ranks = ("numerical_rank", "effective_rank", "stable_rank")
for layer in ("fc1", "fc2", "fc3"):
    values = activations(graph.group(layer), samples)
    for rank in ranks:
        print(f"{layer}: {rank} {measure.SPECTRAL[rank](values):.1f}")

# %% Each layer becomes as wide as its effective rank, keeps the units that
# span most of what it computed, is fitted and learns on; and again, until
# the accuracy falls by more than a point: then half as far. On the command
# line: netmorph shrink mlp --option hidden=[128,128,128] --data digits --by
# rank
found = shrink(wide, digits, recipe, by_rank(), rounds=4, tolerance=0.01)
for one in found.rounds:
    raw, trained = one.untrained["accuracy"], one.numbers["accuracy"]
    ended = "kept" if one.kept else "taken back"
    print(
        f"round {one.number}: widths {list(one.widths.values())},", end=" "
    )
    print(f"{raw:.1%} untrained, {trained:.1%} trained, {ended}")
after = told("shrunk", found.graph.model)

# %% Would a network of that size have learnt as much from the start? It
# gets all the epochs that the other one had.
narrow = perceptron(*(group.size for group in found.graph.editable()))
train(
    narrow,
    digits,
    replace(
        recipe,
        epochs=recipe.epochs + sum(len(one.epochs) for one in found.rounds),
    ),
)
scratch = told("its widths, from scratch", narrow)

# %% What went, as a page.
netmorph.draw.difference(found.start, found.graph).save("difference.html")
netmorph.save("network.safetensors", found.graph.model, found.graph.journal)

# %% What it comes to.
finding = demo.shrinking(
    before,
    after,
    scratch,
    found,
    len(digits.test),
    "netmorph shrink mlp --option hidden=[128,128,128] --data digits "
    "--by rank",
)
print(finding.verdict)
