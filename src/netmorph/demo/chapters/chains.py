"""Chains: a network for new classes out of layers that are there

Layers are cut out of trained networks and put behind each other anew; no
weight learns, and the head is solved.
To read on: docs/bank.md, docs/chains.md, and docs/chains-results.md for
what did not work.
"""

# %% Two small ResNets know the digits 0 to 4. Those from 5 to 9 are new.
import torch

import netmorph
from netmorph import chain, data, zoo
from netmorph.bank import Bank
from netmorph.train import Recipe, evaluate, train

torch.set_num_threads(1)
digits = data.load("digits")
recipe = Recipe(epochs=8, batch_size=32, learning_rate=3e-3)


def only(labels: range) -> data.Dataset:
    """The digits of these classes, as data of their own."""
    parts = []
    for part in (digits.train, digits.validation, digits.test):
        assert isinstance(part, data.Split)  # in memory
        of = torch.isin(part.targets, torch.tensor(labels))
        parts += [part.inputs[of], part.targets[of] - labels[0]]
    x, y, xv, yv, xt, yt = parts
    return data.tensors(
        x,
        y,
        x_validation=xv,
        y_validation=yv,
        x_test=xt,
        y_test=yt,
        classes=[str(label) for label in labels],
    )


def resnet(dataset: data.Dataset, seed: int) -> torch.nn.Module:
    """A small ResNet, trained."""
    torch.manual_seed(seed)
    model = zoo.build(
        "resnet", dataset.input_shape, dataset.outputs, channels=(8, 16, 32)
    )
    train(model, dataset, recipe, seed=seed)
    return model


def told(name: str, model: torch.nn.Module) -> None:
    """What it answers of the digits 5 to 9."""
    right = evaluate(model, new.test, new)["accuracy"]
    print(f"{name}: {right:.1%} of the new test images")


old, new = only(range(5)), only(range(5, 10))
example = old.preparation(old.train.head(2), like=torch.empty(0))

# %% A bank is a folder of layers: weights and the operations between them
# as plain values, no code. On the command line: netmorph bank add MODEL
# --bank bank
bank = Bank("bank")
for seed in (0, 1):
    bank.add(resnet(old, seed), example, f"network {seed}")
for entry in bank.entries(network="network 0"):
    path, kind = entry.origin.path, entry.kind
    print(f"{path}: {kind}, {entry.input} to {entry.output}")

# %% An agent chains layers; for each chain a linear head on the new
# training images is solved in closed form, and judged on the validation
# images. Beside a beam search, as many random chains. On the command line:
# netmorph chain --bank bank --data DATA --budget 60chains
problem = chain.DetachedLayers(bank, new, longest=6)
searches: dict[str, chain.Agent] = {
    "random chains": chain.random_chains,
    "beam search": chain.Beam(),
}
trials = {name: chain.Trials(problem, budget=60) for name in searches}
for name, agent in searches.items():
    chain.search(agent, trials[name], seed=0)
    print(
        f"{name}: the best loss is {trials[name].best().outcome.loss:.4f}"
    )
best = min(
    (one.best() for one in trials.values()),
    key=lambda record: record.outcome.loss,
).chain
for link in chain.lineage(problem, best):
    home = f"{link.path} of {link.network}" if link.network else "solved"
    print(f"  {link.name}: {home}")

# %% The chain is a network like any other. What has to be beaten: a head on
# the pixels, and one on a whole old network, the usual transfer. What it
# does not have to beat is gradient descent on the new images, but it costs
# no gradient.
model = chain.assembled(problem, best, new)
whole = tuple(
    entry.id
    for entry in bank.entries(network="network 0")
    if entry.kind != "dense"
)
told(
    "head on the pixels",
    chain.assembled(problem, chain.Chain((), chain.SOLVED), new),
)
told(
    "head on a whole old network",
    chain.assembled(problem, chain.Chain(whole, chain.SOLVED), new),
)
told("best chain", model)
told("trained from scratch", resnet(new, 0))

# %% As a picture, and as plain PyTorch.
graph = netmorph.trace(model, example)
netmorph.draw.architecture(graph).save("chain.html")
netmorph.export.write_code(graph, "plain.py")
