"""`torchrun -m netmorph train`: one run, one voice, whatever happens to its processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netmorph import session
from netmorph.report.summary import summary
from netmorph.train.checkpoint import load
from tests.data.written import jpeg

# Tests that run in the background of a shell inherit that Ctrl-C is ignored; a terminal's program does not.
LAUNCHER = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from torch.distributed.run import main; main()"
)
OPTIONS = ["--train-size", "160", "--model", "lenet5", "--width", "0.5", "--batch-size", "32", "--threads", "1"]

pytestmark = pytest.mark.slow


def torchrun(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    program = [sys.executable, "-c", LAUNCHER, "--standalone", "--nproc-per-node", "2", "-m", "netmorph"]
    return subprocess.Popen(
        [*program, "train", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def errors(text: str) -> list[str]:
    """What the program said on its standard error, without what torchrun says."""
    return [line for line in text.splitlines() if line.startswith(("Error", "Interrupted", "[rank", "Aborted"))]


def epochs_told(text: str) -> int:
    return len(re.findall(r"^ +\d+( +\S+){5}$", text, re.MULTILINE))


def wait_for_epochs(folder: Path, epochs: int) -> None:
    for _ in range(3000):
        if (folder / "metrics.csv").exists() and len((folder / "metrics.csv").read_text().splitlines()) > epochs:
            return
        time.sleep(0.1)
    pytest.fail(f"{folder} has not come to epoch {epochs}")


def test_a_run_of_two_processes_is_one_run(tmp_path: Path) -> None:
    """Interrupted, killed, and resumed, it ends with the bits of one that nobody disturbed."""
    epochs = ["--epochs", "60", "--pad", "1"]
    with torchrun(tmp_path, *OPTIONS, *epochs, "--output", "whole") as process:
        out, err = process.communicate(timeout=200)
    assert (process.returncode, errors(err)) == (0, [])
    assert out.count("Folder: whole") == out.count("Report: ") == 1
    assert epochs_told(out) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]

    with torchrun(tmp_path, *OPTIONS, *epochs, "--output", "cut") as process:
        wait_for_epochs(tmp_path / "cut", 5)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    told = "Interrupted. Go on with: torchrun --nproc-per-node 2 -m netmorph train --resume cut"
    assert errors(err) == [told]
    with torchrun(tmp_path, "--resume", "cut") as process:
        wait_for_epochs(tmp_path / "cut", 15)
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.communicate(timeout=60)
    with torchrun(tmp_path, "--resume", "cut") as process:
        out, err = process.communicate(timeout=200)
    assert (process.returncode, errors(err)) == (0, [])
    assert 0 < epochs_told(out) <= 45, "it went on where it was"

    weights = [path.read_bytes() for path in sorted(tmp_path.glob("*/networks/*"))]
    assert len(weights) == 2
    assert weights[0] == weights[1]
    (_, one), (_, other) = (load(tmp_path / name / "checkpoint") for name in ("whole", "cut"))
    for left, right in zip(one["history"], other["history"], strict=True):
        assert {**left, "seconds": 0} == {**right, "seconds": 0}
    with session.reading(tmp_path / "cut") as records:
        assert summary(records)["status"] == "finished"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "33"], "Error: batches of 33 cannot be shared equally by 2 processes; take a multiple"),
        (["--lr", "1e30"], "Error: the loss is "),
        (["--resume", "nowhere"], "Error: no run in nowhere"),
    ],
)
def test_an_error_is_told_once(tmp_path: Path, arguments: list[str], message: str) -> None:
    options = arguments if "--resume" in arguments else [*OPTIONS, *arguments, "--epochs", "2"]
    with torchrun(tmp_path, *options) as process:
        out, err = process.communicate(timeout=100)
    assert process.returncode == 1
    (told,) = errors(err)
    assert told.startswith(message)
    assert "Report" not in out


def children(parent: int) -> list[int]:
    return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


def test_a_streamed_run_in_imagenets_layout_is_one_run(tmp_path: Path) -> None:
    """Generated JPEGs, flat validation images, random crops, bfloat16, a small Inception-ResNet; killed and resumed."""
    write_imagenet(tmp_path / "pictures")
    options = (
        "--model inception_resnet_small --option width=0.125 --option stride=1 --resize 24x24 --flip --bf16".split()
    )
    options += "--stream pictures --skip-unreadable 1 --batch-size 8 --threads 1 --epochs 3".split()
    with torchrun(tmp_path, *options, "--output", "whole") as process:
        out, err = process.communicate(timeout=600)
    assert (process.returncode, errors(err)) == (0, [])
    assert err.count("1 of 36 images cannot be read, and are left out") == 1
    assert epochs_told(out) == 3
    with torchrun(tmp_path, *options, "--output", "cut") as process:
        wait_for_epochs(tmp_path / "cut", 1)
        for child in children(process.pid):
            os.kill(child, signal.SIGKILL)
        process.communicate(timeout=60)
    with torchrun(tmp_path, "--resume", "cut") as process:
        out, err = process.communicate(timeout=600)
    assert (process.returncode, errors(err)) == (0, [])
    assert 0 < epochs_told(out) < 3, "it went on where it was"
    weights = [path.read_bytes() for path in sorted(tmp_path.glob("*/networks/*"))]
    assert len(weights) == 2
    assert weights[0] == weights[1]


def write_imagenet(root: Path) -> None:
    """Two classes in folders for training, and a flat validation folder beside Caffe's list; one image is damaged."""
    lines = []
    for label, name in enumerate(("n01440764", "n01443537")):
        (root / "train" / name).mkdir(parents=True)
        (root / "val").mkdir(exist_ok=True)
        for number in range(14):
            (root / "train" / name / f"{name}_{number}.JPEG").write_bytes(jpeg(number, 50, 60, tint=label))
        for number in range(4):
            lines.append(f"ILSVRC2012_val_{2 * number + label:08}.JPEG {label}")
            (root / "val" / lines[-1].split()[0]).write_bytes(jpeg(90 + number, 60, 50, tint=label))
    (root / "train" / "n01440764" / "n01440764_5.JPEG").write_bytes(b"no image")
    (root / "val.txt").write_text("\n".join(lines))
