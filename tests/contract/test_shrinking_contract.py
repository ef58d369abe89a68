"""Every way to choose widths and to rebuild, on the zoo and on random architectures: the widths asked for come out."""

import copy
from collections.abc import Callable

import pytest
import torch
from architectures import networks, randomized
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_every_edit import NETWORKS
from torch import Tensor, nn

from netmorph import EditError, Samples, trace, zoo
from netmorph.graph import Graph
from netmorph.measure import SPECTRAL, SpectrumError
from netmorph.shrink import SPECTRA, Rebuild, ShrinkError, Widths, by_rank, cut, explaining, fresh, kept, to_cost
from netmorph.testing import check_attributes

WIDTHS: dict[str, Callable[[], Widths]] = {
    **{f"{spectrum}": lambda spectrum=spectrum: by_rank(explaining(0.9), SPECTRA[spectrum]) for spectrum in SPECTRA},
    "effective": lambda: by_rank(SPECTRAL["effective_rank"]),
    "growing": lambda: by_rank(fill=0.5, growth=1.5),
    "cost": lambda: to_cost(params=0.7, multiple_of=1),
}
REBUILDS: dict[str, Rebuild] = {"kept": kept, "cut": cut, "fresh": fresh}


def check(model: nn.Module, x: Tensor, widths: Widths, rebuild: Rebuild) -> None:
    """The samples are gone through in two batches; the network has the widths, and gradients pass."""
    model = copy.deepcopy(model)
    samples = Samples(trace(model, x), [x, x.flip(0)])
    wanted = widths(samples).widths
    sizes = {name: samples.graph.group(name).size for name in wanted}
    growing = {name for name, width in wanted.items() if width > sizes[name]}
    exact = {name for name in growing if samples.graph.group(name).allow.name == "ANY"}
    asked = {name: width for name, width in wanted.items() if name not in growing - exact}
    graph = rebuild(samples, asked, 0)
    assert made(graph) == {name: width for name, width in asked.items() if width != sizes[name]}
    check_attributes(graph.model)
    result = graph.model.eval()(x)
    if result.requires_grad:
        result.square().mean().backward()
    assert bool(result.isfinite().all())


def made(graph: Graph) -> dict[str, int | None]:
    """The widths that the journal tells; a group of one channel may have lost its name."""
    edits = [entry.edit for entry in graph.journal]
    return {
        name: after
        for edit in edits
        for name, (_, after) in (edit.widths or {edit.layer: [edit.before, edit.after]}).items()
    }


# How widths are chosen and how they are reached meet in a table of widths alone.
@pytest.mark.parametrize(
    ("widths", "rebuild"), [*((way, "kept") for way in WIDTHS), ("growing", "cut"), ("cost", "fresh")]
)
@pytest.mark.parametrize("name", NETWORKS)
def test_on_the_zoo(name: str, widths: str, rebuild: str) -> None:
    torch.manual_seed(1)
    shape, options = NETWORKS[name]
    model = randomized(zoo.build(name, shape, 3, **options))
    x = zoo.example(name, shape, 3)
    check(model, torch.cat([x, x.flip(-1)]) if len(x) < 4 else x, WIDTHS[widths](), REBUILDS[rebuild])


@settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    max_examples=25,
)
@given(network=networks(), widths=st.sampled_from(sorted(WIDTHS)), rebuild=st.sampled_from(["cut", "kept"]))
def test_on_random_architectures(network: tuple[nn.Module, Tensor], widths: str, rebuild: str) -> None:
    model, x = network
    told = ""
    try:
        check(randomized(model), x, WIDTHS[widths](), REBUILDS[rebuild])
    except (EditError, ShrinkError, SpectrumError) as error:  # what cannot be reached, or has no rank, is told
        told = str(error)
    assert not told or any(words in told for words in ("cannot be reached", "nothing", "no group", "judge it by"))
