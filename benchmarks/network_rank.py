"""What each candidate for the rank of a whole network satisfies.

    python -m benchmarks.network_rank

Small networks in float64, with random weights and trained on the digits: random exact edits, chains of them, rescaling
between layers, and functions that are known to compute less.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

import netmorph
from benchmarks._ranked import Ranked, behind_embeddings, random_weights, trained
from netmorph import edit
from netmorph.edit.plan import Edit
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.measure import NETWORK_RANKS
from netmorph.run.machine import machine, versions
from netmorph.widenings import WIDENINGS

SEEDS = range(3)
TOLERANCE = 1e-6
CHAIN = 4  # edits in a chain
TRIES = 12
BLOCKS = ("BasicBlock", "Block")
SAMPLES = 64  # of functions that compute less
Make = Callable[[Graph, int], Edit]
FAMILIES: dict[str, dict[str, Callable[[int], Ranked]]] = {
    "random weights": {
        name: lambda seed, name=name: random_weights(name, seed) for name in ("mlp", "lenet5", "resnet")
    },
    "trained": {name: lambda seed, name=name: trained(name, seed) for name in ("mlp", "lenet5", "resnet")},
    "transformers": {
        "vit, random weights": lambda seed: random_weights("vit", seed),
        "vit, trained": lambda seed: trained("vit", seed),
        "gpt behind its embeddings, trained": behind_embeddings,
    },
}


def main() -> None:
    torch.set_num_threads(1)
    started = time.perf_counter()
    for family, networks in FAMILIES.items():
        table: dict[str, dict[str, list[float]]] = {}
        told: list[str] = []
        for name, make in networks.items():
            for seed in SEEDS:
                ranked = make(seed)
                told += [f"{name} {ranked.told}"] if ranked.told else []
                for kind, changes in edited(ranked, seed):
                    for candidate, change in changes.items():
                        table.setdefault(kind, {}).setdefault(candidate, []).append(change)
        show(family, table)
        print("", ", ".join(told), "", sep="\n", flush=True)
    show_monotone()
    print(f"\n{time.perf_counter() - started:.0f} s on {machine()}, 1 thread, {versions()}")


def edited(ranked: Ranked, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Kinds of exact edits, each at a random place, chains of them, and how far each candidate changes."""
    model, x = ranked.model, ranked.inputs
    before = ranks(netmorph.trace(model, x[:4]), x)
    kinds: dict[str, Make] = {f"widen {way}": widened(way) for way in WIDENINGS}
    kinds |= {"residual": residual, "identity": identity, "copy_block": copied, "factorize, full rank": factorized}
    for kind, make in kinds.items():
        graph = changed(netmorph.trace(copy.deepcopy(model), x[:4]), make, x, seed)
        if graph is not None:
            yield kind, relative(before, ranks(graph, x))
    generator = torch.Generator().manual_seed(seed)
    chained: Graph = netmorph.trace(copy.deepcopy(model), x[:4])
    length = 0
    while length < CHAIN:
        make = [*kinds.values()][int(torch.randint(len(kinds), (), generator=generator))]
        longer = changed(chained, make, x, int(torch.randint(2**31, (), generator=generator)))
        if longer is not None:
            chained, length = longer, length + 1
    yield f"chain of {CHAIN} random edits", relative(before, ranks(chained, x))
    kind, scaled = rescaled(copy.deepcopy(model))
    if kind:
        assert (scaled(x) - model(x)).abs().max() < 1e-9
        yield kind, relative(before, ranks(netmorph.trace(scaled, x[:4]), x))


def changed(graph: Graph, make: Make, x: Tensor, seed: int) -> Graph | None:
    """The graph after an exact edit at the first drawn place where it can be made; None where there is none.

    What is no exact edit is left out: some ways to widen are exact only where the network lets them be.
    """
    expected = graph.model(x)
    twin = netmorph.trace(copy.deepcopy(graph.model), x[:4])
    for attempt in range(TRIES):
        try:
            longer = netmorph.apply(twin, make(twin, TRIES * seed + attempt))
        except NetmorphError:
            continue
        if (longer.model(x) - expected).abs().max() < 1e-9:
            return longer
        twin = netmorph.trace(copy.deepcopy(graph.model), x[:4])
    return None


def rescaled(model: nn.Module) -> tuple[str, nn.Module]:
    """The same function: what a ReLU or attention passes on is scaled by channel, and back by its reader."""
    layers = dict(model.named_modules())
    for writer, reader, kind in (
        ("fc1", "fc2", "ReLU's channels rescaled"),
        ("blocks.0.attention.value", "blocks.0.attention.out", "attention's values rescaled"),
        ("0.0.attention.value", "0.0.attention.out", "attention's values rescaled"),
    ):
        before, behind = layers.get(writer), layers.get(reader)
        if isinstance(before, nn.Linear) and isinstance(behind, nn.Linear):
            scales = torch.logspace(-1, 1, before.out_features, dtype=torch.float64)
            with torch.no_grad():
                before.weight.mul_(scales[:, None])
                before.bias.mul_(scales)
                behind.weight.div_(scales)
            return kind, model
    return "", model


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
    blocks = [path for path, module in graph.model.named_modules() if type(module).__name__ in BLOCKS]
    return edit.copy_block(graph, drawn(blocks, seed))


def factorized(graph: Graph, seed: int) -> Edit:
    layers = {path: module for path, module in graph.model.named_modules() if isinstance(module, nn.Linear)}
    path = drawn(list(layers), seed)
    return netmorph.factorize(graph, path, min(layers[path].weight.shape))


def ranks(graph: Graph, x: Tensor) -> dict[str, float]:
    return {name: rank(graph, x.split(32)) for name, rank in NETWORK_RANKS.items()}


def relative(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: abs(after[name] - number) / max(abs(number), 1e-300) for name, number in before.items()}


def show(family: str, table: dict[str, dict[str, list[float]]]) -> None:
    """The worst relative change by kind of edit."""
    print(f"| {family}: exact change (times) | {' | '.join(NETWORK_RANKS)} |")
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


def truncated(rank: int, seed: int) -> tuple[nn.Module, Tensor]:
    """An MLP, trained on the digits, whose layer in the middle is replaced by its best of this rank."""
    ranked = trained_once(seed)
    model = copy.deepcopy(ranked.model)
    layer = model.get_submodule("fc2")
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        left, values, right = torch.linalg.svd(layer.weight, full_matrices=False)
        layer.weight.copy_((left[:, :rank] * values[:rank]) @ right[:rank])
    return model, ranked.inputs


@functools.cache
def trained_once(seed: int) -> Ranked:
    return trained("mlp", seed)


def show_monotone() -> None:
    """Means over seeds, and the share of single steps to less that did not raise the number."""
    families = {
        "rank of a layer in the middle": bottleneck,
        "outputs projected to dimensions": projected,
        "rank of a trained layer in the middle": truncated,
    }
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
