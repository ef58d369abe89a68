"""What notebooks and prompts show of the result of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netmorph.showing import Cell, View
from netmorph.wording import compact, flops_text

if TYPE_CHECKING:
    from netmorph.run.result import EnsembleResult, NetworkResult, Result

Entry = tuple[str, "NetworkResult | EnsembleResult | None", int | None]


def of_result(result: Result) -> View:
    """A row for the best network, in bold, then what each arm has found."""
    best = result.best
    entries: list[Entry] = [
        (f"best network: {best.id} of {result.arm}" if best else "", best, None),
        ("evolution, best network", result.evolved, result.training_flops),
        ("evolution, ensemble", result.ensemble, None),
    ]
    for name, arm in result.baselines.items():
        entries.append((f"{name}, best network", arm.best, arm.training_flops))
        entries.append((f"{name}, ensemble", arm.ensemble, None))
    found = [(title, entry, flops) for title, entry, flops in entries if entry is not None]
    names = list(dict.fromkeys(name for _, entry, _ in found for name in entry.test))

    def row(title: str, entry: NetworkResult | EnsembleResult, flops: int | None) -> tuple[Cell, ...]:
        spent = None if flops is None else flops_text(flops)
        return title, *map(entry.test.get, names), entry.parameters, flops_text(entry.flops), spent

    return View(
        "Result of a run: " + ("no network is trained yet" if best is None else _said(best)),
        ("", *(f"test {name}" for name in names), "parameters", "a sample", "training"),
        (row(*entry) for entry in found),
        strong=frozenset([0]),
    )


def _said(network: NetworkResult) -> str:
    numbers = {f"validation {name}": value for name, value in network.validation.items()}
    numbers |= {f"test {name}": value for name, value in network.test.items() if value is not None}
    told = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())
    return f"best network {network.id}, {told}, {compact(network.parameters)} parameters"
