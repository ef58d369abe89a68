"""The commands about banks of detached layers: bank add, random, list, show, remove."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from netmorph.cli import options
from netmorph.cli.answers import answer
from netmorph.cli.app import Options, app, console, quoted, tell
from netmorph.cli.app import options as arguments
from netmorph.cli.ending import WrongUse
from netmorph.cli.networks import BaseOption, Classes, Input, Network
from netmorph.errors import NetmorphError

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from torch import Tensor, nn

    from netmorph.bank import Entry
    from netmorph.data import Dataset

BATCH = 64

bank = typer.Typer(name="bank", help="Layers cut loose from networks, waiting to be chained.", no_args_is_help=True)
app.add_typer(bank)

Folder = Annotated[Path, typer.Option("--bank", help="The bank's folder.")]
Id = Annotated[str, typer.Argument(help="Of an entry, or how it begins; netmorph bank list tells them.")]
SameShape = Annotated[
    bool, typer.Option("--same-shape", help="Only layers that keep the shape of the data, dense ones aside.")
]


class Of(StrEnum):
    """What a detached layer is for."""

    body = "body"
    dense = "dense"
    random = "random"


@bank.command()
def add(
    model: Network,
    folder: Folder = Path("bank"),
    name: Annotated[
        str | None, typer.Option(help="What the network is called in the bank. If not given: MODEL as it is typed.")
    ] = None,
    best: Annotated[
        int | None,
        typer.Option(min=1, help="Of an evolution's folder: so many of its networks, the best by validation score."),
    ] = None,
    same_shape: SameShape = False,
    data: Annotated[
        str | None,
        typer.Option(help="Keep means and deviations of what each layer sees on these data; as in netmorph train."),
    ] = None,
    probes: Annotated[int, typer.Option(min=1, help="With --data: so many training samples.")] = 512,
    input_shape: Input = None,
    option: Options = None,
    classes: Classes = None,
    base: BaseOption = None,
    as_json: options.AsJson = False,
) -> None:
    """Cut a network into layers and blocks, and put each into a bank.

    It is cut wherever one tensor crosses. A layer that is in the bank already stays one entry.

    Examples:

      netmorph bank add runs/digits-1 --bank layers

      netmorph bank add runs/digits-1 --best 4 --bank layers         the best of an evolution

      netmorph bank add torchvision:resnet18 --option weights=DEFAULT --bank layers --same-shape

      netmorph bank add mypackage.nets:build --bank layers --data mnist
    """
    from netmorph import data as datasets
    from netmorph.bank import Bank
    from netmorph.cli.given import Wanted, network, shape_of

    dataset = None if data is None else datasets.load(data)
    shape = shape_of(input_shape) or (None if dataset is None else dataset.input_shape)
    outputs = classes or (None if dataset is None else dataset.outputs)
    wanted = Wanted(model, base, shape, outputs, arguments(option))
    networks = [wanted] if best is None else [replace(wanted, model=one) for one in _best(model, best)]
    entries: dict[str, Entry] = {}
    left_out: dict[str, str] = {}
    for one in networks:
        built, inputs, _ = network(one)
        batches = () if dataset is None else _probes(dataset, built, inputs, probes)
        called = one.model if name is None else name + one.model.removeprefix(model)
        added = Bank(folder).add(built, inputs, called, batches, keeping_shape=same_shape)
        _print(added.entries)
        for what, why in added.left_out.items():
            tell(f"Left out: {what}: {why}")
        entries |= {entry.id: entry for entry in added.entries}
        left_out |= added.left_out
    tell(f"{len(entries)} layers in the bank {quoted(folder)}")
    if as_json:
        _answer(entries.values(), left_out=left_out)


@bank.command(name="random")
def draw(
    like: Annotated[str, typer.Option(help="Layers for what this entry takes: its id, or how it begins.")],
    folder: Folder = Path("bank"),
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 12,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
) -> None:
    """Put fresh random layers into a bank, which keep the shape of the data and have learnt nothing.

    Examples:

      netmorph bank random --bank layers --like 3f2a --count 24
    """
    from netmorph.bank import Bank

    held = Bank(folder)
    entries = held.add_random(held.entry(like).input, count, seed)
    _print(entries)
    if as_json:
        _answer(entries)


@bank.command(name="list")
def listing(
    folder: Folder = Path("bank"),
    kind: Annotated[Of | None, typer.Option(help="Only layers of this kind.")] = None,
    network: Annotated[str | None, typer.Option(help="Only layers of this network.")] = None,
    same_shape: SameShape = False,
    as_json: options.AsJson = False,
) -> None:
    """The layers of a bank: what they take and give (* marks sizes that are free), what they cost, where they are from.

    Examples:

      netmorph bank list --bank layers --same-shape
    """
    from netmorph.bank import Bank, Kind

    entries = Bank(folder).entries(
        kind=None if kind is None else Kind(kind.value), network=network, keeping_shape=same_shape
    )
    if as_json:
        _answer(entries)
        return
    _print(entries)
    tell(f"{len(entries)} layers")


@bank.command(name="show")
def detail(id: Id, folder: Folder = Path("bank"), as_json: options.AsJson = False) -> None:
    """One layer of a bank: where it comes from, what it costs, what it saw, and its modules."""
    from netmorph.bank import Bank
    from netmorph.wording import compact

    held = Bank(folder)
    entry = held.entry(id)
    if as_json:
        _answer([entry])
        return
    view = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    view.add_column(style="bold")
    view.add_column(overflow="fold")
    seen = "nothing is known; add it with --data"
    if entry.seen is not None:
        ranges = [entry.seen.input_mean, entry.seen.input_std, entry.seen.output_mean, entry.seen.output_std]
        told = [f"{min(values):.3g} to {max(values):.3g}" if values else "not told" for values in ranges]
        seen = "in: means {}, deviations {}\nout: means {}, deviations {}".format(*told)
    flops, training = compact(entry.cost.flops), compact(entry.cost.training_flops)
    for title, value in (
        ("layer", entry.id),
        ("kind", entry.kind),
        ("from", f"{entry.origin.network}: {entry.origin.path}, {entry.origin.position + 1} of {entry.origin.of}"),
        ("a copy of", entry.parent or "no other"),
        ("takes", str(entry.input)),
        ("gives", str(entry.output)),
        ("parameters", compact(entry.cost.parameters)),
        ("FLOPs", f"{flops} for a sample, {training} to train on it"),
        ("saw, by channel", seen),
        ("modules", _modules(held.load(entry.id))),
    ):
        view.add_row(title, escape(value))
    console.print(view)


@bank.command()
def remove(
    ids: Annotated[list[str], typer.Argument(help="Of entries, or how they begin.")],
    folder: Folder = Path("bank"),
    as_json: options.AsJson = False,
) -> None:
    """Take layers out of a bank, with their files."""
    from netmorph.bank import Bank

    held = Bank(folder)
    entries = [held.entry(id) for id in ids]  # all are there, or nothing goes
    for entry in entries:
        held.remove(entry.id)
        tell(f"Removed: {entry.id}")
    if as_json:
        _answer(entries)


def _answer(entries: Iterable[Entry], **more: object) -> None:
    answer("bank", {"entries": [entry.as_json() for entry in entries], **more})


def _print(entries: Sequence[Entry]) -> None:
    """One line an entry, so that it can be searched."""
    Console(width=1000, stderr=console.stderr).print(_table(entries))


def _best(model: str, count: int) -> list[str]:
    """An evolution's best networks, as RUN:ID."""
    from netmorph.run.opening import best_of_the_population, run_and_id

    folder, id = run_and_id(model)
    if folder is None or id is not None:
        raise WrongUse(f"--best chooses among the networks of a run; {model} is no folder of one")
    return [f"{model}:{id}" for id in best_of_the_population(folder, count)]


def _probes(dataset: Dataset, model: nn.Module, inputs: object, count: int) -> Iterable[Tensor]:
    import torch

    from netmorph.train.inputs import examples

    batch: Tensor = examples(dataset, model, count)
    if isinstance(inputs, torch.Tensor) and inputs.shape[1:] != batch.shape[1:]:
        raise NetmorphError(
            f"the data have the shape {tuple(batch.shape[1:])}, and the network takes {tuple(inputs.shape[1:])}; give "
            "data of the network's shape"
        )
    return list(batch.split(BATCH))


def _table(entries: Sequence[Entry]) -> Table:
    from netmorph.wording import compact

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in ("id", "kind", "takes", "gives", "parameters", "FLOPs", "from"):
        right = column in ("parameters", "FLOPs")
        table.add_column(column, justify="right" if right else "left", no_wrap=column == "id", overflow="fold")
    for entry in entries:
        numbers = (compact(entry.cost.parameters), compact(entry.cost.flops))
        origin = f"{entry.origin.network}: {entry.origin.path}" if entry.origin.path else entry.origin.network
        table.add_row(entry.id, entry.kind, str(entry.input), str(entry.output), *numbers, escape(origin))
    return table


def _modules(piece: nn.Module) -> str:
    leaves = [(name, module) for name, module in piece.named_modules() if name and not list(module.children())]
    return "\n".join(f"{name}: {module}" for name, module in leaves)
