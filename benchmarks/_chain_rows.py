"""The table of `benchmarks.chains`."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from typing import Any

from benchmarks._intervals import interval

COLUMNS = (
    "bank", "price", "by", "worth", "minus random", "at equal FLOPs", "no gradient step", "tuned", "MFLOPs a sample",
    "search FLOPs", "s",
)  # fmt: skip
Row = dict[str, Any]


def rows_of(records: Sequence[Row]) -> list[list[str]]:
    """For a table with `COLUMNS`: means over the seeds and their intervals, differences paired by seed."""
    groups: dict[tuple[str, float, str], dict[int, Row]] = {}
    for record in records:
        groups.setdefault((record["case"], record["price"], record["by"]), {})[record["seed"]] = record
    found = []
    for (case, price, way), mine in groups.items():
        others = groups.get((case, price, "random"), {})
        pairs = [(mine[seed], others[seed]) for seed in mine if seed in others]
        row = [case, f"{price:g}", way, _of(mine.values(), "worth", "{:.4f}")]
        if way != "random" and pairs and "worth" in pairs[0][0]:
            row.append(interval([one["worth"] - other["worth"] for one, other in pairs], "{:+.4f}"))
        else:
            row.append("")
        row.append(interval([_at_equal_flops(*pair) for pair in pairs], "{:+.4f}") if _has_curve(way, pairs) else "")
        row += [_of(mine.values(), "untuned", "{:.2%}"), _of(mine.values(), "tuned", "{:.2%}")]
        row += [f"{statistics.mean(one['flops'] for one in mine.values()) / 1e6:.3g}"]
        found.append(
            row + [f"{statistics.mean(one[name] for one in mine.values()):.3g}" for name in ("spent", "seconds")]
        )
    return found


def _has_curve(way: str, pairs: Sequence[tuple[Row, Row]]) -> bool:
    return way != "random" and bool(pairs) and all("curve" in one for pair in pairs for one in pair)


def _at_equal_flops(one: Row, other: Row) -> float:
    """How much more the best is worth when both have spent what the thriftier one spends in all."""
    spent = min(one["spent"], other["spent"])
    first, second = (
        max((worth for at, _, worth in each["curve"] if at <= spent), default=-1.0) for each in (one, other)
    )
    return first - second


def _of(records: Collection[Row], name: str, form: str) -> str:
    values = [one[name] for one in records if name in one]
    return interval(values, form) if values else ""
