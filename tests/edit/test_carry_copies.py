"""Copies with weights of their own get the same edit, or nobody does."""

import copy
from collections.abc import Callable

import pytest
import torch
from nets import output, same, small, snapshot, trained
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from netmorph import EditError, Graph, apply, narrow, residual, shallow, trace, widen
from netmorph.edit import Edit
from netmorph.widenings import net2net, unequal_split

EDITS: dict[str, Callable[[Graph], Edit]] = {
    "r2r": lambda graph: widen(graph, "0", 7),
    "net2net": lambda graph: widen(graph, "3", 5, net2net),
    "unequal split": lambda graph: widen(graph, "0", 6, unequal_split),
    "narrow": lambda graph: narrow(graph, "0", [0, 3]),
    "residual": lambda graph: residual(graph, "2"),
    "shallow": lambda graph: shallow(graph, "4"),
}
EXACT = ("r2r", "net2net", "unequal split", "residual")


def averaged() -> tuple[nn.Sequential, Tensor, AveragedModel, torch.optim.Optimizer]:
    """A model in training, and a moving average that has come to other weights."""
    model, x = small()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(4):
        trained(model, x, optimizer, steps=1)
        average.update_parameters(model)
    assert not torch.allclose(output(model, x), output(average, x))
    return model, x, average, optimizer


@pytest.mark.parametrize("wrapped", [True, False], ids=["AveragedModel", "its module"])
@pytest.mark.parametrize("edit", EDITS)
def test_a_moving_average_gets_the_same_edit(edit: str, wrapped: bool) -> None:
    model, x, average, optimizer = averaged()
    before = output(average, x)
    graph = trace(model, x)
    apply(graph, EDITS[edit](graph), optimizer, copies=[average if wrapped else average.module])
    assert [(name, p.shape) for name, p in model.named_parameters()] == [
        (name, p.shape) for name, p in average.module.named_parameters()
    ]
    assert repr(model) == repr(average.module)
    after = output(average, x)
    if edit in EXACT:
        torch.testing.assert_close(after, before, rtol=0, atol=1e-12)
    else:
        assert not torch.allclose(after, before)
    weight = average.module[0].weight.detach().clone()
    trained(model, x, optimizer, steps=1)
    average.update_parameters(model)
    torch.testing.assert_close(average.module[0].weight, (weight + model[0].weight) / 2)


def test_a_narrowed_copy_keeps_its_own_weights() -> None:
    model, x, average, optimizer = averaged()
    own = average.module[0].weight.detach().clone()
    graph = trace(model, x)
    apply(graph, narrow(graph, "0", [3, 1]), optimizer, copies=[average])
    assert torch.equal(average.module[0].weight, own[[3, 1]])
    assert not torch.equal(average.module[0].weight, model[0].weight)


def test_copies_of_the_same_weights_stay_the_same() -> None:
    model, x = small()
    twins = [copy.deepcopy(model) for _ in range(2)]
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 7), copies=twins)
    for twin in twins:
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, twin.state_dict()[name]), name


def test_a_copy_in_another_precision() -> None:
    model, x = small()
    single = copy.deepcopy(model).float()
    before = output(single, x.float())
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 7), copies=[single])
    assert {p.dtype for p in single.parameters()} == {torch.float32}
    torch.testing.assert_close(output(single, x.float()), before)


def test_all_or_nothing() -> None:
    """The edit fails on the second copy, whose outputs are not finite, when model and first copy have changed."""
    model, x, average, optimizer = averaged()
    broken = copy.deepcopy(model)
    nn.init.constant_(broken[6].weight, float("nan"))
    before = snapshot(model, optimizer), snapshot(average), snapshot(broken)
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"empty, NaN or infinite"):
        apply(graph, widen(graph, "0", 7), optimizer, copies=[average, broken])
    assert same(before[0], snapshot(model, optimizer))
    assert same(before[1], snapshot(average))
    apply(graph, widen(graph, "0", 7), optimizer, copies=[average])


def test_what_is_no_copy() -> None:
    model, x = small()
    graph = trace(model, x)
    before = snapshot(model)
    with pytest.raises(EditError, match=r"shares parameters with the model.*deepcopy"):
        apply(graph, widen(graph, "0", 7), copies=[model])
    with pytest.raises(EditError, match=r"a copy differs from the model in 0\.bias, .*made before the last edit"):
        apply(graph, widen(graph, "0", 7), copies=[nn.Sequential(nn.Conv2d(2, 5, 3))])
    other = copy.deepcopy(model)
    other[4] = nn.Tanh()
    with pytest.raises(EditError, match=r"a copy differs from the model in 4:"):
        apply(graph, widen(graph, "0", 7), copies=[other])
    assert same(before, snapshot(model))
