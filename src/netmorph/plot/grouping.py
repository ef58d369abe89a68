"""Which runs are one line: those that differ in nothing but their seed, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import takewhile

from netmorph.plot.settings import from_name
from netmorph.plot.values import Run, unknown

# What runs have in common that are drawn as one line.
Grouping = Callable[[Run], Hashable]
RUN = "run"  # stands for the run itself, where settings are named
_OF_ITSELF = ("arm", "agent", "condition", "name")  # settings whose values say enough without their name
MOST_TOLD = 3  # settings in a label; runs that differ in more go by their names


def by_seed(run: Run) -> Hashable:
    """Runs that differ only in their seed. One whose seed is not known stands for itself."""
    if run.label is not None:
        return run.label
    return tuple(sorted(run.settings.items())) if run.seed is not None else run.name


def by_settings(*names: str) -> Grouping:
    """Runs with the same values of these settings; "run" lets each stand for itself.

    Raises:
        PlotError: (when it is called) a run has no such setting.
    """

    def key(run: Run) -> Hashable:
        known = {**run.settings, RUN: run.name}
        for name in names:
            if name not in known:
                raise unknown(f"setting of {run.name} called", name, [RUN, *run.settings])
        return tuple(known[name] for name in names)

    return key


def grouped(runs: Sequence[Run], grouping: Grouping = by_seed) -> dict[str, list[Run]]:
    """Labels -> the runs that are one line, in the order in which they first come."""
    found: dict[Hashable, list[Run]] = {}
    for run in runs:
        found.setdefault(grouping(run), []).append(run)
    groups = list(found.values())
    return dict(zip(_labels(groups), groups, strict=True))


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """What tells the groups apart: what the user calls them, the settings in which they differ, or names."""
    shared = [_shared(group) for group in groups]
    differing = [name for name in shared[0] if all(name in one for one in shared)]
    differing = [name for name in differing if len({one[name] for one in shared}) > 1]
    firsts = _shortened([_name(group) for group in groups])
    tellable = 0 < len(differing) <= MOST_TOLD
    if tellable and "name" in differing:
        for one, name in zip(shared, _shortened([one["name"] for one in shared]), strict=True):
            one["name"] = name
    told = [", ".join(_told(name, one[name]) for name in differing) if tellable else "" for one in shared]
    labels = [group[0].label or label or name for group, label, name in zip(groups, told, firsts, strict=True)]
    if len(set(labels)) == len(labels):
        return labels
    return [
        name if group[0].label is None else f"{group[0].label}, {name}"
        for group, name in zip(groups, firsts, strict=True)
    ]


def _name(group: Sequence[Run]) -> str:
    """The path of a run; of several what their paths begin with, seeds and numbers at its end left out."""
    if len(group) == 1:
        return group[0].name
    names = [from_name(run.name)[0]["name"] for run in group]
    return re.sub(r"[/_.,\- ]+\d*$", "", names[0][: _alike(names)]) or group[0].name


def _shared(group: Sequence[Run]) -> dict[str, str]:
    """The settings that all runs of a group have in common."""
    return {
        name: value
        for name, value in group[0].settings.items()
        if all(run.settings.get(name) == value for run in group)
    }


def _told(name: str, value: str) -> str:
    return value if name in _OF_ITSELF else f"{name.rpartition('.')[2].replace('_', ' ')} {value}"


def _shortened(names: Sequence[str]) -> list[str]:
    """Paths without the parts that all have in common at their beginning and end; a single one by its last part."""
    paths = [name.strip("/").split("/") for name in names]
    if len(paths) == 1:
        return [paths[0][-1]]
    front = _alike(paths)
    behind = _alike([path[front:][::-1] for path in paths])
    return ["/".join(path[front : len(path) - behind]) or path[-1] for path in paths]


def _alike(paths: Sequence[Sequence[str]]) -> int:
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))


def seeds_of(groups: Mapping[str, Sequence[Run]]) -> dict[str, list[int]]:
    """The seeds of each group, as far as they are known."""
    return {label: sorted(run.seed for run in runs if run.seed is not None) for label, runs in groups.items()}
