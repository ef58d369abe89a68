"""One line of imports: who may import whom, read from the syntax trees."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

# From the ground up: a room may import from the levels before its own, and not from rooms beside it.
LEVELS = (
    (
        "errors",
        "files",
        "cores",
        "wording",
        "lazy",
        "memory",
        "memory_layout",
        "seeds",
        "showing",
        "typed",
        "torchvision_operators",
    ),
    ("tensor_files",),
    ("tasks",),
    ("zoo", "data", "workers", "graph"),
    ("observe", "export", "widenings", "draws"),
    ("solve",),
    ("edit",),
    ("measure", "scores", "train"),
    ("sharing",),
    ("policy", "testing", "integrations", "bank", "draw", "look"),
    ("ensemble",),
    ("run", "shrink", "chain"),
    ("search", "report"),
    ("session", "shrinking", "chaining", "ranks", "neighbours", "reproduce"),
    ("watch", "plot", "live", "extending"),
    ("kinds",),
    ("",),  # the face, `netmorph` itself
    ("demo",),  # scripts as users write them
    ("cli",),
    ("__main__",),
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
# Files are written by one function, which says what was wrong; extras are asked for by another.
WITHIN_THE_GROUND = {
    ("files", "errors"),
    ("cores", "errors"),
    ("wording", "errors"),
    ("lazy", "errors"),
    ("lazy", "wording"),
    ("memory_layout", "errors"),
    ("memory", "errors"),
    ("seeds", "errors"),
}


def modules() -> dict[str, Path]:
    """Every module of the package, by its dotted name."""
    found = {}
    for path in sorted(SOURCE.glob("netmorph/**/*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path, *, at_once: bool) -> Iterator[str]:
    """The modules of netmorph that a file imports; with `at_once` only what is imported when the file is."""
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if at_once and (isinstance(node, ast.FunctionDef) or _is_for_types(node)):
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("netmorph"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("netmorph"):
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else str(node.module)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    own = room(module)
    upward = [
        other
        for other in imported(MODULES[module], at_once=False)
        if room(other) != own and (own, room(other)) not in WITHIN_THE_GROUND
        if LEVEL[room(other)] >= LEVEL[own]
    ]

    assert not upward


def test_no_module_imports_itself_by_way_of_others() -> None:
    direct = {name: set(imported(path, at_once=True)) - {name} for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join((*above, module))
        if module not in done:
            for other in direct[module]:
                visit(other, (*above, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_every_room_has_its_level() -> None:
    assert set(map(room, MODULES)) == LEVEL.keys()
