"""What commands print with --json."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# Raised whenever a field changes its meaning or goes; docs/json.md lists them all.
SCHEMA = 1


def answer(kind: str, told: Mapping[str, Any]) -> None:
    """Print one JSON object: "schema", "kind", and what was found. Numbers that are not finite are null."""
    sys.stdout.write(json.dumps({"schema": SCHEMA, "kind": kind, **_plain(told)}, indent=2, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
