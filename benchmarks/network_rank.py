"""What each candidate for the rank of a whole network satisfies.

    python -m benchmarks.network_rank

Small networks of the zoo in float64 with random weights: random exact edits, rescaling between a ReLU's writers and
readers, and functions that are known to compute less.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import netmorph
from netmorph import edit, zoo
from netmorph.edit.plan import Edit
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.measure import NETWORK_RANKS
from netmorph.run.machine import machine, versions
from netmorph.widenings import WIDENINGS

SEEDS = range(3)
SAMPLES = 64
TOLERANCE = 1e-6
SHAPE, CLASSES = (2, 8, 8), 6
NETWORKS: dict[str, dict[str, object]] = {
    "mlp": {"hidden": (24, 12)},
    "lenet5": {"width": 0.25},
    "resnet": {"blocks": (1, 1), "channels": (6, 10)},
}
Make = Callable[[Graph, int], Edit]


def main() -> None:
    torch.set_num_threads(1)
    started = time.perf_counter()
    table: dict[str, dict[str, list[float]]] = {}
    for name, options in NETWORKS.items():
        for seed in SEEDS:
            for kind, changes in edited(name, options, seed):
                for candidate, change in changes.items():
                    table.setdefault(kind, {}).setdefault(candidate, []).append(change)
    show(table)
    print()
    show_monotone()
    print(f"\n{time.perf_counter() - started:.0f} s on {machine()}, 1 thread, {versions()}")


def network(name: str, options: dict[str, object], seed: int) -> tuple[nn.Module, Tensor]:
    """Random weights and statistics of norms, so that nothing is special."""
    torch.manual_seed(seed)
    model = zoo.build(name, SHAPE, CLASSES, **options).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 2)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.2)
    return model, torch.randn(SAMPLES, *SHAPE, dtype=torch.float64)


def edited(name: str, options: dict[str, object], seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Kinds of exact edits, each at a random place, and how far each candidate changes."""
    model, x = network(name, options, seed)
    before = ranks(netmorph.trace(model, x[:4]), x)
    kinds: dict[str, Make] = {f"widen {way}": widened(way) for way in WIDENINGS}
    kinds |= {"residual": residual, "identity": identity, "copy_block": copied, "factorize, full rank": factorized}
    for kind, make in kinds.items():
        changed = copy.deepcopy(model)
        graph = netmorph.trace(changed, x[:4])
        for attempt in range(8):
            try:
                graph = netmorph.apply(graph, make(graph, 8 * seed + attempt))
            except NetmorphError:
                continue
            if (changed(x) - model(x)).abs().max() < 1e-9:
                yield kind, relative(before, ranks(graph, x))
            break
    if name == "mlp":
        with torch.no_grad():
            scales = torch.logspace(-1, 1, 24, dtype=torch.float64)
            model.fc1.weight.mul_(scales[:, None])
            model.fc1.bias.mul_(scales)
            model.fc2.weight.div_(scales)
        yield "rescaling by channel", relative(before, ranks(netmorph.trace(model, x[:4]), x))


def drawn(options: list[str], seed: int) -> str:
    if not options:
        raise NetmorphError("nowhere")
    return options[int(torch.randint(len(options), (), generator=torch.Generator().manual_seed(seed)))]


def widened(way: str) -> Make:
    def make(graph: Graph, seed: int) -> Edit:
        group = graph.group(drawn([group.name for group in graph.editable()], seed))
        return netmorph.widen(graph, group.name, group.size + 4, WIDENINGS[way], seed=seed)

    return make


def residual(graph: Graph, seed: int) -> Edit:
    return netmorph.residual(graph, drawn(edit.places(graph), seed), seed=seed)


def identity(graph: Graph, seed: int) -> Edit:
    return netmorph.identity(graph, drawn(edit.places(graph), seed))


def copied(graph: Graph, seed: int) -> Edit:
    blocks = [path for path, module in graph.model.named_modules() if type(module).__name__ == "BasicBlock"]
    return edit.copy_block(graph, drawn(blocks, seed))


def factorized(graph: Graph, seed: int) -> Edit:
    layers = {path: module for path, module in graph.model.named_modules() if isinstance(module, nn.Linear)}
    path = drawn(list(layers), seed)
    return netmorph.factorize(graph, path, min(layers[path].weight.shape))


def ranks(graph: Graph, x: Tensor) -> dict[str, float]:
    return {name: rank(graph, x.split(32)) for name, rank in NETWORK_RANKS.items()}


def relative(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: abs(after[name] - number) / max(abs(number), 1e-300) for name, number in before.items()}


def show(table: dict[str, dict[str, list[float]]]) -> None:
    """The worst relative change by kind of edit."""
    print(f"| exact change (times) | {' | '.join(NETWORK_RANKS)} |")
    print("|---" * (1 + len(NETWORK_RANKS)) + "|")
    for kind, changes in table.items():
        worst = [max(changes[name]) for name in NETWORK_RANKS]
        cells = ["unchanged" if change <= TOLERANCE else f"{100 * change:.2g}%" for change in worst]
        print(f"| {kind} ({len(next(iter(changes.values())))}) | {' | '.join(cells)} |")


def bottleneck(rank: int, seed: int) -> tuple[nn.Module, Tensor]:
    """An MLP through a linear layer of this rank in the middle; all else is the same for one seed."""
    torch.manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(20, 20, dtype=torch.float64))[0] for _ in range(2))
    model = nn.Sequential(nn.Linear(16, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 10)).double()
    with torch.no_grad():
        model[2].weight.copy_(left[:, :rank] @ right[:rank])
        model[2].bias.zero_()
    return model, torch.randn(SAMPLES, 16, dtype=torch.float64)


def projected(count: int, seed: int) -> tuple[nn.Module, Tensor]:
    """The same function, of which a last layer keeps so many random directions of ten."""
    model, x = bottleneck(20, seed)
    basis = torch.linalg.qr(torch.randn(10, 10, generator=torch.Generator().manual_seed(seed)).double())[0]
    last = nn.Linear(10, 10, bias=False).double()
    with torch.no_grad():
        last.weight.copy_(basis[:, :count] @ basis[:, :count].T)
    return nn.Sequential(*model, last), x


def show_monotone() -> None:
    """Means over seeds, and the share of single steps to less that did not raise the number."""
    families = {"rank of a layer in the middle": bottleneck, "outputs projected to dimensions": projected}
    print(f"| less is computed | {' | '.join(NETWORK_RANKS)} |")
    print("|---" * (1 + len(NETWORK_RANKS)) + "|")
    for title, make in families.items():
        found: dict[int, list[dict[str, float]]] = {}
        for size in (1, 2, 4, 6, 8, 10):
            for seed in range(10):
                model, x = make(size, seed)
                found.setdefault(size, []).append(ranks(netmorph.trace(model, x[:4]), x))
        for size, rows in found.items():
            means = [sum(row[name] for row in rows) / len(rows) for name in NETWORK_RANKS]
            print(f"| {title}: {size} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
        steps = [*zip(found.values(), [*found.values()][1:], strict=False)]
        cells = []
        for name in NETWORK_RANKS:
            kept = [a[name] <= b[name] * (1 + TOLERANCE) for low, high in steps for a, b in zip(low, high, strict=True)]
            cells.append(f"{sum(kept)} of {len(kept)}")
        print(f"| steps that did not raise it | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
