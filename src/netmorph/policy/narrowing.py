"""Choose the widths of all groups at once, so that a network costs a given share of what it does."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from netmorph.edit import WidthEdit, narrow_all
from netmorph.edit.apply import refusal
from netmorph.edit.replace import make
from netmorph.errors import EditError
from netmorph.graph import Graph, Group
from netmorph.measure.prediction import predict_flops, predict_parameters
from netmorph.measure.timing import latency as seconds_of
from netmorph.observe.samples import Samples
from netmorph.scores import Score, best, magnitude

Widths = dict[str, int]


def narrow_to(
    graph: Graph,
    *,
    flops: float | None = None,
    params: float | None = None,
    latency: float | None = None,
    score: Score = magnitude,
    samples: Samples | None = None,
    multiple_of: int = 8,
    minimum: int = 1,
    smallest: float = 0.1,
    groups: Iterable[str] | None = None,
) -> WidthEdit:
    """An edit that drops the channels of the lowest scores until the network costs at most a share of what it does.

    The scores of all groups are ranked together, each taken over the mean of its group. The widths are in
    `edit.changes` before anything is applied; `reconstruct` and `recalibrate` repair what dropping breaks.

    The narrowed network is tried. Groups that `apply` would refuse (the forward uses their width where tracing cannot
    see it) are left out, with a warning, and `edit.left_out` tells why; the others make up for them. No group gets
    narrower than the forward's own comparisons let it (`Group.least`).

    Args:
        flops: the share of FLOPs to keep, above 0 and below 1.
        params: or that of parameters.
        latency: or that of the time of a forward on the example inputs, measured on narrowed copies. Exactly one of
            the three is given.
        score: one of `netmorph.scores.SCORES`, or any function of (group, samples).
        samples: what the score looks at, of this graph; needed by scores that look at data.
        multiple_of: widths are rounded to the nearest multiple; a narrower group keeps all its channels, and no group
            gets more than it has.
        minimum: no group gets fewer channels than this.
        smallest: no group gets fewer than this share of its channels, so that no layer closes the way.
        groups: the groups that may be narrowed; all that can be where it is left out.

    Raises:
        EditError: the target cannot be reached; the message tells what can. Or the times vary too much for a latency.
            Or an argument makes no sense.
        UnknownGroup: no such group.
    """
    kind, share = _target({"flops": flops, "params": params, "latency": latency})
    _check_widths(multiple_of, minimum, smallest)
    samples = samples or Samples(graph)
    if samples.graph is not graph:
        raise EditError("the samples are of another graph; make them again from the current one")
    chosen = _chosen(graph, groups)
    all_scores = {group.name: _scored(score, group, samples) for group in chosen}
    least = {group.name: _least(group, multiple_of, minimum, smallest) for group in chosen}
    cost = _cost_of(graph, chosen, kind)
    left_out: dict[str, str] = {}
    while True:
        scores = {name: values for name, values in all_scores.items() if name not in left_out}
        kept = _kept(scores, least, multiple_of, cost, kind, share, left_out)
        refused = _refused(graph, kept)
        if not refused:
            method = getattr(score, "__name__", type(score).__name__)
            return replace(narrow_all(graph, kept), method=method, left_out=left_out)
        left_out = left_out | refused
        told = f"narrow_to leaves out {', '.join(map(repr, refused))}: {next(iter(refused.values()))}"
        warnings.warn(told, stacklevel=2)


def _refused(graph: Graph, kept: Mapping[str, list[int]]) -> dict[str, str]:
    """The groups without which the others can be narrowed together, and why not with them."""
    if refusal(graph, narrow_all(graph, kept)) is None:
        return {}
    taken: dict[str, list[int]] = {}
    refused: dict[str, str] = {}
    for name, channels in kept.items():
        told = refusal(graph, narrow_all(graph, taken | {name: channels}))
        if told is None:
            taken[name] = channels
        else:
            refused[name] = told
    return refused


def _kept(
    scores: Mapping[str, Tensor],
    least: Mapping[str, int],
    multiple_of: int,
    cost: Callable[[Widths], float],
    kind: str,
    share: float,
    left_out: Mapping[str, str],
) -> dict[str, list[int]]:
    """The channels to keep of each group that gets narrower.

    Raises:
        EditError: the target cannot be reached.
    """
    without = "".join(f"; {name!r} is left out: {reason}" for name, reason in left_out.items())
    if not scores:
        raise EditError(f"{kind}={share:g} cannot be reached: no group is left to narrow{without}")
    whole = cost({})

    owner = torch.cat([torch.full((len(values),), place) for place, values in enumerate(scores.values())])
    order = owner[torch.cat(list(scores.values())).argsort(stable=True)]  # the groups that lose a channel, one by one

    def lost(dropped: int) -> list[int]:
        """How many channels each group loses where so many of the lowest scores go."""
        return torch.bincount(order[:dropped], minlength=len(scores)).tolist()

    def widths(counts: Sequence[int]) -> Widths:
        return {
            name: _rounded(len(values) - count, len(values), multiple_of, least[name])
            for (name, values), count in zip(scores.items(), counts, strict=True)
        }

    too_few, enough = 0, len(order)
    least_cost = cost(widths(lost(enough)))
    if least_cost > share * whole:
        raise EditError(
            f"{kind}={share:g} cannot be reached: with every group at its smallest width, {least_cost / whole:.3f} is "
            f"left. Ask for more, or lower minimum, smallest or multiple_of{without}"
        )
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if cost(widths(lost(middle))) <= share * whole:
            enough = middle
        else:
            too_few = middle
    chosen = widths(lost(enough))
    if kind != "latency":  # which every question measures anew
        chosen = _refilled(order[:enough].tolist(), lost(enough), widths, lambda them: cost(them) <= share * whole)
    kept = {name: best(scores[name], width) for name, width in chosen.items() if width < len(scores[name])}
    if not kept:
        raise EditError(
            f"{kind}={share:g}: at its whole width the network was once measured as that much faster than before, so "
            "the clock is too noisy to choose widths by. Trace with larger inputs, leave the machine idle, or "
            "give flops"
        )
    return kept


def _refilled(
    dropped: Sequence[int], lost: list[int], widths: Callable[[Sequence[int]], Widths], fits: Callable[[Widths], bool]
) -> Widths:
    """The widths with as many of the dropped channels as there is room for, those of the highest scores first.

    The last channel to go may have cost many times what was too much: in a residual stream every block pays for it.

    Args:
        dropped: the group of each dropped channel, by its place, from the lowest score.
        lost: how many channels each group loses.
        widths: those of all groups, when these are lost.
    """
    chosen, full = widths(lost), set[int]()
    for place in reversed(dropped):
        if place not in full:
            fewer = [count - (at == place) for at, count in enumerate(lost)]
            wider = widths(fewer)
            if wider == chosen or fits(wider):
                lost, chosen = fewer, wider
            else:
                full.add(place)
    return chosen


def _target(given: Mapping[str, float | None]) -> tuple[str, float]:
    targets = [(kind, share) for kind, share in given.items() if share is not None]
    if len(targets) != 1 or not 0 < targets[0][1] < 1:
        raise EditError(f"give one of flops, params and latency, a share above 0 and below 1; got {dict(given)}")
    return targets[0]


def _check_widths(multiple_of: int, minimum: int, smallest: float) -> None:
    if multiple_of < 1 or minimum < 1 or not 0 <= smallest <= 1:
        raise EditError(
            "multiple_of and minimum must be at least 1 and smallest between 0 and 1, got "
            f"multiple_of={multiple_of}, minimum={minimum}, smallest={smallest}"
        )


def _chosen(graph: Graph, names: Iterable[str] | None) -> list[Group]:
    wanted = graph.groups.keys() if names is None else {graph.group(name).name for name in names}
    chosen = [group for group in graph.editable() if group.size > 1 and group.name in wanted]
    if not chosen:
        raise EditError("there is no group to narrow: all that were asked for are frozen or have a single channel")
    return chosen


def _scored(score: Score, group: Group, samples: Samples) -> Tensor:
    values = torch.as_tensor(score(group, samples)).detach().to("cpu", torch.float64)
    if values.shape != (group.size,) or not bool(values.isfinite().all()):
        raise EditError(
            f"the score of group {group.name!r} must be {group.size} finite numbers, got shape {tuple(values.shape)}"
            + ("" if values.isfinite().all() else " with NaN or infinite ones")
        )
    mean = values.abs().mean()
    return values / mean if mean > 0 else values


def _least(group: Group, multiple_of: int, minimum: int, smallest: float) -> int:
    """The smallest width of a group: a multiple, unless its whole width is none."""
    floor = max(minimum, smallest * group.size, group.least)
    return int(min(group.size, multiple_of * -(-floor // multiple_of)))


def _rounded(count: int, size: int, multiple_of: int, least: int) -> int:
    if count == size:
        return size
    return min(size, max(least, multiple_of * round(count / multiple_of)))


def _cost_of(graph: Graph, groups: list[Group], kind: str) -> Callable[[Widths], float]:
    """The cost at some groups' widths, in FLOPs, parameters or seconds."""
    if kind == "latency":
        return lambda widths: _seconds(graph, widths)
    atoms = {group.name: group.atom for group in groups}
    prediction = predict_flops(graph) if kind == "flops" else predict_parameters(graph)
    return lambda widths: prediction.at({atoms[name]: width for name, width in widths.items()})


def _seconds(graph: Graph, widths: Widths) -> float:
    """The median time of a forward of a narrowed copy; which channels it keeps makes no difference."""
    model = copy.deepcopy(graph.model)
    kept = {name: range(width) for name, width in widths.items() if width < graph.group(name).size}
    if kept:
        plan = narrow_all(graph, kept).plan(graph)
        make(model, plan, [])
    return seconds_of(model, graph.inputs)
