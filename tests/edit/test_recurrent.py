"""Recurrent layers: units come and go, in every gate, layer and direction, and the function stays."""

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recurrent_nets import STATE, Options, build
from torch import Tensor, nn

from netmorph import EditError, apply, identity, load, narrow, narrow_to, save, shallow, trace, undo, widen
from netmorph.edit import stack, widen_all
from netmorph.edit.reconstruct import reconstruct
from netmorph.edit.replace import structure
from netmorph.observe.samples import Samples
from netmorph.testing import check_edit, check_groups
from netmorph.testing.masked import masked_outputs
from netmorph.widenings import net2net, r2r, unequal_split, zero

LSTM, GRU = Options(), Options("GRU")
DEEP = Options(layers=2, directions=2)
PROJECTED = Options(layers=2, projected=True)
KINDS = ["LSTM", "GRU", "RNN tanh", "RNN relu"]
EXACT = 1e-12


@torch.no_grad()
def gap(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference, relative to the largest value."""
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(one, other, strict=True))


@st.composite
def options(draw: st.DrawFn) -> Options:
    kind = draw(st.sampled_from(KINDS))
    return Options(
        kind,
        layers=draw(st.integers(1, 3)),
        directions=draw(st.integers(1, 2)),
        projected=kind == "LSTM" and draw(st.booleans()),
        bias=draw(st.booleans()),
        batch_first=draw(st.booleans()),
        packed=draw(st.booleans()),
        state=draw(st.sampled_from(["absent", "made", "learned"])),
    )


@settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(options())
def test_any_recurrent_layer_widens_exactly_and_narrows_to_the_masked_original(told: Options) -> None:
    graph = check_groups(*build(told))
    expected = {"first", "rnn", "rnn.proj_size"} if told.projected else {"first", "rnn"}
    assert {group.name for group in graph.editable()} == expected
    assert all(group.allow == 3 for group in graph.editable())


@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(options(), st.sets(st.integers(0, STATE - 1), min_size=4, max_size=STATE - 1))
def test_a_dropped_unit_is_one_that_nobody_reads(told: Options, units: set[int]) -> None:
    """The columns of all that reads it are zero; its rows are what they were."""
    model, x = build(told)
    kept = sorted(units)
    mask = torch.zeros(STATE, dtype=torch.float64)
    mask[kept] = 1
    original = copy.deepcopy(model)
    readers = ["weight_hr"] if told.projected else ["weight_hh", "weight_ih_l1", "weight_ih_l2", "head", "last"]
    with torch.no_grad():
        for name, weight in original.named_parameters():
            if weight.dim() == 2 and any(part in name for part in [*readers, "cells"]):
                weight.mul_(mask.repeat(weight.shape[1] // STATE))
        expected = original(x)
    graph = trace(model, x)
    assert gap(expected, masked_outputs(graph, {"rnn": kept})) < EXACT
    apply(graph, narrow(graph, "rnn", kept))
    assert gap(expected, model(x)) < EXACT
    assert model.rnn.hidden_size == len(kept)


@pytest.mark.parametrize("method", [r2r, net2net, unequal_split, zero])
@pytest.mark.parametrize("kind", KINDS)
def test_exact_over_many_steps_where_every_step_could_add_to_the_error(kind: str, method) -> None:
    """Twins of which each reads the others in its own way part after some hundred steps: by 1, or by 1e10 with ReLU."""
    model, x = build(Options(kind), length=400)
    with torch.no_grad():
        for gate in model.rnn.weight_hh_l0.split(STATE):
            nn.init.orthogonal_(gate)
    before = model(x)
    graph = trace(model, x[:5])
    apply(graph, widen(graph, "rnn", 4 * STATE, method))
    assert gap(before, model(x)) < EXACT


def test_exact_over_many_steps_where_units_and_projection_grow_at_once() -> None:
    model, x = build(PROJECTED, length=400)
    with torch.no_grad():
        for name, weight in model.rnn.named_parameters():
            weight.mul_(2.5 if "weight_h" in name else 1)
    before = model(x)
    graph = trace(model, x[:5])
    apply(graph, widen_all(graph, {"rnn": 24, "rnn.proj_size": 17}))
    assert gap(before, model(x)) < EXACT


@pytest.mark.parametrize("told", [LSTM, DEEP, PROJECTED, Options("GRU", bias=False), Options("RNN relu", packed=True)])
def test_all_that_is_promised_of_an_edit(told: Options) -> None:
    """Optimizer, copies, undo, files, written code, gradients in all that is new."""
    model, x = build(told)
    check_edit(model, x, lambda graph: widen(graph, "rnn", STATE + 3))
    check_edit(model, x, lambda graph: narrow(graph, "rnn", range(1, STATE)))


def test_gates_stay_together_and_open_forget_gates_open() -> None:
    model, x = build(LSTM)
    with torch.no_grad():
        model.rnn.bias_ih_l0.view(4, STATE)[1] = 5
    before = model.rnn.weight_ih_l0.detach().view(4, STATE, 5)
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "rnn", STATE + 2))
    after = model.rnn.weight_ih_l0.detach().view(4, STATE + 2, 5)
    assert torch.equal(after[:, :STATE], before)
    assert torch.equal(after[:, STATE], after[:, STATE + 1])
    assert torch.equal(model.rnn.bias_ih_l0.view(4, -1)[1].detach(), torch.full((STATE + 2,), 5.0).double())
    columns = model.rnn.weight_hh_l0.detach()[:, STATE:]
    assert torch.equal(columns[:, 0], -columns[:, 1])
    assert columns.abs().sum() > 0
    apply(graph, narrow(graph, "rnn", [6, 0]))
    assert torch.equal(model.rnn.weight_ih_l0.detach().view(4, 2, 5), before[:, [6, 0]])


def test_attributes_follow() -> None:
    model, x = build(PROJECTED)
    graph = trace(model, x)
    apply(graph, widen_all(graph, {"first": 8, "rnn": 11, "rnn.proj_size": 4}))
    assert (model.rnn.input_size, model.rnn.hidden_size, model.rnn.proj_size) == (8, 11, 4)
    built = nn.LSTM(8, 11, 2, proj_size=4)
    assert {n: p.shape for n, p in built.named_parameters()} == {n: p.shape for n, p in model.rnn.named_parameters()}


def listed(layer: nn.RNNBase) -> bool:
    """Whether the list that the layer computes with holds its parameters, each in a piece of memory."""
    own = [getattr(layer, name) for name in layer._flat_weights_names]
    held = [*zip(own, layer._flat_weights, layer._flat_weight_refs, strict=True)]
    return all(a is b is c() and a.is_contiguous() for a, b, c in held)


def test_the_list_of_weights_follows_at_once() -> None:
    model, x = build(DEEP)
    put_back = structure(model)
    first = [*model.rnn._flat_weights]
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "rnn", 9))
    assert listed(model.rnn)
    assert listed(copy.deepcopy(model).rnn)
    graph = apply(graph, undo(graph))
    assert listed(model.rnn)
    assert all(a is b for a, b in zip(first, model.rnn._flat_weights, strict=True))
    graph = apply(graph, narrow(graph, "rnn", [0, 1]))
    model(x)
    put_back(["hidden_size"])
    assert listed(model.rnn)
    assert all(a is b for a, b in zip(first, model.rnn._flat_weights, strict=True))
    model(x)


def test_an_edit_that_fails_puts_the_list_of_weights_back() -> None:
    model, x = build(PROJECTED)
    graph = trace(model, x)
    edit = widen(graph, "rnn", 9)
    object.__setattr__(edit, "describe", lambda: "no description")
    with pytest.raises(EditError):
        apply(graph, edit)
    with pytest.raises(EditError, match="optimizer"):
        apply(graph, widen(graph, "rnn", 9), torch.optim.SGD([nn.Parameter(torch.zeros(1))]))
    assert listed(model.rnn)
    assert model.rnn.hidden_size == STATE
    model(x)


def test_saved_loaded_and_trained_on(tmp_path: Path) -> None:
    model, x = build(DEEP)
    graph = trace(model, x)
    optimizer = torch.optim.Adam(model.parameters())
    for width in (9, 12):
        graph = apply(graph, widen(graph, "rnn", width), optimizer)
        model.train()
        optimizer.zero_grad()
        sum(result.square().sum() for result in model(x)).backward()
        optimizer.step()
        model.eval()
    assert all(optimizer.state[p]["exp_avg"].shape == p.shape for p in model.parameters())
    save(tmp_path / "net", model, graph.journal)
    loaded, _ = load(tmp_path / "net", base=lambda: build(DEEP)[0])
    assert all(torch.equal(a, b) for a, b in zip(model(x), loaded(x), strict=True))
    assert listed(loaded.rnn)


def test_a_projection_stays_narrower_than_the_units() -> None:
    """PyTorch tells by the widths of the states whether there is one."""
    model, x = build(PROJECTED)
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"3 channels are not less than 3: .* narrower than the hidden units"):
        apply(graph, narrow(graph, "rnn", [0, 1, 2]))
    with pytest.raises(EditError, match="7 channels are not less than 7"):
        apply(graph, widen(graph, "rnn.proj_size", 7))
    apply(graph, narrow_to(graph, params=0.5, minimum=1, multiple_of=1))
    assert 0 < model.rnn.proj_size < model.rnn.hidden_size


def test_readers_make_up_for_dropped_units_also_from_step_to_step() -> None:
    """The last units are combinations of the others, as the weights after them see."""
    model, x = build(GRU, length=60)
    with torch.no_grad():
        for weight in model.rnn.parameters():
            gates = weight.view(3, STATE, -1)
            gates[:, -1] = gates[:, 0]  # a twin, except for what it starts from: nothing
    before = model(x)
    graph = trace(model, x)
    edit = narrow(graph, "rnn", range(STATE - 1))
    fitted = reconstruct(edit, Samples(graph, [x]))
    assert {tensor for _, tensor, _ in fitted.readings} == {"rnn.weight_hh_l0", "head.weight", "last.weight"}
    apply(graph, fitted)
    assert gap(before, model(x)) < 1e-6


def test_layers_around_it_go_in_and_out_but_not_the_tuple_itself() -> None:
    model, x = build(LSTM)
    graph = trace(model, x)
    for edit in (shallow, stack):
        with pytest.raises(EditError, match=r"'rnn' \(LSTM\) does not return one tensor"):
            edit(graph, "rnn")
    with pytest.raises(EditError, match="no layer can go behind 'rnn'"):
        identity(graph, "rnn")
    apply(graph, identity(graph, "first"))
    assert model.rnn.input_size == 5


class Translate(nn.Module):
    """The encoder's states are where the decoder starts; words are tied to nothing."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(9, 4), nn.Embedding(8, 5)
        self.encoder, self.decoder = kind(4, 6), kind(5, 6)
        self.attend = nn.Linear(6, 6, bias=False)
        self.out = nn.Linear(12, 8)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        states, last = self.encoder(self.source(source))
        y, _ = self.decoder(self.target(target), last)
        scores = torch.einsum("tbh,sbh->tbs", y, self.attend(states)).softmax(-1)
        return self.out(torch.cat([y, torch.einsum("tbs,sbh->tbh", scores, states)], -1))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_an_encoder_and_a_decoder_share_their_units(kind: type[nn.RNNBase]) -> None:
    model, words = Translate(kind).double(), (torch.randint(9, (5, 2)), torch.randint(8, (4, 2)))
    graph = check_groups(model, words)
    group = graph.group("decoder")
    assert group is graph.group("encoder")
    assert group.size == 6
    graph = trace(model, words)
    apply(graph, narrow(graph, "encoder", range(4)))
    assert (model.encoder.hidden_size, model.decoder.hidden_size, model.out.in_features) == (4, 4, 8)


class Cells(nn.Module):
    """Two cells, one on the other; the first starts from zeros of a size that is an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 6
        self.below, self.above = nn.LSTMCell(3, 6), nn.GRUCell(6, 5)
        self.head = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.shape[0], self.hidden)
        y, made = None, []
        for step in x.unbind(1):
            h, c = self.below(step, (h, c))
            y = self.above(h, y)
            made.append(self.head(y))
        return torch.cat(made, 1)


def test_cells_in_a_loop() -> None:
    model, x = Cells().double(), torch.randn(2, 6, 3, dtype=torch.float64)
    check_groups(model, x, strict=True)
    graph = trace(model, x)
    before = model(x)
    apply(graph, widen_all(graph, {"below": 9, "above": 8}))
    assert gap([before], [model(x)]) < EXACT
    assert (model.hidden, model.below.hidden_size, model.above.input_size, model.above.hidden_size) == (9, 9, 9, 8)


class ConvolutionalCell(nn.Module):
    """A ConvLSTM written by hand: gates are equal parts of one convolution of input and state."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Conv2d(width + hidden, 4 * hidden, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.hidden, *x.shape[3:])
        for step in x.unbind(1):
            i, f, o, g = self.gates(torch.cat([step, h], 1)).split(self.hidden, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h


def test_a_recurrence_written_by_hand_is_as_exact() -> None:
    model = nn.Sequential(ConvolutionalCell(2, 5), nn.Conv2d(5, 1, 1)).double()
    with torch.no_grad():
        model[0].gates.weight.mul_(4)
    x = torch.randn(2, 60, 2, 4, 4, dtype=torch.float64)
    graph = check_groups(model, x[:, :4])
    graph = trace(model, x[:, :4])
    before = model(x)
    apply(graph, widen(graph, "0.gates", 15))
    assert gap([before], [model(x)]) < EXACT
    assert model[0].hidden == 15


class Sliced(nn.Module):
    """An LSTM of bare parameters whose gates are slices at multiples of the width."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden_size = 5
        self.inputs, self.state = (nn.Parameter(torch.randn(width, 20)) for width in (3, 5))
        self.bias, self.head = nn.Parameter(torch.randn(20)), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        n = self.hidden_size
        h = c = torch.zeros(x.shape[0], n).to(x)
        for step in x.unbind(1):
            gates = step @ self.inputs + h @ self.state + self.bias
            i, f = gates[:, :n].sigmoid(), gates[:, n : 2 * n].sigmoid()
            c = f * c + i * gates[:, 2 * n : 3 * n].tanh()
            h = gates[:, 3 * n :].sigmoid() * c.tanh()
        return self.head(h)


def test_gates_that_are_slices_follow() -> None:
    model, x = Sliced().double(), torch.randn(2, 200, 3, dtype=torch.float64)
    graph = check_groups(model, x[:, :4])
    graph = trace(model, x[:, :4])
    before = model(x)
    apply(graph, widen(graph, "inputs", 15))
    assert gap([before], [model(x)]) < EXACT
    assert (model.hidden_size, model.state.shape) == (15, (15, 60))


def test_a_state_from_outside_and_a_sequence_of_channels_freeze() -> None:
    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 5)

        def forward(self, x: Tensor, state: Tensor) -> Tensor:
            return self.rnn(x, state)[0].sum()

    graph = trace(Given(), (torch.randn(4, 2, 3), torch.randn(1, 2, 5)))
    assert graph.group("rnn").allow == 0
    assert "the model's input" in graph.group("rnn").reasons[0]

    class OverChannels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.rnn = nn.Conv1d(3, 6, 1), nn.LSTM(8, 5, batch_first=True)
            self.head = nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.conv(x))[0][:, -1])

    graph = trace(OverChannels(), torch.randn(2, 3, 8))
    assert "a recurrence runs along this axis" in graph.group("conv").reasons[0]
    assert graph.group("rnn").allow == 3


def test_tied_words_are_free_but_not_exact() -> None:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.rnn, self.head = nn.Embedding(9, 6), nn.LSTM(6, 6, 2), nn.Linear(6, 9)
            self.head.weight = self.words.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.words(x))[0])

    model, words = Language().double(), torch.randint(9, (5, 2))
    graph = check_groups(model, words)
    assert graph.group("words").allow == 1
    assert "tied weights" in graph.group("words").reasons[0]
    graph = trace(model, words)
    apply(graph, narrow(graph, "words", [5, 1, 2]))
    assert (model.rnn.input_size, model.rnn.hidden_size) == (3, 3)
    assert model.head.weight is model.words.weight


def test_a_normalized_weight_follows_without_being_exact() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.LSTM(3, 5), "weight_hh_l0")
    model = Wrapped(layer)
    x = torch.randn(4, 2, 3)
    graph = trace(model, x)
    assert graph.group("rnn").allow == 1
    apply(graph, narrow(graph, "rnn", [0, 1, 2]))
    assert model.rnn.weight_hh_l0.shape == (12, 3)
    assert model(x).shape == (4, 2, 1)


class Wrapped(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.rnn, self.head = layer, nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


def test_no_group_of_one_network_is_missing() -> None:
    """Names are those of the first module that writes the channels."""
    graph = trace(*build(Options(layers=2, directions=2, projected=True)))
    assert list(graph.groups) == ["first", "first.in", "rnn", "rnn.proj_size", "head", "last", "last.in", "cells"]
    assert str(graph.groups["rnn"]) == f"rnn: {STATE} channels (16 producers, 5 consumers)"
