"""The study's answers as sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from netmorph.ranks.answers import (
    Estimate,
    Kind,
    estimate,
    features,
    geometric,
    learned,
    pairs,
    rank_of,
    ratio,
    settled,
    slope,
    spearman,
    spearman_given,
    weights,
    width_of,
)
from netmorph.ranks.classes import agreement, classified
from netmorph.ranks.rows import Row, trained
from netmorph.ranks.trainings import AGAIN, SHUFFLED, SMALL, TRUE
from netmorph.report.numbers import percent
from netmorph.report.plain_page import Table
from netmorph.tasks import LOSS

NAMES = {TRUE: "true labels", SHUFFLED: "shuffled labels", SMALL: "few samples"}
# Which ranks are told of, by name.
RANKS: dict[str, tuple[Kind, str]] = {
    "effective rank, weights": (weights, "effective_rank"),
    "stable rank, weights": (weights, "stable_rank"),
    "effective rank, features": (features, "effective_rank"),
    "stable rank, features": (features, "stable_rank"),
}
FEWEST = 5  # networks of which a correlation is told


def subject(rows: Sequence[Row]) -> list[Row]:
    """The networks that the correlations are about: those that have learned the true labels."""
    return [row for row in trained(rows, TRUE) if learned(row)]


def tables_of(rows: Sequence[Row]) -> list[Table]:
    """All tables of a study that has trained enough networks."""
    again = pairs(trained(rows, TRUE), trained(rows, AGAIN))
    return [
        settling(rows),
        correlations(
            subject(rows),
            "What the converged rank goes with",
            lambda row, kind, measure: rank_of(row, row.last, kind, measure),
        ),
        correlations(
            subject(rows),
            "What the change of rank by training goes with",
            lambda row, kind, measure: rank_of(row, row.last, kind, measure) - rank_of(row, row.first, kind, measure),
        ),
        slopes(subject(rows)),
        memorizing(rows),
        *([class_table(trained(rows, TRUE), again)] if again else []),
        networks(rows),
    ]


def answered(rows: Sequence[Row]) -> list[str]:
    """The answers in a few sentences."""
    true, own = trained(rows, TRUE), subject(rows)
    width = [width_of(row) for row in own]
    if len(own) < FEWEST:
        return [f"Only {len(own)} networks have learned the true labels: no answers yet."]
    of_width = estimate(slope, width, [rank_of(row, row.last, weights) for row in own])
    of_features = estimate(slope, width, [rank_of(row, row.last, features) for row in own])
    told = [
        f"Of {len(true)} networks, the converged rank of weights grows as the width to the power {of_width}, that of "
        f"features {of_features}: 1 would be a rank of the architecture's, 0 one of the task's."
    ]
    memorized = pairs(own, trained(rows, SHUFFLED))
    if len(memorized) >= FEWEST:
        told.append(
            f"On shuffled labels ranks are {ratio(memorized, weights)} times as high (weights) and "
            f"{ratio(memorized, features)} times (features) as on true ones."
        )
    again = pairs(true, trained(rows, AGAIN))
    if again:
        before, after = classified(true, again)
        told.append(
            f"By their converged ranks they fall into {after.count} classes ({after.outside} in none), untrained into "
            f"{before.count} ({before.outside}); adjusted Rand index of both {agreement(before, after):.2f}."
        )
    return told


def settling(rows: Sequence[Row]) -> Table:
    """Whether ranks have settled where the loss has."""
    shown = []
    for condition, name in NAMES.items():
        own = trained(rows, condition)
        if own:
            epochs = sorted(row.last.epoch for row in own)
            shares = [sum(of) / len(own) for of in _told_of(own)]
            shown.append([name, str(len(own)), f"{epochs[0]}–{epochs[-1]}", *map(percent, shares)])
    return Table(
        "Did ranks settle?",
        ("", "networks", "epochs", "loss saturated", "training samples known", "rank settled: weights", "features"),
        shown,
        "Settled: the effective rank moved by less than 5% over the last third of the epochs. Known: a training "
        "accuracy of at least 90%.",
    )


def _told_of(rows: Sequence[Row]) -> list[list[bool]]:
    return [
        [row.saturated for row in rows],
        [learned(row) for row in rows],
        [settled(row, weights) for row in rows],
        [settled(row, features) for row in rows],
    ]


def correlations(rows: Sequence[Row], title: str, found: Callable[[Row, Kind, str], float]) -> Table:
    """Spearman's correlation of what is found of ranks with what a network is and reaches."""
    against: dict[str, tuple[Callable[[Row], float], Sequence[Row]]] = {
        "test accuracy": (lambda row: row.test["accuracy"], rows),
        "width": (width_of, rows),
        "depth": (lambda row: float(len(row.architecture.widths)), rows),
    }
    for optimizer in sorted({row.architecture.optimizer for row in rows}):
        own = [row for row in rows if row.architecture.optimizer == optimizer]
        against[f"B / (mu lambda), {optimizer}"] = (lambda row: row.architecture.noise, own)
    shown = []
    for name, (value, chosen) in against.items():
        for given in (False, True) if name != "width" else (False,):
            cells = [
                _correlation(chosen, value, lambda row, rank=rank: found(row, *rank), given)  # type: ignore[misc]
                for rank in RANKS.values()
            ]
            shown.append([f"{name}{', given the width' if given else ''}", str(len(chosen)), *cells])
    return Table(
        title,
        ("", "networks", *RANKS),
        shown,
        "Spearman's correlation, with 95% intervals by bootstrap over networks; a star where the interval excludes "
        "zero. Networks that did not learn the true labels are left out.",
    )


def _correlation(rows: Sequence[Row], value: Callable[[Row], float], rank: Callable[[Row], float], given: bool) -> str:
    if len(rows) < FEWEST:
        return "–"
    columns = [[value(row) for row in rows], [rank(row) for row in rows]]
    if given:
        return _starred(estimate(spearman_given, *columns, [width_of(row) for row in rows]))
    return _starred(estimate(spearman, *columns))


def slopes(rows: Sequence[Row]) -> Table:
    """The power of the width with which ranks grow, before and after training."""
    shown = []
    width = [width_of(row) for row in rows]
    for name, (kind, measure) in RANKS.items() if len(rows) >= FEWEST else ():
        before = [rank_of(row, row.first, kind, measure) for row in rows]
        after = [rank_of(row, row.last, kind, measure) for row in rows]
        change = [late - early for early, late in zip(before, after, strict=True)]
        found = (estimate(slope, width, before), estimate(slope, width, after), estimate(geometric, change))
        shown.append([name, *map(str, found)])
    return Table(
        "The task's, or the architecture's?",
        ("", "power of the width, untrained", "converged", "converged over untrained rank"),
        shown,
        "1: the rank is a share of the width. 0: it is the same whatever the width. Last: a geometric mean.",
    )


def memorizing(rows: Sequence[Row]) -> Table:
    """Converged ranks under other conditions over those on true labels and all samples, of the same networks."""
    true, shown = subject(rows), []
    for condition, name in list(NAMES.items())[1:]:
        others = trained(rows, condition)
        by_heart = [row for row in others if learned(row)]
        for told, chosen in ((name, others), (f"{name}, known by heart", by_heart)):
            both = pairs(true, chosen)
            known = len(both) >= FEWEST
            cells = [_starred(ratio(both, *rank), 1) if known else "–" for rank in RANKS.values()]
            shown.append([told, str(len(both)), *cells])
    return Table(
        "Memorizing",
        ("", "networks", *RANKS),
        shown,
        "How many times as high the converged rank is as on true labels and all samples: geometric means over the "
        "same networks; a star where the interval excludes one.",
    )


def class_table(rows: Sequence[Row], again: Sequence[tuple[Row, Row]]) -> Table:
    """The classes of converged ranks, and what their members are."""
    before, after = classified(rows, again)
    shown = []
    for label in [*range(after.count), -1]:
        own = [row for row, its in zip(rows, after.labels, strict=True) if its == label]
        if not own:
            continue
        shapes = [row.architecture for row in own]
        widths, depths = [round(math.exp(width_of(row))) for row in own], [len(shape.widths) for shape in shapes]
        ranks = [math.exp(rank_of(row, row.last, weights)) for row in own]
        shown.append(
            [
                "none" if label < 0 else str(label + 1),
                str(len(own)),
                f"{min(ranks):.3g}–{max(ranks):.3g}",
                f"{min(widths)}–{max(widths)}",
                f"{min(depths)}–{max(depths)}",
                percent(sum(shape.skips for shape in shapes) / len(own)),
                percent(sum(shape.optimizer == "sgd" for shape in shapes) / len(own)),
                percent(float(np.median([row.test["accuracy"] for row in own]))),
            ]
        )
    return Table(
        "Classes of equal converged rank",
        ("class", "networks", "rank", "width", "hidden layers", "with skips", "sgd", "test accuracy, median"),
        shown,
        f"HDBSCAN on profiles of log effective rank; the error is {after.error:.3f} (median distance of two seeds). "
        f"Untrained, the same method finds {before.count} classes with {before.outside} networks in none; the adjusted "
        f"Rand index of both is {agreement(before, after):.2f}.",
    )


def networks(rows: Sequence[Row]) -> Table:
    """Every network under every condition."""
    shown = []
    for row in rows:
        shape = row.architecture
        cells = [
            f"{row.condition} {row.network}",
            "-".join(map(str, shape.widths)) + (" skips" if shape.skips else ""),
            f"{shape.optimizer}, {shape.batch_size}",
            f"{shape.learning_rate:.2g}, {shape.weight_decay:.2g}",
        ]
        if row.failure is None:
            ranks = [" ".join(f"{row.last.weights[layer]['effective_rank'] or 0:.0f}" for layer in row.hidden)]
            ranks.append(" ".join(f"{row.last.features[layer]['effective_rank'] or 0:.0f}" for layer in row.hidden))
            reached = [f"{row.last.train[LOSS]:.3f}", percent(row.test["accuracy"])]
            cells += [str(row.last.epoch), *reached, *ranks]
        else:
            cells += ["failed", "–", "–", "–", "–"]
        shown.append(cells)
    columns = (
        "network",
        "widths",
        "optimizer, batch",
        "rate, decay",
        "epochs",
        "training loss",
        "test",
        "ranks of weights",
        "of features",
    )
    return Table("All networks", columns, shown)


def _starred(found: Estimate, null: float = 0) -> str:
    return f"{found}{'*' if found.excludes(null) else ''}"
