"""Trainings that are killed and resumed until they end, beside ones that nobody disturbs. `test_kill` runs this file.

`python -m tests.train.killing FOLDER SEED KILLS CASE...` prints what was found as JSON.

Every training runs in a child process that this one forks, because a new interpreter takes seconds to import torch.
That is safe as long as this process has one thread, so it computes nothing itself.
"""

import importlib
import itertools
import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from netmorph import cli, session
from netmorph.data import Dataset
from netmorph.policy import Growth, Plateau, by_width, growing, to_depth, warm_up
from netmorph.run.config import DataConfig, TrainConfig
from netmorph.run.records import Records
from netmorph.train import checkpoint
from netmorph.train.loop import train
from netmorph.train.optimizer_state import pack_optimizer
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe
from tests.train import other_tasks
from tests.train.growing import at_random, by_epoch
from tests.train.small import dataset, deep
from tests.train.tiny import weights

Work = Callable[[Path], None]

SGD = Recipe(epochs=20, batch_size=16, optimizer="sgd", learning_rate=0.05, pad=1, flip=True)
EVERYTHING = replace(
    SGD, ema=0.9, mixup=0.2, cutmix=1.0, accumulate=2, class_weights=(1.0, 2.0, 0.5), label_smoothing=0.1, warmup=0.2
)
ADAMW = replace(SGD, optimizer="adamw", learning_rate=0.01, schedule="step", clip_norm=1.0, channels_last=True)
OTHER = Recipe(epochs=30, batch_size=16, learning_rate=0.01, ema=0.9, accumulate=2, warmup=0.2, clip_norm=1.0)
RECIPES = {
    "sgd": SGD,
    "everything": EVERYTHING,
    "adamw": ADAMW,
    "patience": replace(ADAMW, patience=6, learning_rate=0.003, schedule="constant"),
}


WITHIN: dict[str, Any] = {"checkpoint_seconds": 0}  # after each step
GROWING = replace(OTHER, epochs=6, schedule="stable")
GROWTHS = [Growth(0.4, by_width(2)), Growth(Plateau(1), by_width(1.5)), Growth(0.75, to_depth(3))]
EDITS: dict[str, dict[str, Any]] = {
    "edited": {"edit": by_epoch, "after_edit": warm_up(20)},
    "edited by steps": {"edit": at_random, "edit_every": 17, "after_edit": warm_up(20)},
}


def images() -> tuple[nn.Module, Dataset]:
    return deep(), dataset()


def by_library(
    recipe: Recipe, folder: Path, made: Callable[[], tuple[nn.Module, Dataset]] = images, **options: Any
) -> None:
    """Train as a user's own program does; `folder/result` is the model and the optimizer at the end."""
    if (folder / "result").exists():
        return  # it was killed on its way out
    model, data = made()
    optimizer = build_optimizer(model, recipe)
    history = train(model, data, recipe, optimizer=optimizer, checkpoint=folder / "state", resume=True, **options)
    tensors, meta = pack_optimizer(optimizer, model)
    told = {"history": [asdict(epoch) for epoch in history], "journal": [entry.as_json() for entry in history.journal]}
    checkpoint.save(folder / "result", {**model.state_dict(), **tensors}, {"optimizer": meta, **told})


def by_command(folder: Path) -> None:
    """Go on with a run folder as a user does."""
    sys.argv = ["netmorph", "train", "--resume", str(folder)]
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    cli.main()


def begin(data: DataConfig, model: str, options: dict[str, Any], recipe: Recipe, folder: Path) -> None:
    """Make the run folder that `by_command` goes on with."""
    session.create(folder, TrainConfig(data, model, options, recipe, threads=1), "netmorph train")


def begin_table(target: str, folder: Path) -> None:
    """The same for a table beside the folder: a number, a category, and targets of both kinds."""
    rows = (f"{row * 7 % 60},{'east' if row % 2 else 'west'},{row * 7 % 60 + 0.5},{row % 3}" for row in range(90))
    (folder.parent / "table.csv").write_text("\n".join(["number,side,value,kind", *rows]))
    others = tuple({"value", "kind"} - {target})
    data = DataConfig(str(folder.parent / "table.csv"), target=target, ignore=others)
    begin(data, "mlp", {"width": 0.125}, OTHER, folder)


def begin_text(folder: Path) -> None:
    """The same for a text beside the folder."""
    (folder.parent / "rhyme.txt").write_text("How much wood would a woodchuck chuck? " * 40)
    data, small = DataConfig(str(folder.parent / "rhyme.txt"), window=8), {"width": 0.0625, "depth": 1, "dropout": 0.1}
    begin(data, "gpt", small, replace(OTHER, epochs=15), folder)


BEGIN: dict[str, Work] = {
    "command": partial(begin, DataConfig("digits", train_size=160), "lenet5", {"width": 0.25}, replace(SGD, epochs=30)),
    "command on values": partial(begin_table, "value"),
    "command on classes": partial(begin_table, "kind"),
    "command on a text": begin_text,
}
CASES: dict[str, Work] = {name: partial(by_library, recipe) for name, recipe in RECIPES.items()}
CASES |= {name: partial(by_library, EVERYTHING, **edits) for name, edits in EDITS.items()}
CASES |= {
    "within epochs": partial(by_library, replace(EVERYTHING, epochs=4), **WITHIN),
    "edited within epochs": partial(by_library, replace(EVERYTHING, epochs=8), **EDITS["edited by steps"], **WITHIN),
}
CASES |= {"grown": partial(by_library, GROWING, made=other_tasks.text, **growing(GROWTHS, GROWING.epochs), **WITHIN)}
CASES |= {
    "regression": partial(by_library, OTHER, made=other_tasks.regression),
    "table": partial(
        by_library, replace(OTHER, label_smoothing=0.1, class_weights=(1.0, 2.0, 0.5)), made=other_tasks.table
    ),
    "text": partial(by_library, replace(OTHER, epochs=10), made=other_tasks.text),
}
CASES |= dict.fromkeys(BEGIN, by_command)
# What changes files, and what makes an edit: before, within and after the change.
FILES = (("netmorph.tensor_files", "save_file"), ("os", "fsync"), ("os", "replace"))
STRUCTURE = (
    ("netmorph.train.editing", "trace"),
    ("netmorph.edit.apply", "make"),
    ("netmorph.edit.replace", "_set"),
    ("netmorph.edit.apply", "trace"),
    ("netmorph.train.editing", "check_held"),
    ("netmorph.train.editing", "lay_out"),
)
Calls = tuple[tuple[str, str], ...]


def live(work: Work, folder: Path, kill_after: float | None = None) -> bool:
    """Let a child work; whether it came to its end before it was killed, so many seconds after it started."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(folder)
            code = 0
        except SystemExit as ended:  # of the command
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a child ended with {code}")
    return code == 0


def phase(folder: Path) -> str:
    """What a killed child was at, from what it left."""
    path = next((folder / name for name in ("state", "checkpoint") if checkpoint.existing(folder / name)), None)
    if path is not None and not path.exists():
        return "between the renames"
    if any(folder.rglob(".*.tmp")):
        return "writing"
    return "computing" if path is not None else "before the first checkpoint"


def outcome(folder: Path) -> dict[str, Any]:
    """All that a finished run left, without the seconds; checkpoints as their values, tensors as their bytes."""
    # SQLite's own files beside a database stay or go with who closed it last.
    files = (path for path in folder.rglob("*") if not path.name.startswith("run.sqlite-"))
    found: dict[str, Any] = {"files": sorted(str(path.relative_to(folder)) for path in files)}
    for path in (folder / name for name in ("state", "result", "checkpoint") if (folder / name).exists()):
        tensors, meta = checkpoint.load(path)
        found |= {
            f"{path.name}/{name}": tensor.flatten().view(torch.uint8).tolist() for name, tensor in tensors.items()
        }
        found[path.name] = _without_seconds(meta)
    if (folder / "run.sqlite").exists():
        found |= weights(folder)
        with Records.open(folder) as records:
            found["status"] = records.meta("status")
            found["records"] = _without_seconds([asdict(network) for network in records.networks()])
            found["epochs"] = _without_seconds([asdict(epoch) for epoch in records.epochs(1)])
            found["result"] = _without_seconds(records.meta("result"))
    return found


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_seconds(item) for key, item in value.items() if key != "seconds"}
    return [_without_seconds(item) for item in value] if isinstance(value, list) else value


def differences(got: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return sorted(key for key in {**got, **expected} if got.get(key) != expected.get(key))


def killed_at_random(name: str, root: Path, kills: int, draw: random.Random) -> dict[str, Any]:
    """Run a case undisturbed in one folder, and in another with about so many kills."""
    work, folder, whole = CASES[name], root / "killed", root / "whole"
    for path in (folder, whole):
        path.mkdir(parents=True)
        if name in BEGIN:
            live(BEGIN[name], path)
    started = time.perf_counter()
    live(work, whole)
    longest = 2 * (time.perf_counter() - started) / kills
    phases: Counter[str] = Counter()
    while not live(work, folder, draw.uniform(0, longest)):
        phases[phase(folder)] += 1
        longest *= 1.05  # so that it ends, however long a start takes on this machine
    return {"kills": phases.total(), "phases": phases, "different": differences(outcome(folder), outcome(whole))}


def killed_at_each_step(work: Work, calls: Calls, after_damage: bool, root: Path) -> dict[str, Any]:
    """Kill a run before each of these calls, then let it end.

    Args:
        after_damage: do that again after a run whose newest checkpoint was damaged when it had been killed.
    """
    whole = root / "whole"
    whole.mkdir(parents=True)
    live(work, whole)
    expected, kills, different = outcome(whole), 0, []
    for damaged in (False, True)[: 1 + after_damage]:
        for step in itertools.count(1):
            folder = root / f"{damaged}-{step}"
            folder.mkdir()
            if damaged:
                live(partial(until, 9, work, calls), folder)
                path = folder / "state"
                path.write_bytes(path.read_bytes()[:-1])
            ended = live(partial(until, step, work, calls), folder)
            kills += not ended
            if not ended:
                live(work, folder)
            different += [f"{folder.name} {key}" for key in differences(outcome(folder), expected)]
            if ended:
                break
    return {"kills": kills, "different": different}


def until(step: int, work: Work, calls: Calls, folder: Path) -> None:
    """Work, and die before that step, of all calls of these functions."""
    steps = itertools.count(1)

    def mortal(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return called

    # In a child of its own, so nothing has to be put back.
    for module, name in calls:
        owner = importlib.import_module(module)
        setattr(owner, name, mortal(getattr(owner, name)))
    work(folder)


EACH_STEP: dict[str, Callable[[Path], dict[str, Any]]] = {
    "each_step": partial(killed_at_each_step, partial(by_library, replace(SGD, epochs=3)), FILES, True),
    "each_edit": partial(
        killed_at_each_step,
        partial(by_library, replace(EVERYTHING, epochs=3), **EDITS["edited"]),
        STRUCTURE,
        False,
    ),
}


def main() -> None:
    root, seed, kills, *names = sys.argv[1:]
    draw = random.Random(int(seed))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of damaged checkpoints
    # What is imported here is not imported again by every child.
    for module in ("torch._dynamo", "matplotlib.pyplot", "jinja2", "netmorph.watch"):
        importlib.import_module(module)
    tasks = Path("/proc/self/task")
    if tasks.is_dir() and len(list(tasks.iterdir())) > 1:
        raise RuntimeError("this process has more than one thread, its children may hang")
    found = {}
    for name in names:
        folder = Path(root, name)
        if name in EACH_STEP:
            found[name] = EACH_STEP[name](folder)
        else:
            found[name] = killed_at_random(name, folder, int(kills), draw)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
