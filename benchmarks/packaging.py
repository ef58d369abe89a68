"""Is netmorph whole as a package? Built, installed into empty environments, and used without its sources.

    python -m benchmarks.packaging [--torch 2.13.0] [--extras data evolve ...] [--keep FOLDER]

Builds the sdist, and from it the wheel; looks for every file in it that is no Python; installs it alone, and with each
extra alone, into environments that hold nothing else; and tries what the extras are for in each of them. What is there
must work, and what is not must be told by the name of the extra that brings it. Then the time that an import takes.
Ends with status 1 where that is not so. Needs a package index, `build`, and a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
NOT_SHIPPED = {"ruff.toml"}  # what only those need who work on the sources
NOT_FOR_USERS = {"dev", "docs"}  # extras that work needs on netmorph itself
CORE = "core"
# By extra, what it is for, in a line of Python that needs nothing of the others. `graph` and `model` are there.
USES: Mapping[str, str] = {
    CORE: "netmorph.save('n.safetensors', model, graph.journal); write_code(graph, 'plain.py')",
    "data": "netmorph.data.load('digits')",
    "evolve": "netmorph.policy.by_rank([Candidate(1, 0.5, 0.1, 1.0, 1)])",
    "report": "Page('a page', ['text']).write(Path('page.html')); save(lambda figure: {}, Path('figure.png'), 100)",
    "huggingface": "listed()",
    "tensorboard": "TensorBoardLog(Path('logs')).close()",
    "look": "netmorph.look.saliency(model, torch.randn(2, 3, 8, 8), torch.tensor([0, 1]))",
    "plot": "curves()",
    "onnx": "netmorph.export.onnx(graph, 'network.onnx')",
    "vision": "vision_library('timm').create_model('resnet18')",
    "lightning": "importlib.import_module('netmorph.integrations.lightning')",
    "transformers": "importlib.import_module('netmorph.integrations.transformers')",
    "chain": "importlib.import_module('netmorph.chain.environment')",
    "ray": "netmorph.errors.require('ray', 'ray')",
    "embed": "netmorph.errors.require('cmaes', 'embed')",
}
PROBE = """
import importlib, json, sys, warnings
from contextlib import suppress
from pathlib import Path
import torch
from torch import nn
import netmorph
from netmorph.data.dataset import DataError
from netmorph.data.huggingface import list_rows
from netmorph.errors import MissingExtra
from netmorph.export import write_code
from netmorph.policy.selection import Candidate
from netmorph.report.figures import save
from netmorph.report.logs import TensorBoardLog
from netmorph.report.plain_page import Page
from netmorph.zoo.vision import vision_library

warnings.simplefilter("ignore")
assert "site-packages" in netmorph.__file__, netmorph.__file__
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
graph = netmorph.trace(model, torch.randn(2, 3, 8, 8))
graph = netmorph.apply(graph, netmorph.widen(graph, "0", 12))

def listed():
    Path("rows").mkdir()
    with suppress(DataError):  # the library was asked, and found nothing
        list_rows(Path("rows"), Path("cache"))

def curves():
    Path("curves").mkdir()
    Path("curves", "events.out.tfevents.1").touch()
    with suppress(netmorph.plot.PlotError):  # likewise
        netmorph.plot.read("curves")

found = {}
for name, line in json.loads(sys.argv[1]).items():
    try:
        exec(line)
        found[name] = "works"
    except MissingExtra as error:
        found[name] = str(error)
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
Path("found.json").write_text(json.dumps(found))
"""
IMPORT = """
import time
import torch
began = time.process_time()
import netmorph
netmorph.trace, netmorph.apply, netmorph.widen
print(time.process_time() - began)
"""


def build(folder: Path) -> Path:
    """The wheel, made from the sdist."""
    _run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def left_out(wheel: Path) -> list[str]:
    """Files of the package that the wheel should have and has not, and what every package has."""
    there = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "src"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    wanted = {path.removeprefix("src/") for path in tracked if Path(path).name not in NOT_SHIPPED}
    ends = ("licenses/LICENSE", "METADATA", "entry_points.txt")
    return sorted(wanted - there) + [end for end in ends if not any(name.endswith(end) for name in there)]


class Environment:
    """An empty environment of Python's, which may see the packages of another one."""

    def __init__(self, folder: Path, below: Environment | None = None) -> None:
        venv.create(folder, with_pip=below is None)
        self.python = folder / "bin" / "python"
        self.packages = next(folder.glob("lib/python*/site-packages"))
        self.home = folder / "home"
        self.home.mkdir()
        self._pip = self.python
        if below is not None:  # torch and what it needs, and pip, are installed once
            (self.packages / "below.pth").write_text(f"{below.packages}\n")
            self._pip = below.python

    def install(self, *what: str, constraints: Path) -> None:
        """By pip, nothing newer than the constraints say."""
        into = ("--python", str(self.python), "install", "--quiet", "--constraint", str(constraints))
        _run(str(self._pip), "-I", "-m", "pip", *into, *what)  # nothing that PYTHONPATH finds is installed

    def says(self, *arguments: str) -> str:
        """What its Python prints, far from the sources."""
        told = os.environ | {"XDG_CACHE_HOME": str(self.home / "cache")}  # data of another cache would need no extra
        done = subprocess.run(
            [str(self.python), "-I", *arguments], cwd=self.home, env=told, check=True, capture_output=True, text=True
        )
        return done.stdout

    def uses(self) -> dict[str, str]:
        """What becomes of each line of `USES` in it."""
        self.says("-c", PROBE, json.dumps(USES))
        found: dict[str, str] = json.loads((self.home / "found.json").read_text())
        return found


def wrong(extra: str, found: Mapping[str, str]) -> list[str]:
    """What neither works nor is told by the name of an extra, and what the extra should have made work."""
    return [
        f"{extra}: {use}: {what}"
        for use, what in found.items()
        if what != "works" and (use in (CORE, extra) or f"netmorph[{use}]" not in what)
    ]


def shown(rows: Mapping[str, Mapping[str, str]]) -> Table:
    """A row for each extra, a column for each use."""
    table = Table("installed", *USES, title="what works, and what is told to be missing (-)")
    for extra, found in rows.items():
        marks = ["yes" if what == "works" else "-" if "netmorph[" in what else "NO" for what in found.values()]
        table.add_row(extra, *marks)
    return table


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main(arguments: Sequence[str] = ()) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packaging", description=__doc__.partition("\n")[0])
    parser.add_argument("--torch", default="", help="its version; as in constraints.txt if not given")
    parser.add_argument("--extras", nargs="*", default=[name for name in extras if name not in NOT_FOR_USERS])
    parser.add_argument("--keep", type=Path, help="a folder for the environments, which are deleted if not given")
    options = parser.parse_args(list(arguments))
    console = Console(width=max(Console().width, 150))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        wheel = build(folder / "dist")
        errors = [f"not in the wheel: {name}" for name in left_out(wheel)]
        constraints = folder / "constraints.txt"
        pinned = (ROOT / "constraints.txt").read_text().splitlines()
        own = [f"torch=={options.torch}"] if options.torch else []
        constraints.write_text("\n".join(own + [line for line in pinned if not (own and line.startswith("torch"))]))
        core = Environment(folder / CORE)
        core.install(str(wheel), constraints=constraints)
        rows = {CORE: core.uses()}
        for extra in options.extras:
            one = Environment(folder / extra, below=core)
            one.install(f"netmorph[{extra}] @ {wheel.resolve().as_uri()}", constraints=constraints)
            if extra == "vision":  # beside a CPU build of torch, see netmorph.torchvision_operators
                console.print(one.says("-m", "netmorph.torchvision_operators").strip(), soft_wrap=True)
            rows[extra] = one.uses()
        console.print(shown(rows))
        for extra, found in rows.items():
            errors += wrong(extra, found)
        told = core.says("-c", "import torch; print(torch.__version__)").strip()
        seconds = sorted(float(core.says("-c", IMPORT)) for _ in range(5))[2]
        console.print(f"import beside torch {told}: {seconds:.3f} s of processor time (median of 5); to be below 0.2")
    if errors:
        raise SystemExit("\n".join(errors))


if __name__ == "__main__":
    main(sys.argv[1:])
