"""How long a search may go on."""

import contextlib
import math
import re
from dataclasses import dataclass

from netmorph.errors import NetmorphError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


@dataclass(frozen=True)
class Budget:
    """Whatever is reached first ends the search.

    Attributes:
        seconds: wall time of the whole run with its baselines, all sessions of a resumed run together.
        flops: training FLOPs of the evolution; the baselines get as many each.
        rounds: rounds of selection, mutation and training.
    """

    seconds: float = math.inf
    flops: float = math.inf
    rounds: float = math.inf

    @staticmethod
    def parse(text: str) -> "Budget":
        """Read `10m`, `1h30m`, `90s` (time), `8rounds` or `3e14flops`.

        Raises:
            NetmorphError: the text is none of these, or not above zero.
        """
        compact = text.replace(" ", "").lower()
        seconds = _seconds(compact)
        try:
            if seconds is not None:
                budget = Budget(seconds=seconds)
            elif compact.endswith("flops"):
                budget = Budget(flops=float(compact.removesuffix("flops")))
            elif compact.endswith(("rounds", "round")):
                budget = Budget(rounds=int(compact.removesuffix("s").removesuffix("round")))
            else:
                raise ValueError(text)
            given = min(budget.seconds, budget.flops, budget.rounds)
            if not 0 < given < math.inf:
                raise ValueError(text)
        except ValueError:
            raise NetmorphError(
                f"cannot read the budget {text!r}: give a time (90s, 10m, 1h30m), rounds (8rounds) "
                "or training FLOPs (3e14flops), above zero"
            ) from None
        return budget


def duration(text: str) -> float:
    """Seconds: of `90s`, `10m`, `1h30m`, or of a number alone.

    Raises:
        NetmorphError: the text is none of these, or not above zero.
    """
    compact = text.replace(" ", "").lower()
    found = _seconds(compact)
    with contextlib.suppress(ValueError):
        found = float(compact) if found is None else found
    if found is None or not 0 < found < math.inf:
        raise NetmorphError(f"cannot read the duration {text!r}: give a time above zero (90s, 10m, 1h30m)")
    return found


def count(text: str, unit: str) -> int:
    """How many: 200 of "200chains", where `unit` is "chain".

    Raises:
        NetmorphError: the text is nothing like it, or not above zero.
    """
    found = re.fullmatch(rf"(\d+){re.escape(unit)}s?", text.replace(" ", "").lower())
    if found is None or not int(found[1]):
        raise NetmorphError(f"cannot read the budget {text!r}: give a number of {unit}s above zero (200{unit}s)")
    return int(found[1])


def _seconds(compact: str) -> float | None:
    """Of a text that is a time with units and nothing else."""
    times = _TIME.findall(compact)
    if not times or "".join(number + unit for number, unit in times) != compact:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in times)
