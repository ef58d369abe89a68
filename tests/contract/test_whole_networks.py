"""Networks of kinds that people bring, whole but small: what is free in them, changed in all ways that are.

Detectors, generators, pyramids, flow, translation, vocoders. What is single blocks is in `test_further_blocks.py`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netmorph
from netmorph.edit import narrow_all
from netmorph.graph import Allow, Graph, trace
from netmorph.testing import check_groups
from netmorph.testing.masked import masked_outputs

ANY, INEXACT, FROZEN = Allow.ANY, Allow.INEXACT, Allow.FROZEN


def allowed(graph: Graph, *layers: str) -> set[Allow]:
    return {graph.group(layer).allow for layer in layers}


def conv(i: int, o: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(o), nn.SiLU(inplace=True)
    )


def grid(height: int, width: int) -> Tensor:
    """The places of an image [2, H, W], each as x and y."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows])


class Branching(nn.Module):
    """One half of a convolution's channels goes on, and a list keeps all that it becomes on the way."""

    def __init__(self, i: int, o: int, steps: int) -> None:
        super().__init__()
        half = o // 2
        self.first, self.last = conv(i, 2 * half, 1), conv((2 + steps) * half, o, 1)
        self.steps = nn.ModuleList(conv(half, half) for _ in range(steps))

    def forward(self, x: Tensor) -> Tensor:
        found = [*self.first(x).chunk(2, dim=1)]
        for step in self.steps:
            found.append(found[-1] + step(found[-1]))
        return self.last(torch.cat(found, dim=1))


class Detector(nn.Module):
    """Two scales that meet twice; the heads give raw maps in train mode, and places in pixels in eval mode.

    A distance is the mean of a distribution over `bins`, by a fixed convolution. The grid is kept from call to call.
    """

    def __init__(self, classes: int = 2, bins: int = 3) -> None:
        super().__init__()
        self.bins, self.classes = bins, classes
        self.stem, self.near, self.down, self.far = conv(3, 4, 3, 2), Branching(4, 6, 2), conv(6, 8, 3, 2), conv(8, 8)
        self.pool, self.enlarge = nn.MaxPool2d(3, 1, 1), nn.Upsample(scale_factor=2)
        self.pooled, self.fine, self.coarse = conv(24, 8, 1), Branching(14, 6, 1), Branching(14, 10, 1)
        self.turn = conv(6, 6, 3, 2)
        self.sides = nn.ModuleList(nn.Sequential(conv(w, 5), nn.Conv2d(5, 4 * bins, 1)) for w in (6, 10))
        self.kinds = nn.ModuleList(nn.Sequential(conv(w, 7), nn.Conv2d(7, classes, 1)) for w in (6, 10))
        self.mean = nn.Conv2d(bins, 1, 1, bias=False).requires_grad_(False)
        with torch.no_grad():
            self.mean.weight.copy_(torch.arange(bins).view(1, bins, 1, 1))
        self.shapes: list[torch.Size] = []
        self.centres = torch.empty(0)

    def located(self, maps: list[Tensor]) -> Tensor:
        if self.shapes != [found.shape[2:] for found in maps]:
            self.shapes = [found.shape[2:] for found in maps]
            self.centres = torch.cat([grid(*shape).flatten(1) + 0.5 for shape in self.shapes], 1).to(maps[0])
        places = torch.cat([found.flatten(2) for found in maps], 2)
        sides, kinds = places.split((4 * self.bins, self.classes), 1)
        b, _, n = sides.shape
        sides = self.mean(sides.view(b, 4, self.bins, n).transpose(2, 1).softmax(1)).view(b, 4, n)
        before, after = sides.chunk(2, 1)
        return torch.cat((self.centres - before, self.centres + after, kinds.sigmoid()), 1)

    def forward(self, x: Tensor) -> list[Tensor] | Tensor:
        near = self.near(self.stem(x))
        far = [self.far(self.down(near))]
        while len(far) < 3:
            far.append(self.pool(far[-1]))
        far = self.pooled(torch.cat(far, 1))
        fine = self.fine(torch.cat([self.enlarge(far), near], 1))
        coarse = self.coarse(torch.cat([self.turn(fine), far], 1))
        heads = zip((fine, coarse), self.sides, self.kinds, strict=True)
        maps = [torch.cat((side(x), kind(x)), 1) for x, side, kind in heads]
        return maps if self.training else self.located(maps)


def test_a_detector_that_answers_otherwise_in_train_mode() -> None:
    model = Detector()
    graph = check_groups(model, torch.randn(2, 3, 16, 16), strict=True)
    free = ("stem.0", "near.first.0", "near.steps.0.0", "near.last.0", "far.0", "pooled.0", "fine.steps.0.0", "turn.0")
    assert allowed(graph, *free, "coarse.last.0", "sides.0.0.0", "kinds.1.0.0") == {ANY}
    assert allowed(graph, "sides.0.1", "kinds.0.1", "mean") == {FROZEN}
    assert graph.group("near.first.0") is graph.group("near.steps.1.0"), "a half of what is cut, as wide as its steps"
    model, x = Detector(), torch.randn(2, 3, 16, 16)
    graph = trace(model, x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "near.steps.0.0", 5))
    assert model.near.first[0].out_channels == 10
    netmorph.apply(graph, netmorph.narrow(graph, "coarse.last.0", range(0, 10, 2)))
    assert [found.shape for found in model.train()(x)] == [(2, 14, 8, 8), (2, 14, 4, 4)]


class Generator(nn.Module):
    """Codes become maps by a view whose channels are another layer's; a depthwise convolution enlarges them."""

    def __init__(self) -> None:
        super().__init__()
        self.kind, self.codes = nn.Embedding(3, 4), nn.Linear(4, 6 * 9)
        self.norm, self.up = nn.BatchNorm2d(6), nn.ConvTranspose2d(6, 5, 4, 2, 1, bias=False)
        self.each = nn.ConvTranspose2d(5, 5, 3, 2, 1, output_padding=1, groups=5)
        self.out = nn.Conv2d(5, 2, 1)

    def forward(self, noise: Tensor, kinds: Tensor) -> Tensor:
        x = self.codes(noise + self.kind(kinds)).view(-1, self.up.in_channels, 3, 3)
        return torch.tanh(self.out(self.each(self.up(self.norm(x).relu()).relu()).relu()))


def test_a_generator_whose_codes_are_viewed_as_maps() -> None:
    inputs = torch.randn(3, 4), torch.tensor([0, 2, 1])
    graph = check_groups(Generator(), inputs, strict=True)
    assert allowed(graph, "codes", "up") == {ANY}
    assert graph.group("each") is graph.group("up")
    model = Generator().double().eval()
    inputs = inputs[0].double(), inputs[1]
    before, graph = model(*inputs), trace(model, inputs)
    graph = netmorph.apply(graph, netmorph.widen(graph, "codes", 8))
    netmorph.apply(graph, netmorph.widen(graph, "up", 7))
    torch.testing.assert_close(model(*inputs), before)
    assert (model.codes.out_features, model.up.in_channels, model.each.groups) == (72, 8, 7)


class Weighed(nn.Module):
    """A sum of maps by learned shares, then a separable convolution."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.shares = nn.Parameter(torch.rand(count) + 0.5)
        self.each, self.mixed = nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        shares = self.shares.relu()
        shares = shares / (shares.sum() + 1e-4)
        return self.mixed(self.each(F.silu(torch.stack([s * x for s, x in zip(shares, maps, strict=True)]).sum(0))))


class Pyramid(nn.Module):
    """Scales of one width, mixed up and down; one head for all, with norms for each scale, its answers joined."""

    def __init__(self, width: int = 6, answers: int = 3) -> None:
        super().__init__()
        self.answers = answers
        self.body = nn.ModuleList([conv(3, 4, 3, 2), conv(4, 5, 3, 2)])
        self.lateral = nn.ModuleList(nn.Conv2d(i, width, 1) for i in (4, 5))
        self.up, self.down = Weighed(2, width), Weighed(2, width)
        self.shared, self.last = nn.Conv2d(width, 7, 1), nn.Conv2d(7, 2 * answers, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(7) for _ in range(2))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.body[0](x)
        scales = [lateral(y) for lateral, y in zip(self.lateral, (fine, self.body[1](fine)), strict=True)]
        fine = self.up(scales[0], F.interpolate(scales[1], size=scales[0].shape[-2:]))
        scales = [fine, self.down(scales[1], F.max_pool2d(fine, 3, 2, 1))]
        found = []
        for y, norm in zip(scales, self.norms, strict=True):
            y = self.last(F.silu(norm(self.shared(y)))).permute(0, 2, 3, 1)
            found.append(y.reshape(len(y), -1, self.answers))
        return {"answers": torch.cat(found, 1), "coarse": scales[1].mean((1, 2, 3))}


def test_a_pyramid_with_learned_shares_and_a_head_for_all_scales() -> None:
    model, x = Pyramid(), torch.randn(2, 3, 12, 12)
    graph = check_groups(model, x, strict=True)
    assert allowed(graph, "body.0.0", "body.1.0", "shared") == {ANY}
    neck = [graph.group(name) for name in ("lateral.0", "lateral.1", "up.each", "down.each")]
    assert all(group is neck[0] for group in neck), "what is added has one width"
    graph = trace(model, x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "shared", 10))
    assert [norm.num_features for norm in model.norms] == [10, 10]
    netmorph.apply(graph, netmorph.narrow(graph, "body.0.0", range(3)))
    assert [model.up.shares.shape, model.down.shares.shape] == [(2,), (2,)]
    assert model(x)["answers"].shape == (2, 2 * (36 + 9), 3)


class Flow(nn.Module):
    """One encoder for two frames, what of them is alike looked up around a guess, and a state that mends the guess.

    Rounds share their weights. The guess is enlarged by shares of its neighbours that are learned.
    """

    def __init__(self, hidden: int = 4, context: int = 3) -> None:
        super().__init__()
        self.sizes = [hidden, context]
        self.encoder = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.InstanceNorm2d(5), nn.ReLU(), nn.Conv2d(5, 6, 1))
        self.context = conv(3, hidden + context, 3, 2)
        self.seen = nn.Conv2d(9, 5, 1)
        inputs = hidden + context + 5 + 2
        self.update, self.candidate = nn.Conv2d(inputs, hidden, 3, padding=1), nn.Conv2d(inputs, hidden, 3, padding=1)
        self.step, self.shares = nn.Conv2d(hidden, 2, 3, padding=1), nn.Conv2d(hidden, 4 * 9, 1)

    def around(self, alike: Tensor, at: Tensor) -> Tensor:
        b, _, h, w = at.shape
        near = grid(3, 3).permute(1, 2, 0).to(at) - 1
        places = at.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2) + near
        places = torch.stack([2 * places[..., 0] / (w - 1) - 1, 2 * places[..., 1] / (h - 1) - 1], -1)
        return F.grid_sample(alike, places, align_corners=True).view(b, h, w, -1).permute(0, 3, 1, 2)

    def enlarged(self, guess: Tensor, shares: Tensor) -> Tensor:
        b, _, h, w = guess.shape
        neighbours = F.unfold(2 * guess, 3, padding=1).view(b, 2, 9, 1, 1, h, w)
        mean = (shares.view(b, 1, 9, 2, 2, h, w).softmax(2) * neighbours).sum(2)
        return mean.permute(0, 1, 4, 2, 5, 3).reshape(b, 2, 2 * h, 2 * w)

    def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
        one, two = self.encoder(torch.cat([first, second])).split(len(first))
        b, _, h, w = one.shape
        alike = (one.flatten(2).transpose(1, 2) @ two.flatten(2)).reshape(b * h * w, 1, h, w)
        state, context = self.context(first).split(self.sizes, 1)
        state, context = state.tanh(), context.relu()
        start = grid(h, w).to(first).expand(b, -1, -1, -1)
        guess, found = start, []
        for _ in range(2):
            moved = guess.detach() - start
            seen = torch.cat([context, self.seen(self.around(alike, guess.detach())).relu(), moved], 1)
            keep = self.update(torch.cat([state, seen], 1)).sigmoid()
            state = keep * state + (1 - keep) * self.candidate(torch.cat([state, seen], 1)).tanh()
            guess = guess.detach() + self.step(state)
            found.append(self.enlarged(guess - start, self.shares(state)))
        return found


def test_flow_that_is_mended_round_by_round() -> None:
    frames = torch.randn(2, 3, 8, 10), torch.randn(2, 3, 8, 10)
    graph = check_groups(Flow(), frames, strict=True)
    assert allowed(graph, "encoder.0", "seen", "update") == {ANY}
    assert graph.group("update") is graph.group("candidate")
    assert allowed(graph, "step", "shares") == {FROZEN}
    assert graph.group("encoder.3").allow > FROZEN
    model = Flow()
    graph = trace(model, frames)
    netmorph.apply(graph, netmorph.widen(graph, "update", 7))
    assert (model.sizes, model.context[0].out_channels, model.step.in_channels) == ([7, 3], 10, 7)


class Cell(nn.Module):
    """A GRU of two linear layers, whose gates are thirds."""

    def __init__(self, i: int, hidden: int) -> None:
        super().__init__()
        self.hidden, self.of_input, self.of_state = hidden, nn.Linear(i, 3 * hidden), nn.Linear(hidden, 3 * hidden)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        (xr, xz, xn), (hr, hz, hn) = self.of_input(x).chunk(3, -1), self.of_state(state).chunk(3, -1)
        keep = torch.sigmoid(xz + hz)
        return keep * state + (1 - keep) * torch.tanh(xn + torch.sigmoid(xr + hr) * hn)


class Translation(nn.Module):
    """Both directions over the words of a sentence, then word by word: each answer looks back at all of the states.

    In train mode the words to answer are read, in eval mode the network's own.
    """

    def __init__(self, width: int = 4, hidden: int = 5, later: int = 6) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(8, width, padding_idx=0), nn.Embedding(7, width)
        self.there, self.back, self.later = Cell(width, hidden), Cell(width, hidden), Cell(width + 2 * hidden, later)
        self.bridge, self.keys = nn.Linear(2 * hidden, later), nn.Linear(2 * hidden, 3)
        self.query, self.score, self.out = nn.Linear(later, 3), nn.Linear(3, 1, bias=False), nn.Linear(later, 7)

    def states(self, cell: Cell, words: list[Tensor]) -> list[Tensor]:
        found = [words[0].new_zeros(len(words[0]), cell.hidden)]
        for word in words:
            found.append(cell(word, found[-1]))
        return found[1:]

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        words = list(self.source(source).unbind(1))
        there, back = self.states(self.there, words), self.states(self.back, words[::-1])[::-1]
        states = torch.cat([torch.stack(there, 1), torch.stack(back, 1)], -1)
        state, word, answers = self.bridge(torch.cat([there[-1], back[0]], -1)).tanh(), target[:, 0], []
        for at in range(target.shape[1]):
            score = self.score(torch.tanh(self.keys(states) + self.query(state)[:, None]))[..., 0]
            shares = score.masked_fill(source == 0, -torch.inf).softmax(-1)
            seen = (shares[:, None] @ states)[:, 0]
            state = self.later(torch.cat([self.target(word), seen], -1), state)
            answers.append(self.out(state))
            word = target[:, at] if self.training else answers[-1].argmax(-1)
        return torch.stack(answers, 1)


def test_a_translation_by_cells_that_are_written_out() -> None:
    words = torch.tensor([[1, 2, 3], [4, 5, 0]]), torch.tensor([[1, 2], [3, 4]])
    graph = check_groups(Translation(), words, strict=True)
    assert allowed(graph, "source", "target", "there.of_state", "back.of_state", "later.of_state", "query") == {ANY}
    assert graph.group("out").allow == FROZEN  # which word is the largest
    model = Translation().double().eval()
    longer = torch.tensor([[1, 2, 3, 6, 7], [4, 5, 0, 0, 0]]), torch.tensor([[1, 2, 5, 6], [3, 4, 5, 2]])
    before, graph = model(*longer), trace(model, words)
    netmorph.apply(
        graph, netmorph.edit.widen_all(graph, {"there.of_state": 8, "back.of_state": 7, "later.of_state": 9})
    )
    torch.testing.assert_close(model(*longer), before)
    assert (model.there.hidden, model.back.hidden, model.later.of_state.out_features) == (8, 7, 27)


def hooked(norm: Callable[..., nn.Module], layer: nn.Module) -> nn.Module:
    """A weight that a hook computes before each forward and keeps as a plain attribute."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return norm(layer)


class Vocoder(nn.Module):
    """Sound from spectra: transposed convolutions and branches of several kernels, averaged; and who judges it."""

    def __init__(self) -> None:
        super().__init__()
        weight, spectral = nn.utils.weight_norm, nn.utils.spectral_norm
        self.first = hooked(weight, nn.Conv1d(3, 8, 3, padding=1))
        self.up = hooked(weight, nn.ConvTranspose1d(8, 4, 4, 2, 1))
        self.branches = nn.ModuleList(hooked(weight, nn.Conv1d(4, 4, k, padding=k // 2)) for k in (1, 3))
        self.last = hooked(weight, nn.Conv1d(4, 1, 3, padding=1))
        self.judge = nn.Sequential(
            hooked(spectral, nn.Conv1d(1, 5, 3, 2)), nn.LeakyReLU(0.1), hooked(spectral, nn.Conv1d(5, 1, 3))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.up(F.leaky_relu(self.first(x), 0.1))
        x = sum(x + branch(F.leaky_relu(x, 0.1)) for branch in self.branches) / len(self.branches)
        sound = torch.tanh(self.last(x))
        return sound, self.judge(sound).flatten(1)


def test_a_vocoder_whose_weights_are_normed_by_the_older_hooks(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Vocoder().double().eval(), torch.randn(2, 3, 8).double()
    graph = trace(model, x, strict=True)
    assert allowed(graph, "first", "judge.0") == {ANY}
    assert allowed(graph, "up") == {INEXACT}  # norms run over the channels that it writes
    optimizer = torch.optim.AdamW(model.parameters())
    graph = netmorph.apply(graph, netmorph.widen(graph, "first", 11), optimizer)
    assert graph.journal[-1].error < 1e-12
    kept = {"first": range(1, 11, 2), "up": (0, 3), "judge.0": range(3)}
    masked = masked_outputs(graph, kept)
    graph = netmorph.apply(graph, narrow_all(graph, kept), optimizer)
    for found, expected in zip(model(x), masked, strict=True):
        torch.testing.assert_close(found, expected)
    for _ in range(2):
        optimizer.zero_grad()
        sum(found.square().mean() for found in model.train()(x)).backward()
        optimizer.step()
    model.eval()(x)  # the hooks compute the weights
    netmorph.save(tmp_path / "vocoder.safetensors", model, graph.journal)
    loaded, _ = netmorph.load(tmp_path / "vocoder.safetensors", base=lambda: Vocoder().double())
    with torch.no_grad():
        model(x)  # what hooks have computed without gradients can be copied
    copied = copy.deepcopy(model)
    for other in (loaded.eval(), copied):
        for found, expected in zip(other(x), model(x), strict=True):
            torch.testing.assert_close(found, expected)
    with pytest.raises(netmorph.EditError, match="exact"):
        netmorph.apply(graph, netmorph.widen(graph, "up", 5))
