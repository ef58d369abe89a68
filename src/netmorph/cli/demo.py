"""The command that shows what there is: demo."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from netmorph.cli.app import app, console, quoted, tell
from netmorph.cli.ending import ends_tidily, reading_options


@app.command()
def demo(
    chapter: Annotated[
        list[str] | None,
        typer.Argument(help="surgery, growth, rank, chains, evolution: one or more.", show_default="all of them"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder for what it makes, one below it for each chapter; runs/demo-N if not given."),
    ] = None,
    list_chapters: Annotated[bool, typer.Option("--list", help="Only name the chapters.")] = False,
) -> None:
    """A guided tour in five chapters on data that comes along, each under a minute.

    Each tells what to read, shows the Python that does it, or the command, and runs it. A chapter is a script: it
    stands in the folder beside what it made, to be changed and run again. What growth, rank and evolution come to is
    told on one page at the end, with a verdict in a sentence each.

    Examples:

      netmorph demo

      netmorph demo surgery

      netmorph demo growth rank evolution

      netmorph demo rank --output tour
    """
    from netmorph import demo as tours
    from netmorph.session import free_folder

    with reading_options():
        chapters = [tours.chapter(name) for name in dict.fromkeys(chapter or tours.CHAPTERS)]
    if list_chapters:
        for one in chapters:
            tell(f"{one.name:<10} {one.title}")
        return
    tours.check_extras(one.name for one in chapters)
    folder = output or free_folder("demo")
    told, began = {}, perf_counter()
    for one in chapters:
        with ends_tidily(lambda name=one.name: tell(f"Stopped. Again: netmorph demo {name}")):  # type: ignore[misc]
            told[one.name] = tours.tell(one, folder / one.name, console)
    tell(f"Each script runs by itself: cd {quoted(folder / chapters[0].name)} && python {chapters[0].file.name}")
    found = [finding for findings in told.values() for finding in findings]
    if found:
        command = " ".join(["netmorph demo", *(chapter or ())])
        page = tours.write_page(folder, told, command, perf_counter() - began)
        for finding in found:
            tell(f"\n{finding.title}. {finding.verdict}")
        tell(f"\nOn one page: {page}")
