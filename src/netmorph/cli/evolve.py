"""The command that searches: evolve."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netmorph.cli import meaning, options
from netmorph.cli.app import BEGAN, Options, app, console, errors, quoted, tell
from netmorph.cli.ending import ends_tidily, reading_options
from netmorph.cli.grouped import Augmenting, Machine, OfData, Run, Stepping, Working, also
from netmorph.cli.show import finish
from netmorph.cli.watch import shown

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.policy import Proposal

SEARCH = "Search"
# Founders have converged when this part of their epochs brought nothing, and at least so many.
WAITED, FEWEST_WAITED = 8, 5


@app.command()
@also(OfData, Augmenting, Stepping, Working, Machine, Run)
def evolve(
    context: typer.Context,
    data: options.Data = "digits",
    model: options.Model = None,
    width: options.Width = None,
    option: Options = None,
    budget: Annotated[
        str,
        typer.Option(
            help="When to end: a time for the whole run with its baselines (90s, 10m, 1h30m), rounds (8rounds), or "
            "training FLOPs of the evolution (3e14flops). The founders are always trained.",
            rich_help_panel=SEARCH,
        ),
    ] = "2m",
    population: Annotated[
        int,
        typer.Option(min=1, help="Networks that live on after each round; the final ensemble.", rich_help_panel=SEARCH),
    ] = 4,
    founders: Annotated[
        int,
        typer.Option(
            min=1,
            help="Start networks, alike but for their weights; no line takes over the population.",
            rich_help_panel=SEARCH,
        ),
    ] = 4,
    children: Annotated[int, typer.Option(min=1, help="Networks made in each round.", rich_help_panel=SEARCH)] = 6,
    weights: Annotated[
        str,
        typer.Option(
            help="What children have of their parents' weights: a copy (inherited), nothing (fresh: they are "
            "trained like founders), or the same weights (shared: all of a round are trained together).",
            rich_help_panel=SEARCH,
        ),
    ] = "inherited",
    draw: Annotated[
        str,
        typer.Option(
            help="With --weights shared, which network a step trains: each as often (uniform), or survivors and their "
            "better ones more often (rank).",
            rich_help_panel=SEARCH,
        ),
    ] = "uniform",
    select: Annotated[
        str,
        typer.Option(
            help="Which networks live on: by Pareto rank, then those the front would miss most (front) or the best "
            "scores (rank); by score alone (best); so that they cover the validation set together (cover).",
            rich_help_panel=SEARCH,
        ),
    ] = "front",
    against: Annotated[
        str,
        typer.Option(
            help="What the score is weighed against: flops, parameters, or the measured latency.",
            rich_help_panel=SEARCH,
        ),
    ] = "flops",
    smooth: Annotated[
        bool | None,
        typer.Option(
            "--smooth/--no-smooth",
            help="Compare networks by the mean probability of the right answer, not by the share of right answers. If "
            "not given: where validation has fewer than 1000 samples.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    max_age: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Rounds after which a network dies, however good; as long as it is good if not given.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    edits: Annotated[int, typer.Option(min=1, help="At most so many edits a child.", rich_help_panel=SEARCH)] = 4,
    locality: Annotated[
        float, typer.Option(help="At most this share of a child's parameters is new.", rich_help_panel=SEARCH)
    ] = 0.75,
    proposal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE:FUNCTION[=WEIGHT]",
            help="Edits of your own beside the exact ones, which weigh 1 together; see docs/search.md. To be given "
            "again with --resume. May be repeated.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    guide: Annotated[
        str,
        typer.Option(
            help="What draws children's edits among those found: nothing (uniform), what paid before (bandit), where "
            "the loss asks for it (gradient), where gradients do not die out towards the last channels (trend), where "
            "features use all directions (rank), or a model of the run's own "
            "scores (surrogate).",
            rich_help_panel=SEARCH,
        ),
    ] = "uniform",
    shrink: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="How often edits that narrow or take a layer out are asked for; those that grow weigh 1.",
            rich_help_panel=SEARCH,
        ),
    ] = 0.0,
    mutate_recipe: Annotated[
        bool,
        typer.Option(
            "--mutate-recipe", help="Children's learning rate and weight decay differ, too.", rich_help_panel=SEARCH
        ),
    ] = False,
    tune: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="EPOCHS",
            help="Train survivors on after the last round, at a rate that falls to zero; baselines get as much.",
            rich_help_panel=SEARCH,
        ),
    ] = 0,
    max_flops: Annotated[
        float | None, typer.Option(help="Forward FLOPs that no child may exceed.", rich_help_panel=SEARCH)
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs of each child; by the data's size, and fewer where the time is short, if not given.",
            rich_help_panel=options.OPTIMIZATION,
        ),
    ] = None,
    start_epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs of the founders. If not given: at most three times a child's, fewer where the time is short, "
            "and no more once an eighth of them has brought nothing.",
            rich_help_panel=options.OPTIMIZATION,
        ),
    ] = None,
    learning_rate: options.Rate = None,
    on: Annotated[
        str,
        typer.Option(
            metavar="PLACE",
            help="Where jobs run: processes (of this machine), inline (one after another in this process), ray (a Ray "
            "of its own), ray://auto or ray://HOST:PORT (the cluster that this machine is part of).",
            rich_help_panel=options.SPEED,
        ),
    ] = "processes",
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="A network whose birth or training takes longer than this (90s, 10m) fails; for ever if not given.",
            rich_help_panel=options.SPEED,
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Show it in the browser while it runs, as netmorph watch does.", rich_help_panel=options.RUN
        ),
    ] = False,
) -> None:
    """Grow a population from a small network, by exact edits with inherited weights.

    Each round the best networks, by validation accuracy (of values the error, of texts the loss) against FLOPs unless
    --select says otherwise, get children: copies that are widened or deepened without changing what they compute, and
    trained on for a few epochs. Beside them, with as many training FLOPs, the start network is trained on alone, and
    random networks are trained from scratch.

    Ctrl-C, or even kill -9, loses at most the networks in training: go on with --resume.

    Examples:

      netmorph evolve                                     the embedded digits, 2 minutes

      netmorph evolve --data ~/mnist --budget 10m         a folder of yours

      netmorph evolve --data houses.csv --target price    a table

      netmorph evolve --data stdlib --budget 10m          a text

      netmorph evolve --model mypackage.nets:build        called as build(input_shape=..., classes=...)

      netmorph evolve --resume runs/digits-1              after an interruption

      netmorph evolve --resume runs/digits-1 --budget 1h  and for longer
    """
    from netmorph import session
    from netmorph.cli.given import check_same_chain, start
    from netmorph.policy import Mutation, exact
    from netmorph.policy.proposals import shrinking
    from netmorph.run.budget import Budget, duration
    from netmorph.run.config import EvolveConfig
    from netmorph.run.defaults import START_FACTOR, for_evolution
    from netmorph.run.folders import Kind
    from netmorph.run.names import Against, Drawing, Guidance, Inheritance, Selecting, named
    from netmorph.search.executors import parse
    from netmorph.search.forecast import shortened
    from netmorph.watch import EvolutionWatch

    told = context.params
    workers = told["workers"]
    with reading_options():
        place, patience = parse(on), None if timeout is None else duration(timeout)
        limit = Budget.parse(budget)
    dataset = None
    own = meaning.weighted(proposal)
    functions = [function for function, _ in own]
    if told["resume"] is None:
        with reading_options():
            mutation = Mutation(edits, locality, (*exact(), *shrinking(shrink), *own))
            chosen: dict[str, Any] = {
                "weights": named(Inheritance, weights),
                "draw": named(Drawing, draw),
                "select": named(Selecting, select),
                "against": named(Against, against),
                "guide": named(Guidance, guide),
            }
        source = meaning.data_config(context)
        dataset = source.load()
        defaults = for_evolution(dataset)
        settled = meaning.recipe(context, defaults.recipe)
        most = START_FACTOR * settled.epochs
        network = defaults.network(*start(model, meaning.arguments(option, width)))
        with reading_options():
            config = EvolveConfig(
                data=source,
                **network,
                recipe=settled,
                founders=founders,
                start_epochs=start_epochs or most,
                start_patience=max(FEWEST_WAITED, most // WAITED) if start_epochs is None else None,
                population=population,
                children=children,
                smooth=defaults.smooth if smooth is None else smooth,
                max_age=max_age,
                mutation=mutation,
                mutate_recipe=mutate_recipe,
                tune=tune,
                max_flops=max_flops,
                budget=limit,
                **chosen,
                **{name: told[name] for name in ("seed", "device", "threads")},
            )
        folder = session.create(
            told["output"] or session.free_folder(data),
            config,
            meaning.command_line(),
            dataset=dataset,
            settle=partial(shortened, workers=workers, children=epochs is None, founders=start_epochs is None),
        )
    else:
        folder = meaning.resumed(
            context, Kind.EVOLVE, "budget", "workers", "proposal", "model", "watch", "on", "timeout"
        )
        # That it is such a run, before anything is told.
        config = session.begun_with(folder, EvolveConfig, functions, start(model, {})[0])
        check_same_chain(model, config.options)
        if meaning.given(context, "budget"):
            session.extend(folder, limit, functions, config.model)
    tell(f"Folder: {folder} (netmorph show {quoted(folder)} tells how far it is)")
    if told["resume"] is None:
        _tell_how_long(folder, workers, functions, config.model)
    go_on = f"\nInterrupted. Go on with: netmorph evolve --resume {quoted(folder)}{meaning.named_again(config.model)}"
    with (
        ends_tidily(lambda: tell(go_on, errors)),
        shown(folder) if watch else nullcontext(),
        EvolutionWatch(console, session.criterion(folder)) as progress,
    ):
        session.evolve(folder, workers, progress, dataset, functions, BEGAN, config.model, place, patience)
    finish(context, folder)


def _tell_how_long(folder: Path, workers: int | None, proposals: list[Proposal], model: str) -> None:
    """What to expect, before it begins."""
    from netmorph import session
    from netmorph.report.numbers import duration

    expected = session.expected(folder, workers, proposals, model)
    if expected is not None:
        founders, one = (duration(float(f"{seconds:.2g}")) for seconds in (expected.founders, expected.round))
        tell(f"Expected: founders at most {founders}, then rounds of about {one} and more as networks grow")
