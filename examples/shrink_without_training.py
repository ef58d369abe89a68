"""Train a small network on the embedded digits, then halve its FLOPs without any further training, in three ways.

python examples/shrink_without_training.py
"""

import copy

import torch
from torch import nn

import netmorph
from netmorph import data, zoo
from netmorph.data import batches
from netmorph.measure import flops
from netmorph.scores import SCORES
from netmorph.train import Recipe, evaluate, train


def main() -> None:
    torch.manual_seed(0)
    digits = data.load("digits")
    model: nn.Module = zoo.build("resnet9", digits.input_shape, len(digits.classes), width=0.125)
    train(model, digits, Recipe(epochs=4, learning_rate=3e-3))
    images = [digits.preparation(images, like=torch.empty(0)) for images, _ in batches(digits.train, 256)]
    before = flops(model, images[0])
    print(f"as trained: {evaluate(model, digits.validation, digits).accuracy:.2%}")

    for name in ("random", "magnitude", "interpolative"):
        for repair in (False, True):
            small = copy.deepcopy(model)
            graph = netmorph.trace(small, images[0][:4])
            samples = netmorph.Samples(graph, images)
            edit = netmorph.narrow_to(graph, flops=0.5, score=SCORES[name], samples=samples, multiple_of=4)
            netmorph.apply(graph, netmorph.reconstruct(edit, samples) if repair else edit)
            if repair:
                netmorph.recalibrate(small, images)
            accuracy = evaluate(small, digits.validation, digits).accuracy
            share = flops(small, images[0]) / before
            told = "reconstructed, recalibrated" if repair else "only dropped"
            print(f"{share:.0%} of the FLOPs by {name} scores, {told}: {accuracy:.2%}")


if __name__ == "__main__":
    main()
