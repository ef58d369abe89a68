import copy
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch.nn import functional

from netmorph.measure import SpectrumError
from netmorph.ranks.architectures import perceptron
from netmorph.ranks.looks import Look, look
from netmorph.train.inputs import prepare, reference
from tests.train.small import dataset

NUMBERS = {"loss": 1.0, "accuracy": 0.5}


def test_a_look_finds_what_numpy_finds_and_leaves_the_network_alone() -> None:
    torch.manual_seed(0)
    data, network = dataset(), perceptron(36, 3, (8, 5))
    before = copy.deepcopy(network.state_dict())

    found = look(network, data, 3, NUMBERS, NUMBERS, keep_values=True)

    inputs, targets = prepare(data.train.inputs, data, reference(network)), data.train.targets
    functional.cross_entropy(network(inputs), targets).backward()
    layers = {"layer1.linear": network.layer1.linear, "layer2.linear": network.layer2.linear, "head": network.head}
    assert list(found.weights) == list(found.gradients) == list(found.features) == list(layers)
    for name, layer in layers.items():
        for told, matrix in ((found.weights, layer.weight), (found.gradients, layer.weight.grad)):
            values = np.linalg.svd(matrix.detach().double().numpy(), compute_uv=False)
            assert told[name]["spectral_norm"] == pytest.approx(values[0], rel=1e-4)
            assert told[name]["stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-4)
    assert found.features["layer1.linear"]["spectral_norm"] == pytest.approx(
        float(torch.linalg.matrix_norm(network.layer1.linear(inputs.flatten(1)), 2).detach()), rel=1e-4
    )
    assert found.values["head"] == pytest.approx(np.linalg.svd(before["head.weight"].numpy())[1].tolist(), rel=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_no_gradient_is_left_and_what_is_infinite_is_none_in_json() -> None:
    network = perceptron(36, 3, (4, 4))
    with torch.no_grad():
        network.layer2.linear.weight.zero_()[0, 0] = 1.0

    found = look(network, dataset(), 0, NUMBERS, NUMBERS, keep_values=False)

    assert found.weights["layer2.linear"]["condition_number"] is None
    assert found.values == {}
    assert all(parameter.grad is None for parameter in network.parameters())
    assert Look(**json.loads(json.dumps(asdict(found), allow_nan=False))) == found


def test_weights_that_are_not_finite_are_told() -> None:
    network = perceptron(36, 3, (4, 4))
    with torch.no_grad():
        network.layer1.linear.weight[0, 0] = math.nan

    with pytest.raises(SpectrumError, match=r"'layer1.linear.weight' holds NaN"):
        look(network, dataset(), 0, NUMBERS, NUMBERS, keep_values=False)
