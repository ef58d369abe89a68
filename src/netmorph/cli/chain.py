"""netmorph chain: a network of detached layers, for new data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netmorph.cli import meaning, options
from netmorph.cli.app import app, console, errors, quoted, tell
from netmorph.cli.ending import WrongUse, ends_tidily, reading_options
from netmorph.cli.grouped import Machine, OfData, Run, also
from netmorph.cli.show import finish

if TYPE_CHECKING:  # PyTorch is imported when the command needs it
    from netmorph.chaining import ChainConfig
    from netmorph.data import Dataset

CHAINING = "Chains"
# What goes with --extend: the data, and where the result lies.
EXTENDING = {"extend", "output", "as_json", "threads", "data", "seed", *vars(OfData)}


@app.command()
@also(OfData, Machine, Run)
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
        str, typer.Option(help="When to end: distinct chains that are judged (200chains).", rich_help_panel=CHAINING)
    ] = "200chains",
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
    threads: options.Threads = None,
    extend: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Solve the head of this chain for the classes of --data, too, without the data it was found for.",
            rich_help_panel=CHAINING,
        ),
    ] = None,
) -> None:
    """Make a network for new data of layers that are there: an agent chains them until it picks an end.

    No weight is trained, unless by --learn. A head is solved in closed form for what a chain computes; the chain is
    judged on validation samples; the best one is tested once, and becomes a network like any other: plain Python with
    its weights beside it.
    Random search judges as many chains, to be compared with. What is stopped goes on by --resume, also after kill -9.

    Examples:

      netmorph chain --bank layers --data mnist

      netmorph chain --bank layers --data cifar10 --agent actor-critic --budget 500chains --price 1e-9

      netmorph chain --bank layers --data digits --agent local --stitches

      netmorph chain --bank layers --data digits --learn searching --gradients

      netmorph chain --extend runs/mnist-chain-1 --data letters      further classes, or more samples
    """
    from netmorph import chaining, session
    from netmorph.cores import own_cores
    from netmorph.run.folders import Kind
    from netmorph.watch import Countdown
    from netmorph.workers.threads import set_threads

    resume = context.params["resume"]
    if extend is not None:
        why = "--extend: the chain stays as it is. Leave it out, or search for another chain"
        meaning.refuse_others(context, EXTENDING, why)
        set_threads(threads or own_cores())
        _extend(context, extend)
        return
    if resume is None:
        config, dataset = _asked(context, threads or own_cores())
        set_threads(config.threads)
        folder = context.params["output"] or session.free_folder(f"{dataset.name}-chain")
        config = chaining.create(folder, config, dataset, meaning.command_line())
    else:
        folder = meaning.resumed(context, Kind.CHAIN)
        config = chaining.ChainConfig.read(folder)
        set_threads(config.threads)
        dataset = config.data.load()
    tell(f"Folder: {folder} (netmorph show {quoted(folder)} tells how far it is)")
    left = {agent: Countdown(chaining.left(folder, config, agent)) for agent in config.searches}
    with (
        ends_tidily(lambda: tell(f"\nInterrupted. Go on with: netmorph chain --resume {quoted(folder)}", errors)),
        console.status("looking at the layers") as status,  # nothing where there is no terminal
    ):
        chaining.run(folder, config, dataset, lambda agent, *_: status.update(f"{agent}: {left[agent]()}"))
    finish(context, folder)


def _extend(context: typer.Context, before: Path) -> None:
    """Further classes for a chain, without the data it was found for."""
    from netmorph import extending, session

    if context.params["data"] is None:
        raise WrongUse("give --data: the samples of further classes, or more of those that the chain knows")
    source = meaning.data_config(context)
    dataset = source.load()
    folder = context.params["output"] or session.free_folder(f"{dataset.name}-chain")
    extending.extend(before, source, dataset, folder, meaning.command_line())
    tell(f"Folder: {folder}")
    finish(context, folder)


def _asked(context: typer.Context, threads: int) -> tuple[ChainConfig, Dataset]:
    from netmorph.chaining import ChainConfig, check_names
    from netmorph.run.budget import count

    told = context.params
    if told["data"] is None:
        raise WrongUse("give --data: what the chain shall answer, and what its head is solved on")
    source = meaning.data_config(context)
    same = ("agent", "reward", "state", "price", "longest", "samples", "choice", "memory", "stitches")
    names = (*same, "detached_ends", "learn", "gradients", "beside", "seed", "device")
    given = {name: told[name] for name in names} | {"refining": told["refine_stitches"], "threads": threads}
    with reading_options():
        budget = count(told["budget"], "chain")
        config = ChainConfig(bank=str(told["bank"]), data=source, budget=budget, **given)
        check_names(config)
    return config, source.load()
