"""Train a small network on the embedded digits, grow it without changing what it computes, and go on training.

python examples/grow_while_training.py
"""

import torch
from torch import nn

import netmorph
from netmorph import data, zoo
from netmorph.train import Recipe, build_optimizer, evaluate, train


def main() -> None:
    torch.manual_seed(0)
    digits = data.load("digits")
    model: nn.Module = zoo.build("lenet5", digits.input_shape, len(digits.classes), width=0.25)
    recipe = Recipe(epochs=10, learning_rate=3e-3)
    optimizer = build_optimizer(model, recipe)
    train(model, digits, recipe, optimizer=optimizer)

    graph = netmorph.trace(model, digits.train.inputs[:2].float() / 255)
    print("What can change width:", *graph.groups.values(), sep="\n  ")
    for group in graph.editable(netmorph.Allow.ANY):
        before = evaluate(model, digits.validation, digits).accuracy
        graph = netmorph.apply(graph, netmorph.widen(graph, group.name, 2 * group.size), optimizer)
        after = evaluate(model, digits.validation, digits).accuracy
        print(f"{group.name}: {group.size} -> {2 * group.size} channels, accuracy {before:.2%} -> {after:.2%}")

    history = train(model, digits, recipe, optimizer=optimizer, seed=1)
    print(f"trained on: {history.best.validation_accuracy:.2%}")


if __name__ == "__main__":
    main()
