"""Width edits as values, and their messages."""

import pytest
import torch
from nets import output, small, trained
from torch import Tensor, nn

from netmorph import EditError, WidthError, apply, narrow, trace, widen
from netmorph.graph import Allow
from netmorph.graph.journal import Description
from netmorph.graph.tracing import UnknownGroup
from netmorph.widenings import ChannelMap, copied_pairs, net2net, r2r, random_pad, rms_pad, unequal_split, zero


def test_an_edit_touches_nothing_until_it_is_applied() -> None:
    model, x = small()
    before = {name: (id(p), p.shape) for name, p in model.named_parameters()}
    edit = widen(trace(model, x), "0", 6)
    edit.plan(trace(model, x))
    assert before == {name: (id(p), p.shape) for name, p in model.named_parameters()}
    assert edit.describe() == Description("widen", "r2r", "0", 4, 6)


def test_what_each_method_writes_and_reads() -> None:
    def widened(method):  # type: ignore[no-untyped-def]
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).double()
        old = model[0].weight.detach().clone(), model[1].weight.detach().clone()
        graph = trace(model, torch.randn(3, 2).double())
        apply(graph, widen(graph, "0", 4, method, seed=1))
        return *old, model[0].weight.detach(), model[1].weight.detach()

    writer, reader, rows, columns = widened(r2r)
    assert torch.equal(rows[:2], writer)
    assert torch.equal(rows[2], rows[3])
    assert torch.equal(columns[:, 2], -columns[:, 3])
    assert columns[:, 2].abs().sum() > 0
    writer, reader, rows, columns = widened(net2net)
    assert torch.equal(rows[2:].sort(0).values, writer.sort(0).values)
    assert torch.equal(columns[:, :2], reader / 2)
    writer, reader, rows, columns = widened(unequal_split)
    assert torch.allclose(columns.sum(), reader.sum())
    assert len(columns.unique()) == 4
    writer, reader, rows, columns = widened(copied_pairs)
    assert torch.equal(rows[:2], writer)
    assert torch.equal(rows[2], rows[3])
    assert any(torch.equal(rows[2], row) for row in writer)
    assert torch.equal(columns[:, :2], reader)
    assert torch.equal(columns[:, 2], -columns[:, 3])
    assert not any(torch.equal(columns[:, 2].abs(), column.abs()) for column in reader.T)
    writer, reader, rows, columns = widened(zero)
    assert columns[:, 2:].abs().sum() == 0
    assert rows[2:].abs().sum() > 0
    writer, reader, rows, columns = widened(random_pad)
    assert torch.equal(columns[:, :2], reader)
    assert columns[:, 2:].abs().min() > 0
    writer, reader, rows, columns = widened(rms_pad)
    assert torch.equal(columns[:, :2], reader * 0.5**0.5)


def test_fresh_weights_are_as_spread_as_the_others() -> None:
    model = nn.Sequential(nn.Linear(50, 40), nn.Linear(40, 2))
    nn.init.normal_(model[0].weight, std=0.3)
    graph = trace(model, torch.randn(2, 50))
    apply(graph, widen(graph, "0", 80, zero))
    fresh = model[0].weight[40:]
    assert 0.27 < float(fresh.std().detach()) < 0.33


def test_batch_norm_of_fresh_channels_is_neutral() -> None:
    model, x = small()
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6))
    norm = model[1]
    assert norm.weight[4:].tolist() == [1, 1]
    assert norm.bias[4:].tolist() == [0, 0]
    assert norm.running_mean[4:].tolist() == [0, 0]
    assert norm.running_var[4:].tolist() == [1, 1]


def test_a_permutation_is_an_exact_narrowing() -> None:
    model, x = small()
    before = output(model, x)
    graph = trace(model, x)
    apply(graph, narrow(graph, "0", [3, 1, 0, 2]))
    assert torch.allclose(before, output(model, x), rtol=0, atol=1e-14)


def test_requires_grad_stays() -> None:
    model, x = small()
    model[0].weight.requires_grad_(False)
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6))
    assert not model[0].weight.requires_grad
    assert model[0].bias.requires_grad
    assert isinstance(model[0].weight, nn.Parameter)


def test_a_method_of_ones_own() -> None:
    def first_again(n: int, m: int, generator: torch.Generator) -> ChannelMap:
        source = torch.tensor([*range(n), *[0] * (m - n)])
        share = torch.tensor([1 / (m - n + 1) if place == 0 else 1.0 for place in source], dtype=torch.float64)
        return ChannelMap(n, source, share, torch.full((m,), -1))

    model, x = small()
    before = output(model, x)
    graph = apply(trace(model, x), widen(trace(model, x), "3", 5, first_again))
    assert torch.allclose(before, output(model, x), rtol=0, atol=1e-14)
    assert graph.journal[-1].edit.method == "first_again"


@pytest.mark.parametrize("to", [4, 3, 1, 0, -2, 6.0])
def test_widening_to_no_more_channels(to: float) -> None:
    model, x = small()
    with pytest.raises(
        WidthError, match=rf"widening '0' needs more than its 4 channels, a whole number, got {to}; see"
    ):
        widen(trace(model, x), "0", to)


def test_narrowing_to_nothing() -> None:
    model, x = small()
    with pytest.raises(WidthError, match="at least 1 channel"):
        narrow(trace(model, x), "0", [])


def test_unknown_group() -> None:
    model, x = small()
    with pytest.raises(
        UnknownGroup, match=r"no channel group 'conv1'.*named after the first module that writes them: 0, 0.in, 3, 6"
    ):
        widen(trace(model, x), "conv1", 9)
    with pytest.raises(UnknownGroup, match=r"no channel group '33' \(did you mean '3'\?\)"):
        narrow(trace(model, x), "33", [0])


@pytest.mark.parametrize(("group", "why"), [("6", "the model's output"), ("0.in", "the model's input")])
def test_frozen_groups_say_why(group: str, why: str) -> None:
    model, x = small()
    for make in (lambda graph: widen(graph, group, 20), lambda graph: narrow(graph, group, [0])):
        with pytest.raises(EditError, match=f"group '{group}' is frozen: {why}.*Choose another group"):
            make(trace(model, x))


def test_of_copies_layer_norm_allows_only_equal_ones_and_says_so() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()
    graph = trace(model, torch.randn(3, 2).double())
    with pytest.raises(
        EditError, match=r"r2r to 6 channels is not exact on '0': a norm averages.*aten.layer_norm in 1.*"
    ) as told:
        widen(graph, "0", 6, r2r)
    assert "take netmorph.widenings.lemon, or copy every channel equally often: net2net to a multiple of 4" in str(
        told.value
    )
    assert widen(graph, "0", 8).describe().method == "lemon"  # which breaks the symmetry of copies, where it is exact
    graph = apply(graph, widen(graph, "0", 8, net2net))
    assert graph.journal[-1].error < 1e-12
    assert model[1].normalized_shape == (8,)


def test_a_method_is_a_function() -> None:
    model, x = small()
    with pytest.raises(WidthError, match=r"a method is a function, such as netmorph.widenings.r2r .*, got 'r2r'"):
        widen(trace(model, x), "0", 6, "r2r")  # type: ignore[arg-type]


def test_equal_copies_are_taken_where_no_other_widening_is_exact() -> None:
    """The norm's epsilon, which unequal copies need another one of, is held nowhere."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return self.two(nn.functional.layer_norm(x, x.shape[-1:]))

    graph = trace(Normed().double(), torch.randn(3, 3).double())
    edit = widen(graph, "one", 8)
    assert edit.describe().method == "net2net"
    assert apply(graph, edit).journal[-1].error < 1e-12


def test_softmax_allows_no_exact_change() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.Softmax(-1), nn.Linear(4, 2))
    graph = trace(model, torch.randn(3, 2))
    assert graph.group("0").allow == Allow.INEXACT
    with pytest.raises(EditError, match=r"(?s)softmax runs over these channels.*no change of its width is exact"):
        widen(graph, "0", 8, net2net)
    apply(graph, widen(graph, "0", 8, random_pad))


def test_an_edit_of_an_older_graph_does_not_fit() -> None:
    model, x = small()
    graph = trace(model, x)
    edit = widen(graph, "0", 6)
    graph = apply(graph, edit)
    with pytest.raises(EditError, match=r"made for 4 channels, but group '0' has 6; make the edit again"):
        apply(graph, edit)


def test_fresh_channels_of_a_weight_normed_layer_have_directions_of_their_own() -> None:
    first = nn.utils.parametrizations.weight_norm(nn.Linear(5, 4))
    model, x = nn.Sequential(first, nn.ReLU(), nn.Linear(4, 2)), torch.randn(3, 5)
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 8, random_pad))
    fresh = nn.functional.normalize(first.weight[4:].detach(), dim=1)
    assert (fresh @ fresh.T).triu(1).max() < 0.999


def test_copied_pairs_pass_a_layer_norm_where_each_channel_has_as_many_copies() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2)).double()
    nn.init.normal_(model[1].weight)
    graph = trace(model, torch.randn(5, 3).double())
    with pytest.raises(EditError, match="copied_pairs to 10 channels is not exact on '0'"):
        widen(graph, "0", 10, copied_pairs)
    graph = apply(graph, widen(graph, "0", 12, copied_pairs))
    assert graph.journal[-1].error < 1e-12


def test_moments_of_copied_pairs_start_as_those_of_fresh_channels() -> None:
    """What flows back to a copy through Z has nothing to do with the original's gradient."""
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters()))
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6, copied_pairs), optimizer)
    for name in ("0.weight", "0.bias", "1.weight"):
        state = optimizer.state[model.get_parameter(name)]
        assert state["exp_avg"][4:].abs().sum() == 0
        assert (state["exp_avg_sq"][4:] >= state["exp_avg_sq"][:4].amax(0)).all()
