"""Commands that look at a network, and hand it on: groups, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from netmorph.cli.answers import answer
from netmorph.cli.app import Options, app, options, tell
from netmorph.cli.ending import WrongUse
from netmorph.cli.options import AsJson

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.graph import Graph, Group

Network = Annotated[
    str,
    typer.Argument(
        help="A network of netmorph (resnet), timm:NAME, torchvision:NAME, your own as module:function, a file that "
        "netmorph.save wrote (*.safetensors), a run's folder (its best network), RUN:ID (one of its networks), or the "
        "folder of a chain (netmorph chain).",
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        "--input",
        help="Sizes of one input without the batch: 3x224x224 of an image, 10 for the features of a table or the "
        "context of a text; the network's own if it tells them.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="For a network of netmorph or your own: how many outputs.",
        show_default="10; tokens of gpt: 256",
    ),
]
BaseOption = Annotated[
    str | None, typer.Option("--base", help="For a file: the network before its first edit, as MODEL.")
]
Against = Annotated[str | None, typer.Option(help="Another network, as MODEL: what differs from MODEL to it.")]
AgainstOption = Annotated[
    list[str] | None, typer.Option("--against-option", help="As --option, for the other network.")
]
AgainstBase = Annotated[str | None, typer.Option("--against-base", help="As --base, for the other network.")]


@app.command()
def groups(
    model: Network,
    input_shape: Input = None,
    option: Options = None,
    classes: Classes = None,
    base: BaseOption = None,
    every: Annotated[bool, typer.Option("--all", help="List each tensor and dimension of every group too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Which channels of a network must change together, and which may change.

    A group is a set of channels: producers compute them (rows of a convolution or linear layer), carriers act on each
    (batch norm), consumers sum over them. It is named after the module that first writes it, and that name is what
    netmorph.widen and netmorph.narrow take. A group that cannot change is listed with the reason.

    Examples:

      netmorph groups resnet --option width=0.5

      netmorph groups torchvision:resnet18 --input 3x64x64

      netmorph groups mlp --input 10           of a table with ten features

      netmorph groups gpt --option norm=rms --option tied=false

      netmorph groups timm:vit_tiny_patch16_224 --json

      netmorph groups grown.safetensors --base mypackage.nets:build

      netmorph groups mypackage.nets:build     called with input_shape= and classes= if it takes them; it may return
                                               (network, example inputs)
    """
    from netmorph.graph import Allow
    from netmorph.graph.views import MAY_CHANGE

    graph = _traced(model, input_shape, option, classes, base)
    told = [_told(group) for group in graph.groups.values()]
    if as_json:
        answer("groups", {"groups": told})
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("group", no_wrap=True)
    for name in ("channels", "producers", "carriers", "consumers"):
        table.add_column(name, justify="right")
    table.add_column("may change", no_wrap=True)
    table.add_column("because", overflow="fold")
    for group in told:
        counts = [str(len(group[role]) or "") for role in ("producers", "carriers", "consumers")]
        first, *others = group["reasons"] or [""]
        because = escape(f"{first} (and {len(others)} more, see --json)" if others else first)
        table.add_row(
            escape(group["name"]), str(group["channels"]), *counts, MAY_CHANGE[Allow[group["allows"]]], because
        )
        for role in ("producers", "carriers", "consumers") if every else ():
            for place in group[role]:
                table.add_row(f"  {escape(place)}", "", "", "", "", "", role.removesuffix("s"), style="dim")
    Console(width=1000).print(table)  # one line a group however narrow the terminal, so that it can be searched
    free = sum(group["allows"] != "FROZEN" for group in told)
    tell(f"{len(told)} groups, {free} of them may change")


@app.command()
def export(
    model: Network,
    code: Annotated[
        Path | None, typer.Option(help="Write plain Python here (*.py), and the weights beside it (*.safetensors).")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Write ONNX here.")] = None,
    torch: Annotated[Path | None, typer.Option(help="Write a torch.export program here (*.pt2).")] = None,
    fixed_batch: Annotated[
        bool, typer.Option("--fixed-batch", help="ONNX and torch.export: take batches of two only.")
    ] = False,
    input_shape: Input = None,
    option: Options = None,
    classes: Classes = None,
    base: BaseOption = None,
    as_json: AsJson = False,
) -> None:
    """Write a network in a form that needs no netmorph.

    The Python code defines the same network with the same names of parameters, for training and further edits: sizes
    that count channels are attributes there. So it also serves a network whose own forward has them written in.

    Examples:

      netmorph export runs/digits-1 --code network.py         its best network

      netmorph export runs/digits-1:7 --code network.py       or this one; netmorph show tells the ids

      netmorph export grown.safetensors --base torchvision:resnet18 --onnx grown.onnx

      netmorph export timm:vit_tiny_patch16_224 --option pretrained=true --torch vit.pt2
    """
    from netmorph import export as exports

    if code is None and onnx is None and torch is None:
        raise WrongUse("nothing to write; give --code FILE.py, --onnx FILE.onnx or --torch FILE.pt2")
    targets = [path.absolute() for path in (code, code and code.with_suffix(".safetensors"), onnx, torch) if path]
    if len(set(targets)) < len(targets):
        raise WrongUse("two of the files have the same name; give each another one")
    graph = _traced(model, input_shape, option, classes, base)
    weights = None
    if code is not None:
        weights = exports.write_code(graph, code)
        tell(f"Code: {code} (import load from it), weights: {weights}")
    if torch is not None:
        exports.write_exported(graph, torch, free_batch=not fixed_batch)
        tell(f"torch.export: {torch} (torch.export.load reads it)")
    if onnx is not None:
        exports.onnx(graph, onnx, free_batch=not fixed_batch)
        tell(f"ONNX: {onnx}")
    if as_json:
        files = {"code": code, "weights": weights, "torch": torch, "onnx": onnx}
        answer("export", {name: path and str(path) for name, path in files.items()})


def _traced(model: str, shape: str | None, option: list[str] | None, classes: int | None, base: str | None) -> Graph:
    from netmorph.cli.given import Wanted, network, shape_of
    from netmorph.graph import trace

    built, inputs, journal = network(Wanted(model, base, shape_of(shape), classes, options(option)))
    return trace(built, inputs, journal)


def _told(group: Group) -> dict[str, Any]:
    from netmorph.graph import Role

    def places(role: Role) -> list[str]:
        return [f"{site.tensor} dim {site.dim}" for site in group.where(role)]

    return {
        "name": group.name,
        "channels": group.size,
        "allows": group.allow.name,
        "reasons": list(group.reasons),
        "producers": places(Role.WRITE),
        "carriers": places(Role.CARRY),
        "consumers": places(Role.READ),
        "attributes": [f"{a.module}.{a.name}".lstrip(".") for a in group.attributes],
    }
