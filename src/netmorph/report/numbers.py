"""Numbers as people read them."""

import math

_SPACE = "\u00a0"  # a number and its unit stay on one line
_UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(share: float | None) -> str:
    """0.98712 -> "98.71%"; a dash for what is unknown."""
    return "–" if share is None else f"{100 * share:.2f}%"


def compact(count: float | None) -> str:
    """1234567 -> "1.23 M"; a dash for what is unknown."""
    if count is None:
        return "–"
    for size, unit in _UNITS:
        if abs(count) >= 0.9995 * size:  # what rounds to 1000 of the smaller unit is 1 of this one
            return f"{count / size:.3g}{_SPACE}{unit}"
    return f"{count:.3g}"


def power_of_ten(value: float) -> str:
    """0.001 -> "10⁻³"; what lies between two powers is shown as the nearer one."""
    return "10" + str(round(math.log10(value))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def flops_text(count: float | None) -> str:
    """1234567 -> "1.23 MFLOPs"; a dash for what is unknown."""
    number = compact(count)
    if count is None:
        return number
    return f"{number}FLOPs" if number[-1].isalpha() else f"{number}{_SPACE}FLOPs"


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
