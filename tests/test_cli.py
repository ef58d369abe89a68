import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from netmorph import apply, save, session, trace, widen
from netmorph.cli.options import OptimizerName
from netmorph.edit import Base
from netmorph.errors import NetmorphError
from netmorph.policy import Mutation, exact
from netmorph.policy.proposals import shrinking
from netmorph.report.summary import summary
from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig, EvolveConfig, TrainConfig
from netmorph.run.names import Against, Drawing, Guidance, Inheritance, Selecting
from netmorph.run.records import Records
from netmorph.search import on_ray
from netmorph.session import config_of
from netmorph.train.optimizers import OPTIMIZERS
from netmorph.train.recipe import Recipe
from tests.documented import check_documented
from tests.program import Program

QUICK = ["--train-size", "160", "--model", "mlp", "--width", "0.125", "--epochs", "1", "--batch-size", "32"]
EVOLVE = [
    "evolve",
    *QUICK,
    "--start-epochs",
    "1",
    "--budget",
    "1round",
    "--population",
    "2",
    "--founders",
    "1",
    "--children",
    "2",
    "--workers",
    "1",
]
TRAIN = ["train", *QUICK, "--threads", "1"]

MODELS = """
import torch
from torch import nn

def build(input_shape, classes, hidden=6):
    inputs = input_shape[0] * input_shape[1] * input_shape[2]
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, classes))

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.last = nn.Linear(64, 8), nn.Linear(8, classes)
    def forward(self, x):
        return self.last(self.middle(self.first(x.flatten(1))))

class Raising(Net):
    def middle(self, x):
        raise KeyError("a thing")

def raising(input_shape, classes):
    return Raising(classes)

def few(input_shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def failing(input_shape, classes):
    raise RuntimeError("out of ideas")

def nothing(input_shape, classes):
    return None

def with_inputs(width=3):
    return nn.Linear(5, width), torch.ones(2, 5)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder; the search path, the threads and the modules are as before afterwards."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    sys.modules.pop("mynet", None)
    torch.set_num_threads(threads)


def plain(text: str) -> str:
    """Without colours, boxes and line ends, which depend on the terminal."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).replace("│", " ").split())


def started(*arguments: str) -> "subprocess.Popen[str]":
    """Run the program in a process group of its own, as a terminal does."""
    # Tests that run in the background of a shell inherit that Ctrl-C is ignored; a terminal's program does not.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from netmorph.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


# -- the commands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "taught"),
    [
        ([], ["evolve", "train", "show", "report", "groups", "export"]),
        (["evolve"], ["--budget", "--data", "--model", "--resume", "kill -9", "netmorph evolve --resume"]),
        (
            ["train"],
            [
                "--epochs",
                "--schedule",
                "--resume",
                "checkpoint",
                "torchrun",
                "--no-nesterov",
                "Regularization",
                "Speed",
            ],
        ),
        (["show"], ["--json", "The run's folder"]),
        (["report"], ["--output", "The run's folder"]),
        (["groups"], ["--input", "--base", "--json", "producers", "netmorph groups torchvision:resnet18"]),
        (["export"], ["--code", "--onnx", "--torch", "netmorph export grown.safetensors"]),
    ],
)
def test_help_teaches(netmorph: Program, command: list[str], taught: list[str]) -> None:
    done = netmorph(*command, "--help")
    assert done.code == 0
    assert done.err == ""
    for words in taught:
        assert words in plain(done.out)


def test_evolve_show_report_and_resume(netmorph: Program, folder: Path) -> None:
    done = netmorph(*EVOLVE)
    assert done.code == 0, done.err
    assert done.err == ""
    assert "Folder: runs/digits-1" in done.out
    assert "round 1: best validation accuracy" in done.out
    assert "Ensemble of the" in plain(done.out)
    assert "Report: runs/digits-1/report.html" in done.out
    page = Path("runs/digits-1/report.html").read_text("utf-8")
    assert "mlp on digits" in page

    shown = netmorph("show", "runs/digits-1", "--json")
    found = json.loads(shown.out)
    with Records.open(Path("runs/digits-1")) as records:
        assert summary(records).items() <= found.items()
        assert records.meta("command").startswith("netmorph evolve --train-size 160")
    assert found["status"] == "finished"
    assert {"best", "ensemble", "members", "baselines", "training_flops", "seconds"} <= found.keys()
    assert "digits-1: finished, round 1" in netmorph("show", "runs/digits-1").out

    assert found["verdict"] in plain(done.out)
    assert f"Best network: runs/digits-1/networks/{found['best']['id']}.trained.safetensors" in done.out
    ids = [network["id"] for network in found["networks"]]
    assert "(--all lists them)" in done.out
    every = netmorph("show", "runs/digits-1", "--all").out.splitlines()[-len(ids) :]
    assert [line.split()[0] for line in every] == [str(id) for id in ids]
    one = json.loads(netmorph("show", "runs/digits-1:4", "--json").out)
    assert (one["id"], one["file"]) == (4, "runs/digits-1/networks/4.trained.safetensors")
    assert "networks/4.trained.safetensors" in netmorph("show", "runs/digits-1:4").out
    assert "Error: the run in runs/digits-1 has no network 99; it has 1-" in netmorph("show", "runs/digits-1:99").err
    assert netmorph("groups", "runs/digits-1:4").code == 0
    written = netmorph("export", "runs/digits-1", "--code", "best.py", "--json")
    assert (written.code, json.loads(written.out)["code"]) == (0, "best.py")
    check_documented(json.loads(written.out))

    Path("runs/digits-1/report.html").unlink()
    done = netmorph("report", "runs/digits-1", "--output", "page.html")
    assert (done.code, done.out) == (0, "Report: page.html\n")
    assert Path("page.html").read_text("utf-8") == page

    again = netmorph("evolve", "--resume", "runs/digits-1")
    assert again.code == 0
    assert json.loads(netmorph("show", "runs/digits-1", "--json").out) == found
    refused = netmorph("train", "--resume", "runs/digits-1")
    assert refused.code == 1
    assert "runs/digits-1 is of netmorph evolve; go on with: netmorph evolve --resume runs/digits-1" in refused.err
    assert json.loads(netmorph("show", "runs/digits-1", "--json").out) == found


@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        ("nowhere:widen", "the proposal 'nowhere:widen' cannot be imported: ModuleNotFoundError"),
        ("math:sqrt=often", "--proposal takes MODULE:FUNCTION or MODULE:FUNCTION=WEIGHT"),
        ("math:sqrt=-1", "weights of proposals must be 0 or more"),
        ("math:sqrt", "the proposal sqrt failed: TypeError"),
    ],
)
def test_a_proposal_that_cannot_be_used_leaves_no_run(
    netmorph: Program, folder: Path, proposal: str, message: str
) -> None:
    done = netmorph(*EVOLVE, "--proposal", proposal)
    assert done.code in (1, 2)
    assert message in " ".join(done.err.split())
    assert not (folder / "runs").exists()


def test_a_new_run_loads_its_data_once(netmorph: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    load, loaded = DataConfig.load, []
    monkeypatch.setattr(DataConfig, "load", lambda config: loaded.append(config) or load(config))
    for command in (EVOLVE, [*TRAIN, "--class-weights", "balanced"]):  # workers are processes apart
        loaded.clear()
        assert netmorph(*command).code == 0
        assert len(loaded) == 1


def test_train_and_resume(netmorph: Program) -> None:
    done = netmorph(
        *TRAIN, "--output", "first", "--optimizer", "sgd", "--schedule", "step", "--pad", "1", "--seed", "3"
    )
    assert done.code == 0, done.err
    assert "Report: first/report.html" in done.out
    found = json.loads(netmorph("show", "first", "--json").out)
    assert found["status"] == "finished"
    assert found["best"]["test_accuracy"] is not None
    again = netmorph("train", "--resume", "first", "--json")
    assert (again.code, json.loads(again.out)) == (0, found)
    assert "Folder: first" in again.err
    assert netmorph(*TRAIN).code == 0
    assert netmorph(*TRAIN).code == 0
    assert sorted(os.listdir("runs")) == ["digits-1", "digits-2"]


def test_every_option_of_train_is_in_the_recipe_of_the_run(netmorph: Program, folder: Path) -> None:
    (folder / "mynet.py").write_text(MODELS)
    told = Recipe(
        epochs=1,
        batch_size=32,
        optimizer="sgd",
        learning_rate=0.02,
        momentum=0.8,
        nesterov=False,
        weight_decay=0.001,
        schedule="linear",
        warmup=0.2,
        pad=1,
        reflect=True,
        flip=True,
        mixup=0.2,
        cutmix=1.0,
        label_smoothing=0.1,
        class_weights=(1.0,) * 9 + (2.5,),
        accumulate=2,
        clip_norm=1.0,
        ema=0.9,
        views=2,
        patience=3,
        bf16=True,
        channels_last=True,
        first_size=1.0,
    )
    given = {**asdict(told), "class_weights": ",".join(map(str, told.class_weights or ()))}
    flags = {True: "--{}", False: "--no-{}"}
    arguments = [
        text
        for name, value in given.items()
        if name not in ("compile", "bf16", "channels_last")
        for text in (
            [flags[value].format(name)] if isinstance(value, bool) else [f"--{name.replace('_', '-')}", str(value)]
        )
    ]
    done = netmorph("train", "--data", "digits", "--train-size", "160", "--model", "mynet:build", *arguments, "--fast")
    assert done.code == 0, done.err
    with Records.open(folder / "runs" / "digits-1") as records:
        assert config_of(records, TrainConfig, model="mynet:build").recipe == told
    refused = netmorph("train", "--resume", "runs/digits-1", "--ema", "0.5")
    assert re.match("Error: --ema cannot be given with --resume: a run goes on as it began", refused.err)


def test_every_option_of_evolve_is_in_the_config_of_the_run(
    netmorph: Program, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where and how long jobs run is told to who runs them; nothing is trained here."""
    asked: list[Any] = []

    def stop(*given: Any) -> None:
        asked.append(given[-2:])
        raise NetmorphError("that is all")

    monkeypatch.setattr(session, "evolve", stop)
    options = (
        "--weights fresh --select cover --against parameters --smooth --max-age 3 --edits 2 --locality 0.5 "
        "--guide bandit --shrink 0.5 --mutate-recipe --tune 2 --max-flops 1e5 --on ray --timeout 10m"
    )
    done = netmorph(*EVOLVE, *options.split())
    assert done.err == "Error: that is all\n"
    assert asked == [(on_ray, 600.0)]
    told = {
        "weights": Inheritance.FRESH,
        "select": Selecting.COVER,
        "against": Against.PARAMETERS,
        "smooth": True,
        "max_age": 3,
        "mutation": Mutation(2, 0.5, (*exact(), *shrinking(0.5))),
        "guide": Guidance.BANDIT,
        "mutate_recipe": True,
        "tune": 2,
        "max_flops": 1e5,
        "population": 2,
        "founders": 1,
        "children": 2,
        "start_epochs": 1,
        "budget": Budget(rounds=1),
    }
    with Records.open(folder / "runs" / "digits-1") as records:
        config = config_of(records, EvolveConfig)
    assert {name: getattr(config, name) for name in told} == told
    assert netmorph(*EVOLVE, "--weights", "shared", "--draw", "rank").err == done.err
    with Records.open(folder / "runs" / "digits-2") as records:
        assert config_of(records, EvolveConfig).draw == Drawing.RANK
    refused = netmorph(*EVOLVE, "--draw", "rank")
    assert re.match("Error: --draw rank says which network a step trains where they share their weights", refused.err)


def test_every_optimizer_can_be_named() -> None:
    assert [*OptimizerName] == [*OPTIMIZERS]


def test_balanced_classes_and_tensorboard(netmorph: Program, folder: Path) -> None:
    pytest.importorskip("tensorboard")
    done = netmorph(*TRAIN, "--class-weights", "balanced", "--tensorboard", "--output", "run")
    assert done.code == 0, done.err
    with Records.open(folder / "run") as records:
        weights = config_of(records, TrainConfig).recipe.class_weights
    assert weights == pytest.approx((1.0,) * 10), "160 images, 16 of each class"
    assert len(list((folder / "run" / "tensorboard").iterdir())) == 1


def test_a_folder_is_streamed(netmorph: Program, folder: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for name, shade in (("dark", 20), ("light", 220)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pillow.new("RGB", (12, 10), (shade + number,) * 3).save(folder / "photos" / name / f"{number}.png")
    common = "--stream --data photos --resize 8x8 --batch-size 8 --model mlp --width 0.25 --threads 1".split()
    named = [option for option in common if option not in ("--data", "photos")]
    done = netmorph("train", "photos", *named, "--epochs", "4", "--lr", "0.02", "--output", "run")
    assert done.code == 0, done.err
    assert json.loads(netmorph("show", "run", "--json").out)["best"]["test_accuracy"] == 1.0
    assert netmorph("train", "--resume", "run").code == 0
    assert "Suggested learning rate" in netmorph("lr-find", *common, "--steps", "20").out
    refused = netmorph("train", "--stream", "no/where", "--model", "inception_resnet_small")
    assert "resized to 64x64, for which inception_resnet_small is made" in refused.err
    assert "there is no folder no/where" in refused.err


def test_a_users_own_module_in_the_current_folder(netmorph: Program, folder: Path) -> None:
    (folder / "mynet.py").write_text(MODELS)
    model = ["--model", "mynet:build", "--option", "hidden=4"]
    arguments = [argument for argument in EVOLVE if argument not in ("--width", "0.125")]
    with started(*arguments, *model, "--output", "own") as process:
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    with Records.open(folder / "own") as records:
        assert records.networks()[0].parameters == 64 * 4 + 4 + 4 * 10 + 10
        assert records.meta("status") == "finished"
    # A folder may come from anyone: what it names is not imported.
    (folder / "mynet.py").write_text("open('it ran', 'w')")
    for given in ([], ["--model", "mlp"]):
        done = netmorph("evolve", "--resume", "own", *given)
        assert done.code == 1
        assert "mynet:build" in done.err
    assert not (folder / "it ran").exists()


def test_groups_are_listed_with_what_they_allow(netmorph: Program, folder: Path) -> None:
    done = netmorph("groups", "resnet", "--option", "width=0.25", "--input", "3x8x8")
    assert (done.code, done.err) == (0, "")
    listed = plain(done.out)
    assert "group channels producers carriers consumers" in listed
    assert "yes, exactly" in listed
    assert "the model's input" in listed
    answer = json.loads(netmorph("groups", "resnet", "--option", "width=0.25", "--input", "3x8x8", "--json").out)
    check_documented(answer)
    told = answer["groups"]
    assert f"{len(told)} groups, {sum(group['allows'] == 'ANY' for group in told)} of them may change" in listed
    assert [group["name"] for group in told if group["reasons"] == ["the model's output"]] != []
    assert all(len(group["producers"] + group["consumers"]) for group in told)
    for group in told:
        assert group["name"] in done.out
    assert told[0]["producers"][0] in netmorph("groups", "resnet", "--option", "width=0.25", "--all").out

    (folder / "mynet.py").write_text(MODELS)
    told = json.loads(netmorph("groups", "mynet:with_inputs", "--option", "width=7", "--json").out)["groups"]
    assert [(group["channels"], group["allows"]) for group in told] == [(7, "FROZEN"), (5, "FROZEN")]


def test_networks_for_tables_and_text(netmorph: Program, folder: Path) -> None:
    told = json.loads(netmorph("groups", "mlp", "--input", "10", "--classes", "1", "--json").out)["groups"]
    assert [(group["name"], group["channels"], group["allows"]) for group in told] == [
        ("fc1", 128, "ANY"), ("fc1.in", 10, "FROZEN"), ("fc2", 64, "ANY"), ("fc3", 1, "FROZEN")
    ]  # fmt: skip
    small = ["--option", "depth=1", "--option", "width=0.125"]
    done = netmorph("groups", "gpt", *small, "--option", "tied=false")
    assert (done.code, done.err) == (0, "")
    assert "blocks.0.attention.query" in done.out
    assert "exactly by equal copies" in done.out
    assert netmorph("export", "gpt", *small, "--code", "network.py").code == 0
    assert runpy.run_path("network.py")["load"]()(torch.zeros(1, 64, dtype=torch.long)).shape == (1, 64, 256)

    base = Base("gpt", {"input_shape": (6,), "classes": 9, "depth": 1, "width": 0.125})
    save("text.safetensors", base.build(), (), base)
    assert json.loads(netmorph("groups", "text.safetensors", "--json").out)["groups"][-1]["channels"] == 9
    assert netmorph("export", "text.safetensors", "--torch", "text.pt2").code == 0


def test_a_grown_network_is_exported(netmorph: Program, folder: Path) -> None:
    (folder / "mynet.py").write_text(MODELS)
    sys.path.append(str(folder))
    from mynet import build

    model = build((1, 8, 8), 4)
    graph = trace(model, torch.randn(2, 1, 8, 8))
    save("grown.safetensors", model, apply(graph, widen(graph, "1", 9)).journal)
    own = ["grown.safetensors", "--base", "mynet:build", "--input", "1x8x8", "--classes", "4"]
    told = json.loads(netmorph("groups", *own, "--json").out)["groups"]
    assert told[0]["channels"] == 9
    done = netmorph("export", *own, "--code", "network.py", "--torch", "network.pt2")
    assert (done.code, done.err) == (0, "")
    assert "Code: network.py" in done.out
    x = torch.randn(3, 1, 8, 8)
    network = runpy.run_path("network.py")["load"]().eval()
    torch.testing.assert_close(network(x), model.eval()(x))
    torch.testing.assert_close(torch.export.load("network.pt2").module()(x), model(x))

    save("own.safetensors", *load_zoo())
    assert json.loads(netmorph("groups", "own.safetensors", "--json").out)["groups"][0]["channels"] == 6
    refused = netmorph("groups", "grown.safetensors")
    assert refused.code == 1
    assert re.match(r"Error: grown.safetensors holds .* --base .*mypackage.nets:build", refused.err)


def test_an_export_does_not_overwrite_the_network_it_reads(netmorph: Program, folder: Path) -> None:
    save("own.safetensors", *load_zoo())
    before = Path("own.safetensors").read_bytes()
    refused = netmorph("export", "own.safetensors", "--code", "own.py")
    assert refused.code == 1
    assert re.match(r"Error: the weights would go into own.safetensors, which exists", refused.err)
    assert Path("own.safetensors").read_bytes() == before
    assert not Path("own.py").exists()


def load_zoo() -> tuple[torch.nn.Module, tuple[()], Base]:
    base = Base("lenet5", {"input_shape": (1, 28, 28), "classes": 10})
    return base.build(), (), base


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_networks_of_other_libraries(netmorph: Program, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    name = {"timm": "lcnet_035", "torchvision": "squeezenet1_1"}[library]
    pytest.importorskip(library)
    told = json.loads(netmorph("groups", f"{library}:{name}", "--input", "3x32x32", "--json").out)["groups"]
    assert len(told) > 10
    refused = netmorph("groups", f"{library}:{name}x")
    assert re.match(rf"Error: {library} has no model '{name}x' \(did you mean '{name}'\?\)", refused.err)
    refused = netmorph("groups", f"{library}:{name}", "--option", "colour=3")
    assert re.match(rf"Error: {library} cannot build {name} with .*colour", refused.err)
    monkeypatch.setitem(sys.modules, library, None)
    missing = netmorph("groups", f"{library}:{name}")
    assert f"needs the package '{library}'" in missing.err
    assert "netmorph[vision]" in missing.err


# -- wrong inputs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evolve --data digitz", "did you mean 'digits'"),
        ("evolve --data some/where", "there is no folder some/where"),
        ("evolve --data one", "every train image is of class 'a'"),
        ("evolve --data broken", r"cannot decode .*/broken/b/0.png"),
        ("evolve --data empty", "empty"),
        ("evolve --model lenet6", "did you mean 'lenet5'"),
        ("evolve --model minivgg", "minivgg needs images of at least 12x12 pixels, got 8x8"),
        ("evolve --model nowhere:build", "no module 'nowhere'"),
        ("evolve --model mynet:bild", "did you mean 'build'"),
        ("evolve --model mynet:raising", "Raising does not take .*KeyError: 'a thing'"),
        ("evolve --model mynet:few", "build it with the data set's class count"),
        ("evolve --model mynet:failing", "RuntimeError: out of ideas"),
        ("evolve --model mynet:nothing", "it must return a torch.nn.Module"),
        ("evolve --budget 10", "cannot read the budget '10'"),
        ("evolve --budget nanflops", "cannot read the budget 'nanflops'"),
        ("evolve --option width", "--option takes name=value"),
        ("evolve --option height=3", "unexpected keyword argument 'height'"),
        ("evolve --option width=wide", "lenet5.*failed"),
        ("evolve --option classes=4", "classes of the network come from the data"),
        ("evolve --width 0", "width must be a positive number"),
        ("evolve --train-size 9", "--train-size must be between 10"),
        ("evolve --resize 8", "--resize takes HEIGHTxWIDTH"),
        ("evolve --locality 2", "locality must be a share"),
        ("evolve --max-flops 10", "more than --max-flops, 10"),
        ("evolve --device abacus", "the device 'abacus' cannot be used"),
        ("evolve --lr 0", "--lr must be above 0"),
        ("evolve --output full", "full is not an empty folder"),
        ("evolve --output full/file", "full/file is not an empty folder"),
        ("evolve --resume full", "no run in full"),
        ("evolve --resume nowhere", "no run in nowhere"),
        ("train --schedule cosin", "did you mean 'cosine'"),
        ("train --patience 0", "patience must be at least 1"),
        ("train --model mynet:raising", "KeyError: 'a thing'"),
        ("train --resume nowhere", "no run in nowhere"),
        ("train --first-size 0", "--first-size must be a share"),
        ("train --first-size 0.5", r"does not take inputs of shape \(1, 4, 4\).*Leave --first-size at 1"),
        ("train --class-weights rare", "--class-weights takes balanced, or a number for each class.*'rare'"),
        ("train --class-weights 1,2", "--class-weights has 2 numbers for 10 classes"),
        ("train --class-weights 0,0", "one of them above 0"),
        ("train --accumulate 100", "accumulate must be from 1 to the batch size; 100"),
        ("train --ema 1", "ema must be between 0 and 1"),
        ("train --mixup -1", "mixup must be 0 or more"),
        ("train --cutmix nan", "cutmix must be 0 or more"),
        ("train --label-smoothing 1", "--label-smoothing must be from 0"),
        ("train --warmup 1", "warmup must be a share of the run"),
        ("train --clip-norm 0", "--clip-norm must be a finite number above 0"),
        ("train --stream", "digits fits in memory and is not streamed"),
        ("train --skip-unreadable 2", "--skip-unreadable is for images that are streamed"),
        ("train digits --data mnist", "the data are given twice, as digits and by --data"),
        ("train digits --resume run", "DATA cannot be given with --resume"),
        ("train --stream --data one", r"give their size \(--resize 224x224\)"),
        ("train --stream --data some/where --resize 8x8", "there is no folder some/where"),
        ("show nowhere", "no run in nowhere"),
        ("show nowhere --json", "no run in nowhere"),
        ("report nowhere", "no run in nowhere"),
        ("groups lenet6", "did you mean 'lenet5'"),
        ("groups runs/gone-1", "no network, file or folder 'runs/gone-1'"),
        ("groups runs/gone-1:3", "no network, file or folder 'runs/gone-1:3'"),
        ("groups resnet --option depth=3", "argument 'depth'; it takes --input, classes, width, blocks, channels"),
        ("groups mynet:bild", "did you mean 'build'"),
        ("groups mynet:failing", "RuntimeError: out of ideas"),
        ("groups mynet:nothing", "it must return a torch.nn.Module"),
        ("groups mynet:with_inputs --option depth=3", "unexpected keyword argument 'depth'"),
        ("groups lenet5 --input 3x", "--input takes the sizes of one input"),
        ("groups lenet5 --input 3x0x3", "--input takes the sizes of one input"),
        ("groups lenet5 --base lenet5", "--base is for networks in a file"),
        ("groups nowhere.safetensors", "there is no file nowhere.safetensors"),
        ("groups full/weights.safetensors", "not a network saved by netmorph"),
        ("export lenet5", "nothing to write; give --code"),
        ("export lenet5 --code network.txt", r"such as network.py; got network.txt"),
        ("export lenet5 --code full/file/network.py", "could not write full/file/network.py"),
    ],
)
def test_a_wrong_input_gets_one_clear_line(netmorph: Program, folder: Path, arguments: str, message: str) -> None:
    (folder / "mynet.py").write_text(MODELS)
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    (folder / "full" / "weights.safetensors").write_bytes(b"no tensors")
    (folder / "empty").mkdir()
    if "--data" in arguments:
        _write_images(folder)
    before = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    done = netmorph(*arguments.split())
    assert (done.code in (1, 2), done.out) == (True, "")
    assert re.match(rf"Error: .*{message}", done.err), done.err
    assert done.err.count("\n") == 1
    assert sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "evolve --epochs 0",
        "evolve --workers 0",
        "evolve --population 0",
        "evolve --seed -1",
        "evolve --optimizer sdg",
        "train --mixup much",
        "train --accumulate 1.5",
    ],
)
def test_usage_errors_name_the_option(netmorph: Program, folder: Path, arguments: str) -> None:
    done = netmorph(*arguments.split())
    assert done.code == 2
    assert f"Invalid value for '{arguments.split()[1]}'" in plain(done.err)
    assert list(folder.iterdir()) == []


def test_errors_are_printed_as_they_are(netmorph: Program) -> None:
    done = netmorph("show", "a [bold]strange[/] folder" + 100 * "x")
    assert done.err.startswith("Error: no run in a [bold]strange[/] folderxxx")
    assert done.err.count("\n") == 1


def test_a_learning_rate_that_is_too_high_is_explained(netmorph: Program) -> None:
    for arguments in ([*EVOLVE, "--workers", "1"], TRAIN):
        done = netmorph(*arguments, "--lr", "1e30")
        assert done.code == 1
        assert re.fullmatch(r"Error: .*the loss is .*Lower the learning rate.*\n", done.err)
        assert "Traceback" not in done.out + done.err


def _write_images(folder: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for name in ("one/a", "broken/a", "broken/b"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            pillow.new("L", (8, 8), 40 * number).save(folder / name / f"{number}.png")
    (folder / "broken/b/0.png").write_bytes(b"no image")


# -- interruptions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["evolve", "train"])
def test_ctrl_c_tells_how_to_go_on(netmorph: Program, folder: Path, command: str) -> None:
    with started(command, *QUICK, "--epochs", "100000", "--output", "a run") as process:
        # The moment when workers are still starting is the hardest.
        _wait_for(lambda: (folder / "a run" / "lock").exists() and _state(folder / "a run") == "running")
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.strip() == f"Interrupted. Go on with: netmorph {command} --resume 'a run'"
    assert "Traceback" not in out
    assert _state(folder / "a run") == "interrupted"
    assert "a run: interrupted" in netmorph("show", "a run").out


def test_ctrl_c_while_workers_train(folder: Path) -> None:
    with started(*EVOLVE, "--start-epochs", "100000", "--workers", "2", "--output", "run") as process:
        _wait_for(lambda: (folder / "run" / "networks" / "1.born.safetensors").exists())
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)  # ends with the last process that holds these pipes
    assert process.returncode == 130
    assert err.strip() == "Interrupted. Go on with: netmorph evolve --resume run"
    assert "Traceback" not in out
    assert _state(folder / "run") == "interrupted"


def test_a_killed_run_is_not_shown_as_running(netmorph: Program, folder: Path) -> None:
    with started(*TRAIN, "--epochs", "100000", "--output", "run") as process:
        _wait_for(lambda: (folder / "run" / "checkpoint").exists())
        assert json.loads(netmorph("show", "run", "--json").out)["status"] == "running"
        refused = netmorph("train", "--resume", "run")
        assert re.match(rf"Error: run is in use by process {process.pid} on .*\n", refused.err)
        assert refused.code == 1
        process.kill()
        process.communicate()
    assert json.loads(netmorph("show", "run", "--json").out)["status"] == "interrupted"
    assert netmorph("report", "run").code == 0
    assert "interrupted" in Path("run/report.html").read_text("utf-8")


def _state(folder: Path) -> str:
    with Records.open(folder) as records:
        return str(summary(records)["status"])


def _wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_options_that_a_resumed_run_would_ignore_are_refused(netmorph: Program, folder: Path) -> None:
    assert netmorph(*EVOLVE, "--budget", "1rounds", "--output", "run").code == 0
    refused = netmorph("evolve", "--resume", "run", "--children", "9", "--seed", "1")
    assert refused.code == 2
    assert refused.err.startswith("Error: --children, --seed cannot be given with --resume")
    longer = netmorph("evolve", "--resume", "run", "--budget", "2rounds", "--workers", "1", "--watch")
    assert "Watch run in the browser: http://127.0.0.1:" in longer.out
    assert longer.code == 0
    assert "finished, round 2" in longer.out
    assert "Best network: run/networks/" in longer.out
