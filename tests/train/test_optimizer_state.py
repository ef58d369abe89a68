import json

import pytest
import torch
from torch import nn

from netmorph.train.optimizer_state import OptimizerStateError, pack_optimizer, unpack_optimizer
from tests.train.small import network

BUILDERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, 0.01, betas=(0.8, 0.99), amsgrad=True),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, 0.01),
    "rmsprop": lambda parameters: torch.optim.RMSprop(parameters, 0.01),
}


def steps(model, optimizer, count):
    generator = torch.Generator().manual_seed(count)
    model.eval()
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.rand(4, 1, 6, 6, generator=generator)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_rebuilt_model_goes_on_with_the_same_numbers(kind):
    model = network()
    optimizer = BUILDERS[kind](model.parameters())
    steps(model, optimizer, 3)
    tensors, meta = pack_optimizer(optimizer, model)
    meta = json.loads(json.dumps(meta))

    twin = network(seed=1)
    twin.load_state_dict(model.state_dict())
    # Another order of the parameters: names decide, not places.
    other = BUILDERS[kind](list(twin.parameters())[::-1])
    unpack_optimizer(other, twin, tensors, meta)
    steps(model, optimizer, 2)
    steps(twin, other, 2)
    assert all(torch.equal(one, two) for one, two in zip(model.parameters(), twin.parameters(), strict=True))


def test_options_of_every_group_come_back():
    model = network()

    def build(decay):
        groups = [{"params": model[0].parameters(), "weight_decay": decay}, {"params": model[5].parameters()}]
        return torch.optim.AdamW(groups, 0.01, betas=(0.7, 0.9))

    tensors, meta = pack_optimizer(build(0.5), model)
    other = build(0.0)
    unpack_optimizer(other, model, tensors, meta)
    assert [group["weight_decay"] for group in other.param_groups] == [0.5, 0.01]
    assert other.param_groups[1]["betas"] == (0.7, 0.9)


def test_packed_tensors_are_copies():
    model = network()
    optimizer = BUILDERS["sgd"](model.parameters())
    steps(model, optimizer, 1)
    tensors, meta = pack_optimizer(optimizer, model)
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    unpack_optimizer(optimizer, model, tensors, meta)
    steps(model, optimizer, 2)
    assert kept
    assert all(torch.equal(kept[name], tensor) for name, tensor in tensors.items())


def test_what_belongs_elsewhere_is_refused():
    model = network()
    optimizer = BUILDERS["adam"](model.parameters())
    packed = pack_optimizer(optimizer, model)
    with pytest.raises(OptimizerStateError, match="is that of Adam, the optimizer is SGD"):
        unpack_optimizer(BUILDERS["sgd"](model.parameters()), model, *packed)
    wider = network(classes=4)
    with pytest.raises(OptimizerStateError, match=r"other parameters: 5\.weight, 5\.bias"):
        unpack_optimizer(BUILDERS["adam"](wider.parameters()), wider, *packed)
    with pytest.raises(OptimizerStateError, match=r"shape \(4, 1, 3, 3\) that is not in Sequential"):
        pack_optimizer(optimizer, network())


def test_state_that_cannot_be_stored_is_refused():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer.state[model.weight]["memory"] = {"a": object()}
    with pytest.raises(OptimizerStateError, match="'weight/memory' as dict"):
        pack_optimizer(optimizer, model)


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, meta: tensors.update({next(iter(tensors)): torch.zeros(2, 2, 2)}),
        lambda tensors, meta: tensors.update({next(iter(tensors)): next(iter(tensors.values())).int()}),
        lambda tensors, meta: tensors.update({"nobody/exp_avg": torch.zeros(1)}),
        lambda tensors, meta: meta.pop("groups"),
        lambda tensors, meta: meta.update(groups=3),
        lambda tensors, meta: meta.update(scalars=[]),
        lambda tensors, meta: meta["groups"][0].update(options=5),
        lambda tensors, meta: meta["groups"][0]["options"].update(lr={"a": 1}),
        lambda tensors, meta: meta["groups"][0].update(parameters={"x": [1]}),
        lambda tensors, meta: meta["groups"].append(meta["groups"][0]),
    ],
)
def test_a_state_that_was_changed_is_refused(kind, change):
    model = network()
    optimizer = BUILDERS[kind](model.parameters())
    steps(model, optimizer, 2)
    tensors, meta = pack_optimizer(optimizer, model)
    before = pack_optimizer(optimizer, model)
    change(tensors, meta)
    with pytest.raises(OptimizerStateError):
        unpack_optimizer(optimizer, model, tensors, meta)
    after = pack_optimizer(optimizer, model)
    assert after[1] == before[1]
    assert all(torch.equal(tensor, after[0][name]) for name, tensor in before[0].items())


def test_a_state_of_which_a_part_is_lost_is_refused():
    model = network()
    optimizer = BUILDERS["adam"](model.parameters())
    steps(model, optimizer, 2)
    tensors, meta = pack_optimizer(optimizer, model)
    for key in ("0.weight/step", "0.bias/exp_avg"):
        with pytest.raises(OptimizerStateError, match="it is not whole"):
            unpack_optimizer(optimizer, model, {name: t for name, t in tensors.items() if name != key}, meta)
    again = pack_optimizer(optimizer, model)[0]
    assert all(torch.equal(tensor, again[name]) for name, tensor in tensors.items())
