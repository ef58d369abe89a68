"""Numbers as people read them."""

import math
from collections.abc import Mapping


def percent(share: float | None) -> str:
    """0.98712 -> "98.71%"; a dash for what is unknown."""
    return "–" if share is None else f"{100 * share:.2f}%"


def power_of_ten(value: float) -> str:
    """0.001 -> "10⁻³"; what lies between two powers is shown as the nearer one."""
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def duration(seconds: float | None) -> str:
    """75 -> "1 min 15 s"; a dash for what is unknown."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def recipe_text(changes: Mapping[str, float]) -> str:
    """What a network was trained with in place of the run's recipe: "learning rate 0.00712, weight decay 0.0121"."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in changes.items())
