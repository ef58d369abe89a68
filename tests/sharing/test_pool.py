import copy
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph.edit import Edit
from netmorph.graph import Graph
from netmorph.sharing import (
    Kept,
    Origins,
    Pool,
    PoolError,
    assembled,
    born,
    founded,
    joined,
    of_these,
    shared,
    size,
)
from netmorph.sharing.files import Own, load_kept, load_pool, network_in, networks_in, save_kept, save_pool
from netmorph.sharing.origins import block

INPUTS = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [
        ("conv", nn.Conv2d(3, 4, 3)),
        ("norm", nn.BatchNorm2d(4)),
        ("relu", nn.ReLU()),
        ("second", nn.Conv2d(4, 6, 3)),
        ("flatten", nn.Flatten()),
        ("head", nn.Linear(24, 5)),
    ]
    return nn.Sequential(OrderedDict(layers)).double().eval()


def edited(parent: nn.Module, *edits: object) -> tuple[nn.Module, dict[str, Kept]]:
    """A copy of the network with edits, each made by a function of the graph, and what it keeps."""
    child = copy.deepcopy(parent)
    origins = Origins(child)
    graph = netmorph.trace(child, INPUTS)
    for make in edits:
        graph = netmorph.apply(graph, make(graph), [torch.optim.Adam(child.parameters()), origins])  # type: ignore[operator]
    return child, origins.kept(child)


def parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters())


def widened(graph: Graph, name: str = "conv", to: int = 7, method: str = "r2r") -> Edit:
    return netmorph.widen(graph, name, to=to, method=netmorph.widenings.WIDENINGS[method])


def narrowed(graph: Graph) -> Edit:
    return netmorph.narrow(graph, "conv", kept=[3, 0, 1])


def is_composed(pool: Pool, id: int, model: nn.Module) -> bool:
    made = assembled(pool.segments, pool.networks[id])
    return made.keys() == parameters(model).keys() and all(
        torch.equal(made[name], value) for name, value in parameters(model).items()
    )


# -- what is shared ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["r2r", "net2net", "unequal_split", "zero", "copied_pairs", "random_pad", "rms_pad"])
def test_parent_and_child_are_composed_exactly_and_what_an_edit_leaves_is_shared(method: str) -> None:
    parent = network()
    child, kept = edited(parent, lambda graph: widened(graph, method=method))
    pool = born(founded(Pool(), 0, parameters(parent)), 1, 0, kept, parameters(child))
    assert is_composed(pool, 0, parent)
    assert is_composed(pool, 1, child)
    alone = sum(value.numel() for value in child.parameters())
    if method in ("r2r", "zero", "copied_pairs", "random_pad"):  # all of the parent is in the child
        assert size(pool) == alone
    if method == "rms_pad":  # the scale of all that reads the channels has changed
        assert "second.weight" not in kept
    assert 0 < shared(pool, 1) < 1


def test_a_child_answers_as_its_parent_right_after_an_exact_edit() -> None:
    parent = network()
    child, kept = edited(
        parent,
        lambda graph: netmorph.residual(graph, after="relu"),
        widened,
        lambda graph: widened(graph, "second", 8),
    )
    pool = born(founded(Pool(), 0, parameters(parent)), 1, 0, kept, parameters(child))
    answer = torch.func.functional_call(child, assembled(pool.segments, pool.networks[1]), (INPUTS,))
    torch.testing.assert_close(answer, parent(INPUTS), rtol=1e-12, atol=1e-12)
    assert is_composed(pool, 1, child)  # the entries behind the new layer have other names now


def test_the_pool_grows_with_what_is_new_and_not_with_the_networks() -> None:
    models = [network()]
    pool = founded(Pool(), 0, parameters(models[0]))
    for id in range(1, 5):
        child, kept = edited(models[-1], lambda graph, to=4 + id: widened(graph, to=to))
        pool = born(pool, id, id - 1, kept, parameters(child))
        models.append(child)
    sizes = [sum(value.numel() for value in model.parameters()) for model in models]
    assert size(pool) == sizes[-1] < sum(sizes) / 3
    assert all(is_composed(pool, id, model) for id, model in enumerate(models))
    pool = of_these(pool, [1])
    assert size(pool) == sizes[1]
    assert is_composed(pool, 1, models[1])


def test_where_a_child_has_a_part_of_a_segment_it_falls_into_blocks_with_its_state() -> None:
    parent = network()
    states = {
        name: {"exp_avg": 2 * value.detach(), "step": torch.tensor(3.0)} for name, value in parameters(parent).items()
    }
    child, kept = edited(parent, narrowed)
    before = founded(Pool(), 0, parameters(parent), states)
    pool = born(before, 1, 0, kept, parameters(child))
    assert size(pool) == size(before)
    assert is_composed(pool, 0, parent)
    assert is_composed(pool, 1, child)
    assert shared(pool, 1) == 1
    for number, state in pool.states.items():
        assert torch.equal(state["exp_avg"], 2 * pool.segments[number])
        assert state["step"] == 3
    grandchild, more = edited(child, widened)
    pool = born(pool, 2, 1, more, parameters(grandchild))
    assert is_composed(pool, 2, grandchild)


def test_a_layer_that_becomes_two_shares_nothing_and_what_is_beside_it_does() -> None:
    parent = network()
    child, kept = edited(parent, lambda graph: netmorph.factorize(graph, "head", rank=2))
    assert {name for name in kept if name.startswith("head")} == {"head.1.bias"}
    assert {"conv.weight", "norm.weight", "second.weight"} < kept.keys()
    assert is_composed(born(founded(Pool(), 0, parameters(parent)), 1, 0, kept, parameters(child)), 1, child)


def test_a_block_is_the_whole_where_it_can_be_and_the_fuller_part_where_not() -> None:
    mask = torch.zeros(4, 3, dtype=torch.bool)
    mask[[0, 2, 3]] = True
    assert [at.tolist() for at in block(mask) or ()] == [[0, 2, 3], [0, 1, 2]]
    mask[3, 1] = False
    assert [at.tolist() for at in block(mask) or ()] == [[0, 2], [0, 1, 2]]
    assert block(torch.zeros(2, 2, dtype=torch.bool)) is None
    assert block(torch.tensor(True)) == ()


# -- gradients ---------------------------------------------------------------------------------------------------------


def test_the_gradient_of_a_segment_is_the_sum_over_the_networks_that_have_it() -> None:
    parent = network()
    child, kept = edited(parent, widened)
    small, more = edited(parent, narrowed)
    models = [parent, child, small]
    pool = founded(Pool(), 0, parameters(parent))
    pool = born(born(pool, 1, 0, kept, parameters(child)), 2, 0, more, parameters(small))
    leaves = {number: value.clone().requires_grad_() for number, value in pool.segments.items()}

    def loss(model: nn.Module, values: dict[str, Tensor]) -> Tensor:
        answer: Tensor = torch.func.functional_call(model, values, (INPUTS,))
        return answer.square().sum()

    sum(loss(model, assembled(leaves, pool.networks[id])) for id, model in enumerate(models)).backward()  # type: ignore[union-attr]
    expected = {number: torch.zeros_like(value) for number, value in pool.segments.items()}
    for id, model in enumerate(models):
        model.zero_grad()
        loss(model, dict(parameters(model))).backward()
        for name, whole in pool.networks[id].items():
            for piece, at in zip(whole.pieces, whole.places, strict=True):
                gradient = parameters(model)[name].grad
                assert gradient is not None
                expected[piece.segment] += gradient[at]
    for number, value in leaves.items():
        assert value.grad is not None
        torch.testing.assert_close(value.grad, expected[number], rtol=1e-12, atol=1e-12)


def test_origins_trains_nothing() -> None:
    with pytest.raises(netmorph.NetmorphError, match="trains nothing"):
        Origins(network()).step()


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_pool_comes_back_from_its_file(tmp_path: Path) -> None:
    parent = network()
    child, kept = edited(parent, narrowed)
    state = {"conv.weight": {"exp_avg": torch.ones(4, 3, 3, 3), "step": torch.tensor(1.0), "note": 4}}
    pool = born(founded(Pool(), 7, parameters(parent), state), 9, 7, kept, parameters(child))
    own = {id: Own({"journal": [id]}, dict(model.named_buffers())) for id, model in ((7, parent), (9, child))}
    save_pool(tmp_path / "a.pool", pool, own)
    back, others = load_pool(tmp_path / "a.pool")
    assert networks_in(tmp_path / "a.pool") == {7, 9}
    assert is_composed(back, 7, parent)
    assert is_composed(back, 9, child)
    assert others[9].header == {"journal": [9]}
    assert {**back.states}.keys() == {**pool.states}.keys()
    assert {state["note"] for state in back.states.values()} == {4}
    header, tensors = network_in(tmp_path / "a.pool", 9)
    assert header == {"journal": [9]}
    assert all(torch.equal(value, tensors[name]) for name, value in child.state_dict().items())
    with pytest.raises(PoolError, match="has no network 8; it has 7, 9"):
        network_in(tmp_path / "a.pool", 8)
    (tmp_path / "a.pool").write_bytes((tmp_path / "a.pool").read_bytes()[:-9])
    with pytest.raises(PoolError):
        load_pool(tmp_path / "a.pool")


def test_what_a_child_keeps_comes_back_from_its_file(tmp_path: Path) -> None:
    _, kept = edited(network(), narrowed)
    save_kept(tmp_path / "kept", 3, kept)
    parent, back = load_kept(tmp_path / "kept")
    assert parent == 3
    for name, one in kept.items():
        assert back[name].parameter == one.parameter
        for known, found in ((one.take, back[name].take), (one.put, back[name].put)):
            assert all(torch.equal(a, b) for a, b in zip(known, found, strict=True))
    (tmp_path / "kept").write_text("{}")
    with pytest.raises(PoolError, match="damaged"):
        load_kept(tmp_path / "kept")


def test_pools_are_put_together_without_sharing() -> None:
    one, other = network(), edited(network(), widened)[0]
    pool = joined([founded(Pool(), 1, parameters(one)), founded(Pool(), 2, parameters(other))])
    assert is_composed(pool, 1, one)
    assert is_composed(pool, 2, other)
    assert shared(pool, 1) == 0
