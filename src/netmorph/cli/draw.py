"""The command that draws networks: draw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netmorph.cli.answers import answer
from netmorph.cli.app import Options, app, options, tell
from netmorph.cli.ending import WrongUse
from netmorph.cli.networks import Against, AgainstBase, AgainstOption, BaseOption, Classes, Input, Network
from netmorph.cli.options import AsJson, picture

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.cli.given import Wanted
    from netmorph.draw import Diagram


@app.command()
def draw(
    model: Network,
    output: Annotated[
        Path | None,
        typer.Option(
            callback=picture,
            help="*.svg: the picture; *.html: a page with what is in each box to unfold; *.json: all numbers.",
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(min=1, help="How many boxes may lie in each other.", show_default="as many as a page takes"),
    ] = None,
    against: Against = None,
    edit: Annotated[
        int | None, typer.Option(min=1, help="Of an edited network: draw what its first, second ... edit changed.")
    ] = None,
    as_json: AsJson = False,
    input_shape: Input = None,
    option: Options = None,
    classes: Classes = None,
    base: BaseOption = None,
    against_option: AgainstOption = None,
    against_base: AgainstBase = None,
) -> None:
    """A picture of a network, or of what differs between two.

    Modules are boxes in boxes, with parameters and FLOPs; equal ones in a row are one, and each structure is opened
    once. Shapes stand where they change, colours are channel groups. A network that cannot be traced is drawn as the
    tree of its modules.

    Examples:

      netmorph draw lenet5

      netmorph draw torchvision:resnet18 --output resnet18.html

      netmorph draw resnet --option width=0.5 --against resnet     new, gone, wider, narrower

      netmorph draw runs/digits-1 --edit 2                         what the second edit of its best network changed
    """
    from netmorph.cli.given import Wanted, other_than, shape_of

    if against is not None and edit is not None:
        raise WrongUse("--against and --edit are two differences; give one of them")
    wanted = Wanted(model, base, shape_of(input_shape), classes, options(option))
    other = other_than(wanted, against, against_base, options(against_option))
    if other is not None:
        diagram = _difference(wanted, other)
    else:
        diagram = _architecture(wanted) if edit is None else _edited(wanted, edit)
    if as_json:
        answer("drawing", diagram.as_json())
        return
    path = output or Path(re.sub(r"\W+", "-", diagram.title).strip("-") + ".svg")
    tell(f"Picture: {diagram.save(path, depth)}")
    for note in (diagram.numbers(), *diagram.notes):
        tell(f"  {note}")


def _architecture(wanted: Wanted) -> Diagram:
    from netmorph.cli.given import network
    from netmorph.draw import architecture, module_tree
    from netmorph.graph import TraceError, trace

    model, inputs, journal = network(wanted)
    try:
        graph = trace(model, inputs, journal)
    except TraceError as error:
        return module_tree(model, str(error), wanted.model)
    return architecture(graph, wanted.model)


def _difference(wanted: Wanted, other: Wanted) -> Diagram:
    from netmorph.cli.given import network
    from netmorph.draw import difference
    from netmorph.graph import trace

    before, after = (trace(*network(one)) for one in (wanted, other))
    return difference(before, after, f"{wanted.model} → {other.model}")


def _edited(wanted: Wanted, number: int) -> Diagram:
    from netmorph.cli.given import edited
    from netmorph.draw import edits

    build, inputs, journal = edited(wanted)
    if number > len(journal):
        raise WrongUse(f"{wanted.model} has {len(journal) or 'no'} edits; --edit {number} is none of them")
    return edits(build, inputs, journal, number, title=f"{wanted.model}, edit {number}: {journal[number - 1].edit}")
