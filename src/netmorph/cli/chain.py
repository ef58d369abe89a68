"""netmorph chain: a network of detached layers, for new data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from netmorph.cli import options
from netmorph.cli.app import app, console, errors, quoted, tell
from netmorph.cli.interrupt import ends_tidily
from netmorph.errors import NetmorphError

if TYPE_CHECKING:  # PyTorch is imported when the command needs it
    from netmorph.chaining import ChainConfig, Finished
    from netmorph.data import Dataset

CHAINING = "Chains"
# What goes with --extend: the data, and where the result lies.
DATA = {"data", "train_size", "resize", "task", "target", "ignore", "missing", "window", "unit", "seed"}
EXTENDING = {"extend", "run", "threads", *DATA}


@app.command()
def chain(
    context: typer.Context,
    bank: Annotated[
        Path, typer.Option(help="The folder of the layers; netmorph bank add fills it.", rich_help_panel=CHAINING)
    ] = Path("bank"),
    data: options.DataOfTheRun = None,
    agent: Annotated[
        str,
        typer.Option(help="random, local, beam, reinforce, actor-critic, tree or ppo.", rich_help_panel=CHAINING),
    ] = "beam",
    budget: Annotated[
        int, typer.Option(min=1, help="Distinct chains that are judged.", rich_help_panel=CHAINING)
    ] = 200,
    longest: Annotated[int, typer.Option(min=1, help="The most layers of a chain.", rich_help_panel=CHAINING)] = 8,
    price: Annotated[
        float,
        typer.Option(
            min=0, help="Loss that a FLOP of a sample's forward pass costs: 1e-9 for one.", rich_help_panel=CHAINING
        ),
    ] = 0.0,
    stitches: Annotated[
        bool,
        typer.Option("--stitches", help="Attach layers of another shape behind a stitch.", rich_help_panel=CHAINING),
    ] = False,
    refine_stitches: Annotated[
        int,
        typer.Option(
            min=0,
            help="Gradient steps of each stitch toward the penultimate features at home.",
            rich_help_panel=CHAINING,
        ),
    ] = 0,
    detached_ends: Annotated[
        bool,
        typer.Option(
            "--detached-ends/--solved-ends",
            help="End also with dense layers of the bank as they are, or with solved heads alone.",
            rich_help_panel=CHAINING,
        ),
    ] = True,
    reward: Annotated[
        str,
        typer.Option(
            help="What learning agents get: end (what the chain is worth), or layer (the fall in loss at each).",
            rich_help_panel=CHAINING,
        ),
    ] = "end",
    state: Annotated[
        str,
        typer.Option(
            help="What agents see: features (means and deviations), or layers (which they are).",
            rich_help_panel=CHAINING,
        ),
    ] = "features",
    samples: Annotated[
        int, typer.Option(min=2, help="Training samples that heads are solved on.", rich_help_panel=CHAINING)
    ] = 2000,
    choice: Annotated[
        int, typer.Option(min=1, help="Validation samples that chains are judged on.", rich_help_panel=CHAINING)
    ] = 1000,
    memory: Annotated[
        int, typer.Option(min=1, help="MiB of features that are kept.", rich_help_panel=options.SPEED)
    ] = 1024,
    learn: Annotated[
        str,
        typer.Option(
            help="When layers learn: never, after (the chosen chain, all of it), after-stitches (its stitches and its "
            "head), or searching (copies of good chains' layers, which go into the bank).",
            rich_help_panel=CHAINING,
        ),
    ] = "never",
    gradients: Annotated[
        bool,
        typer.Option(
            "--gradients",
            help="Look at the gradients of each chain: agents are told of them, and the report.",
            rich_help_panel=CHAINING,
        ),
    ] = False,
    beside: Annotated[
        bool,
        typer.Option("--beside/--alone", help="Let random search stand beside the agent.", rich_help_panel=CHAINING),
    ] = True,
    train_size: options.TrainSize = None,
    resize: options.Resize = None,
    task: options.TaskOption = None,
    target: options.Target = None,
    ignore: options.Ignore = None,
    missing: options.Missing = None,
    window: options.Window = None,
    unit: options.Unit = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    seed: options.Seed = 0,
    run: options.RunOption = None,
    extend: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Solve the head of this chain for the classes of --data, too, without the data it was found for.",
            rich_help_panel=CHAINING,
        ),
    ] = None,
    resume: options.Resume = None,
) -> None:
    """Make a network for new data of layers that are there: an agent chains them until it picks an end.

    No weight is trained, unless by --learn. A head is solved in closed form for what a chain computes; the chain is
    judged on validation samples; the best one is tested once, and becomes a network like any other: plain Python with
    its weights beside it.
    Random search judges as many chains, to be compared with. What is stopped goes on by --resume, also after kill -9.

    Examples:

      netmorph chain --bank layers --data mnist

      netmorph chain --bank layers --data cifar10 --agent actor-critic --budget 500 --price 1e-9

      netmorph chain --bank layers --data digits --agent local --stitches

      netmorph chain --bank layers --data digits --learn searching --gradients

      netmorph chain --extend runs/mnist-chain-1 --data letters      further classes, or more samples
    """
    from netmorph import chaining, session
    from netmorph.cores import own_cores
    from netmorph.workers.threads import set_threads

    if extend is not None:
        why = "--extend: the chain stays as it is. Leave it out, or search for another chain"
        options.refuse_others(context, EXTENDING, why)
        set_threads(threads or own_cores())
        _extend(context, extend, run)
        return
    if resume is None:
        config, dataset = _asked(context, threads or own_cores())
    else:
        options.refuse_others(context, {"resume"})
        config = chaining.ChainConfig.read(resume)
        dataset = config.data.load()
    set_threads(config.threads)
    folder = resume or run or session.free_folder(f"{dataset.name}-chain")
    if resume is None:
        config = chaining.create(folder, config, dataset)
    tell(f"Folder: {folder}")
    with (
        ends_tidily(lambda: tell(f"\nInterrupted. Go on with: netmorph chain --resume {quoted(folder)}", errors)),
        console.status("looking at the layers") as status,  # nothing where there is no terminal
    ):
        done: dict[str, int] = {}

        def told(agent: str, record: object, best: object) -> None:
            done[agent] = done.get(agent, 0) + 1
            status.update(f"{agent}: {done[agent]} new chains of at most {config.budget}")

        found = chaining.run(folder, config, dataset, told)
    _tell_end(found)


def _extend(context: typer.Context, before: Path, run: Path | None) -> None:
    """Further classes for a chain, without the data it was found for."""
    from rich import box
    from rich.table import Table

    from netmorph import extending, session
    from netmorph.report.numbers import percent

    if context.params["data"] is None:
        raise NetmorphError("give --data: the samples of further classes, or more of those that the chain knows")
    source = options.data_config(context)
    dataset = source.load()
    folder = run or session.free_folder(f"{dataset.name}-chain")
    found = extending.extend(before, source, dataset, folder)
    tell(f"New classes: {', '.join(found.added) or 'none'}; {len(found.kept.classes)} in all")
    view = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("test part of", "classes", "samples", "accuracy"):
        view.add_column(name, justify="left" if name == "test part of" else "right")
    for one in found.tests:
        if one.accuracy is None:
            tell(f"Not tested on {one.data}: {one.why}")
        else:
            view.add_row(escape(one.data), str(one.classes), str(one.samples), percent(one.accuracy))
    view.add_row("all of them", str(len(found.kept.classes)), str(found.samples), percent(found.accuracy))
    console.print(view)
    tell(f"Network: {found.code} (import load from it)")
    tell(f"Folder: {folder}")


def _asked(context: typer.Context, threads: int) -> tuple[ChainConfig, Dataset]:
    from netmorph.chaining import ChainConfig

    told = context.params
    if told["data"] is None:
        raise NetmorphError("give --data: what the chain shall answer, and what its head is solved on")
    source = options.data_config(context)
    same = ("agent", "reward", "state", "budget", "price", "longest", "samples", "choice", "memory", "stitches")
    names = (*same, "detached_ends", "learn", "gradients", "beside", "seed", "device")
    given = {name: told[name] for name in names} | {"refining": told["refine_stitches"]}
    config = ChainConfig(bank=str(told["bank"]), data=source, threads=threads, **given)
    dataset = source.load()
    return config, dataset


def _tell_end(found: Finished) -> None:
    from rich import box
    from rich.table import Table

    from netmorph.report.numbers import percent
    from netmorph.wording import compact

    for link in found.links:
        origin = (
            "solved in closed form"
            if not link.network
            else f"{link.network}: {link.path}"
            if link.path
            else link.network
        )
        copied = f", learnt from {link.parent}" if link.parent else ""
        tell(f"{link.name:>8}  {'stitched, ' if link.is_stitched else ''}{origin}{copied}")
    view = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("agent", "distinct chains", "loss", "accuracy", "test accuracy", "FLOPs a sample"):
        view.add_column(name, justify="left" if name == "agent" else "right")
    for one in found.searched:
        outcome = one.best.outcome
        numbers = (f"{outcome.loss:.4f}", percent(outcome.accuracy), percent(one.test), compact(outcome.flops))
        view.add_row(one.agent, str(len(one.records)), *numbers)
    console.print(view)
    if found.learning:
        tell(f"Learnt for {compact(found.learning)} FLOPs: {percent(found.test)} of the test part")
    tell(f"Network: {found.code} (import load from it)")
    if found.not_kept:
        tell(f"Classes cannot be added to it: {found.not_kept}")
    tell(f"Report: {found.page}")
