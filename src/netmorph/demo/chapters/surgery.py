"""Surgery: a trained network gets wider, deeper and smaller

Its structure changes and what it computes does not, up to rounding, or as
little as can be.
To read on: docs/editing.md, docs/exact.md, docs/narrowing.md.
"""

# %% A LeNet-5 of half its usual width learns scikit-learn's handwritten
# digits, 8 by 8 pixels.
import copy

import torch

import netmorph
from netmorph import data, measure, zoo
from netmorph.train import Recipe, evaluate, train

torch.set_num_threads(1)
torch.manual_seed(0)
digits = data.load("digits")
model = zoo.build("lenet5", digits.input_shape, digits.outputs, width=0.5)
recipe = Recipe(epochs=15, batch_size=32, learning_rate=3e-3)
train(model, digits, recipe)


def accuracy() -> str:
    """What it answers by now."""
    right = evaluate(model, digits.test, digits)["accuracy"]
    return f"{right:.2%} of the test images, "


def size() -> str:
    """What it costs by now."""
    flops = measure.flops(model, images[:1])
    return f"{measure.parameters(model):,} parameters, {flops:,} FLOPs"


images = digits.preparation(digits.train.head(256), like=torch.empty(0))
print(accuracy() + size())

# %% `trace` runs it once and finds which channels have to change together:
# a group is written by some layers and read by others. What the inputs or
# the classes fix stays. The same on the command line: netmorph groups
# lenet5
graph = netmorph.trace(model, images[:4])
start = netmorph.trace(copy.deepcopy(model), images[:4])
print(*graph.groups.values(), sep="\n")

# %% Wider: the second convolution gets 16 channels, in pairs that are read
# with opposite signs (R2R). Behind it are a flatten and a linear layer;
# their sizes follow. Deeper: a residual block behind it, likewise. An edit
# is a value; `apply` makes it and compares the outputs of before and after.
graph = netmorph.apply(graph, netmorph.widen(graph, "conv2", to=16))
graph = netmorph.apply(graph, netmorph.residual(graph, after="conv2"))
for entry in graph.journal:
    print(f"{entry.edit}: outputs moved by {entry.error:.0e} of their size")
print(accuracy() + size())

# %% It goes on learning, and uses what is new.
train(model, digits, recipe, seed=1)
print(accuracy() + size())

# %% Smaller: to half of the FLOPs. Those channels go that add least to what
# their readers compute, and the readers are fitted to make up for them, on
# images, without any training.
samples = netmorph.Samples(graph, [images])
edit = netmorph.narrow_to(
    graph,
    flops=0.5,
    samples=samples,
    score=netmorph.scores.contribution,
    multiple_of=1,
)
graph = netmorph.apply(graph, netmorph.reconstruct(edit, samples))
print(accuracy() + size())

# %% What differs from the network at the start, as a page; the weights with
# the journal of the edits; and the network as plain PyTorch that needs no
# netmorph. The same: netmorph draw, netmorph export.
netmorph.draw.difference(start, graph).save("difference.html")
netmorph.save("network.safetensors", model, graph.journal)
netmorph.export.write_code(graph, "plain.py")
