"""Every edit, undo included, keeps all that `check_edit` asks: on the zoo's networks, and on random architectures."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import networks, randomized
from checks import MANY_LAYERS, SAME_BLOCKS
from every_edit import EDITS, PREPARED, Nowhere
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import netmorph
from netmorph import zoo
from netmorph.testing import check_edit

NETWORKS: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "mlp": ((1, 6, 6), {"width": 0.125}),
    "lenet5": ((1, 28, 28), {"width": 0.5}),
    "minivgg": ((1, 12, 12), {"width": 0.25}),
    "resnet": ((3, 8, 8), {"width": 0.25, "blocks": (1, 1, 1)}),
    "resnet9": ((3, 16, 16), {"width": 0.0625}),
    "gpt": ((6,), {"channels": 8, "heads": 2, "depth": 2, "tied": False}),
    "inception_resnet_small": ((3, 8, 8), {"width": 0.125, "stride": 1}),
}
# Only blocks that add a branch without an activation at its end can be copied exactly.
NOWHERE = {(name, "copy_block") for name in ("mlp", "lenet5", "minivgg", "resnet9")}
# The ways of one verb differ in the numbers they set, networks in where: each way on half of the networks is enough.
WAYS = [edit for edit in EDITS if edit.startswith(("widen ", "factorize "))]


def is_slow(name: str, place: int, edit: str) -> bool:
    return name in MANY_LAYERS or (edit in WAYS and (place + WAYS.index(edit)) % 2 == 1)


ON_THE_ZOO = [
    pytest.param(name, edit, marks=[pytest.mark.slow] if is_slow(name, place, edit) else [])
    for place, name in enumerate(NETWORKS)
    for edit in EDITS
]
RANDOM = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "phases": [Phase.explicit, Phase.generate, Phase.shrink],
}


def check(model: nn.Module, x: Tensor, edit: str, choose: Callable[[list[Any]], Any], export: bool) -> None:
    if edit in PREPARED:
        model = copy.deepcopy(model)
        graph = netmorph.trace(model, x)
        netmorph.apply(graph, PREPARED[edit](graph, choose))
    check_edit(model, x, lambda graph: EDITS[edit](graph, choose), export=export)


def test_every_zoo_network_and_every_edit_is_covered() -> None:
    assert NETWORKS.keys() == zoo.MODELS.keys() - SAME_BLOCKS
    verbs = {"widen", "widen_all", "narrow", "narrow_all", "reconstruct", "gradmax", "residual", "identity", "merge"}
    verbs |= {"copy_block", "stack", "shallow", "linearize", "factorize", "shrink_and_perturb"}
    assert verbs == {name.split()[0] for name in EDITS}


@pytest.mark.parametrize(("name", "edit"), ON_THE_ZOO)
def test_on_the_zoo(name: str, edit: str) -> None:
    torch.manual_seed(1)
    shape, options = NETWORKS[name]
    model = randomized(zoo.build(name, shape, 3, **options)).double()
    x = zoo.example(name, shape, 3)
    x = x.double() if x.is_floating_point() else x
    middle = lambda options: options[len(options) // 2]  # noqa: E731
    if (name, edit) in NOWHERE:
        with pytest.raises(Nowhere):
            check(model, x, edit, middle, export=False)
    else:
        check(model, x, edit, middle, export=edit in ("widen r2r", "residual", "merge"))


@pytest.mark.parametrize("edit", EDITS)
@settings(max_examples=2, **RANDOM)
@given(networks(), st.data())
def test_on_random_architectures(edit: str, network: tuple[nn.Module, Tensor], data: st.DataObject) -> None:
    try:
        check(*network, edit, lambda options: data.draw(st.sampled_from(options)), export=False)
    except Nowhere:
        assume(False)


@pytest.mark.slow
@pytest.mark.parametrize("edit", EDITS)
@settings(max_examples=100, **(RANDOM | {"derandomize": False}))
@given(networks(), st.data())
def test_on_many_random_architectures(edit: str, network: tuple[nn.Module, Tensor], data: st.DataObject) -> None:
    try:
        check(*network, edit, lambda options: data.draw(st.sampled_from(options)), export=True)
    except Nowhere:
        assume(False)
