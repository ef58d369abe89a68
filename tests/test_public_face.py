"""What documents and examples teach is there, two levels deep at most, and meant to be: it is in an `__all__`."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import netmorph

ROOT = Path(__file__).parent.parent
TAUGHT = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
TAUGHT += [*sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").glob("*.py"))]
# Of each library that training loops come from there is one namespace more.
LIBRARIES = {
    "netmorph.integrations.lightning",
    "netmorph.integrations.lightning_ranks",
    "netmorph.integrations.transformers",
}
PACKAGES = ["netmorph", *(f"netmorph.{found.name}" for found in pkgutil.iter_modules(netmorph.__path__) if found.ispkg)]


def paths(text: str) -> Iterator[str]:
    """The dotted paths into netmorph that a page or a program names, also by way of what it has imported."""
    text = re.sub(r"python -m [\w.]+", "", text)  # a program, not a name
    roots = {"netmorph": "netmorph"}
    for indent, module, names in re.findall(
        r"^( *)from (netmorph[\w.]*) import (\([^)]*\)|[^\n#]+)", text, re.MULTILINE
    ):
        for name in ast.parse(f"from {module} import {names}".replace(f"\n{indent}", "\n")).body[0].names:
            roots[name.asname or name.name] = f"{module}.{name.name}"
    yield from roots.values()
    for root, rest in re.findall(r"(?<![\w./-])([a-z_]+)((?:\.[A-Za-z_]\w*)+)", text):
        if rest != ".md" and root in roots and isinstance(find(roots[root]), ModuleType):
            yield roots[root] + rest


def find(path: str) -> object:
    """What a path of names leads to, as Python finds it."""
    found: object = netmorph
    for name in path.split(".")[1:]:
        if isinstance(found, ModuleType) and f"{found.__name__}.{name}" in LIBRARIES:
            found = importlib.import_module(f"{found.__name__}.{name}")
        else:
            found = getattr(found, name)
    return found


def is_public(path: str) -> bool:
    """Each module on the way has the next name in its `__all__`, and at most one module lies between."""
    names = path.split(".")
    for length in range(1, len(names)):
        module = ".".join(names[:length])
        if not isinstance(find(module), ModuleType):
            return True  # an attribute of what is public
        if f"{module}.{names[length]}" not in LIBRARIES and names[length] not in getattr(find(module), "__all__", ()):
            return False
    return len(names) <= 2 or path in LIBRARIES or not isinstance(find(path), ModuleType)


@pytest.mark.parametrize("taught", TAUGHT, ids=lambda path: path.name)
def test_what_is_taught_is_public(taught: Path) -> None:
    used = set(paths(taught.read_text()))

    assert not {path for path in used if not is_public(path)}


def test_paths_of_a_page_are_found_however_they_are_written() -> None:
    page = "`netmorph.train.joined`\n    from netmorph import data, widen\n    data.load('x')\nand `netmorph train`"

    assert set(paths(page)) == {
        *("netmorph", "netmorph.train.joined", "netmorph.data", "netmorph.widen", "netmorph.data.load"),
    }
    assert not is_public("netmorph.train.loop")
    assert not is_public("netmorph.errors.NetmorphError")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_has_what_it_names_and_hides_no_module_of_its_own(package: str) -> None:
    module = importlib.import_module(package)
    functions = {name for name in getattr(module, "__all__", ()) if not isinstance(getattr(module, name), ModuleType)}

    assert not functions & {found.name for found in pkgutil.iter_modules(module.__path__)}


def test_each_public_name_has_a_place_in_the_reference() -> None:
    pages = pytest.importorskip("docs.pages", reason="the extra docs is not installed")
    rooms = {name for name in PACKAGES if hasattr(importlib.import_module(name), "__all__")}
    modules = {f"netmorph.{name}" for name in netmorph.__all__ if isinstance(getattr(netmorph, name), ModuleType)}

    assert set(pages.public_modules()) == rooms | modules | LIBRARIES
    for module in rooms | modules:
        told = pages.page_of(module, pages.public_modules())
        for name in getattr(importlib.import_module(module), "__all__", ()):
            assert f"::: {module}.{name}\n" in told or f"({module}.{name}.md):" in told


def test_the_face_shows_type_checkers_what_it_has() -> None:
    tree = ast.parse(Path(netmorph.__file__).read_text())
    shown = [
        name.asname or name.name
        for block in tree.body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name)
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    ]

    assert sorted(shown) == sorted(netmorph.__all__)
    assert set(netmorph.__all__) <= set(dir(netmorph))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'netmorph' has no attribute 'widenn'"):
        netmorph.widenn  # noqa: B018


def test_rooms_are_there_after_a_plain_import_and_pytorch_only_once_it_is_needed() -> None:
    told = """
import sys, netmorph
assert netmorph.__version__ and "torch" not in sys.modules
assert netmorph.data.load and netmorph.widen and netmorph.widenings.r2r and netmorph.train.train
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", told], check=True)
