"""What a run was asked to do, as text by name; seeds apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# What changes nothing but rounding; runs that differ in it alone are repetitions of each other.
_ROUNDING = {"threads", "device"}
# "adam/seed=3", "adam_seed3", "adam-seed-3"; and "lr=0.1"
_SEED = re.compile(r"(?:^|(?<=[/_.,\- ]))seed[-_= ]?(\d+)(?=$|[/_.,\- ])", re.IGNORECASE)
_NAMED = re.compile(r"(?:^|(?<=[/_,\- ]))([A-Za-z]\w*?)=([^/_,\s]+)")
_BETWEEN = r"/_.,\- "


def flat(told: Mapping[str, Any]) -> dict[str, str]:
    """A config as text: {"recipe": {"epochs": 3}, "seed": 0} -> {"recipe.epochs": "3"}; no seed is in it."""
    return {name: value for name, value in _flat("", told) if name.rpartition(".")[2] not in {"seed", *_ROUNDING}}


def from_name(name: str) -> tuple[dict[str, str], int | None]:
    """What the name of a folder tells: "adam/lr=0.1/seed_3" -> ({"name": "adam", "lr": "0.1"}, 3)."""
    seed = _SEED.search(name)
    rest = _SEED.sub("", name)
    named = dict(_NAMED.findall(rest))
    return {"name": _tidy(_NAMED.sub("", rest)), **named}, int(seed[1]) if seed else None


def _flat(name: str, told: Any) -> Iterator[tuple[str, str]]:
    if isinstance(told, dict) and told:
        for key, value in told.items():
            yield from _flat(f"{name}.{key}" if name else str(key), value)
    else:
        yield name, told if isinstance(told, str) else json.dumps(told)


def _tidy(name: str) -> str:
    """Without separators that nothing stands between any longer."""
    return re.sub(rf"[{_BETWEEN}]{{2,}}", lambda some: "/" if "/" in some[0] else some[0][0], name).strip("/_.,- ")
