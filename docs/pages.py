"""Gathers the pages of the documentation site: `python docs/pages.py FOLDER`, then `mkdocs build`.

What stands in the repository keeps its place in the folder, so that one link is right on a code host and in the site.
Notebooks and programs of `examples/` become pages, and each public module of netmorph gets one, in which mkdocstrings
puts what the docstrings say. All of it is read, nothing is imported. The folder holds nothing but Markdown and files
beside it: another generator can take it as it is.
"""

import ast
import base64
import html
import json
import re
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
KEPT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs")

Files = dict[str, str | bytes]
"""Contents by the path in the folder."""


def gather(folder: Path) -> None:
    """Write all pages into a folder, in the place of what it held."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in KEPT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for page in folder.rglob("*.md"):
        page.write_text(opened(linked(page.read_text())))
    for name, content in {**examples(), **reference()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def linked(text: str) -> str:
    """Markdown whose links to notebooks are links to their pages."""
    return re.sub(r"(\]\([^)\s]+)\.ipynb\b", r"\1.md", text)


def opened(text: str) -> str:
    """Markdown whose figures lead to themselves at full size, for readers with a narrow screen."""
    return re.sub(r"^(!\[[^\]]*\]\((\S+\.png)\))$", r"[\1](\2)", text, flags=re.MULTILINE)


def examples() -> Files:
    """The notebooks and programs of `examples/` as pages."""
    files: Files = {}
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        files |= notebook(path)
    for path in sorted((ROOT / "examples").glob("*.py")):
        title = path.stem.replace("_", " ").capitalize()
        files[f"examples/{path.stem}.md"] = (
            f"# {title}\n\n`examples/{path.name}`:\n\n{fenced(path.read_text(), 'python')}"
        )
    return files


def notebook(path: Path) -> Files:
    """A notebook as a page, with its pictures beside it."""
    files: Files = {}
    parts = []
    for number, cell in enumerate(json.loads(path.read_text())["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(linked(formulas(source)))
            continue
        parts.append(fenced(source, "python"))
        for place, output in enumerate(cell["outputs"]):
            text, picture = shown(output, f"{path.stem}/{number}-{place}")
            parts.append(text)
            files |= {f"examples/{name}": content for name, content in picture.items()}
    files[f"examples/{path.stem}.md"] = opened("\n\n".join(parts)) + "\n"
    return files


def shown(output: Mapping[str, Any], name: str) -> tuple[str, Files]:
    """What a cell put out, as Markdown, and the picture that it shows, called `name` and an ending."""
    data = {kind: "".join(text) for kind, text in output.get("data", {"text/plain": output.get("text", "")}).items()}
    if "image/png" in data:
        return f"![what the code above draws]({name}.png)", {f"{name}.png": base64.b64decode(data["image/png"])}
    if "image/svg+xml" in data:
        title = re.search(r"<title>([^.<]*)", data["image/svg+xml"])
        told = re.sub(r"[\[\]\s]+", " ", html.unescape(title[1])) if title else "what the code above draws"
        return f"![{told}]({name}.svg)", {f"{name}.svg": data["image/svg+xml"]}
    if "text/markdown" in data:
        return data["text/markdown"], {}
    plain = data.get("text/plain", "")
    if "text/html" in data and "\x1b" not in plain:  # colours of a terminal were chosen for white paper
        return data["text/html"], {}
    return fenced(re.sub(r"\x1b\[[\d;]*m", "", plain), "{.text .printed}"), {}


def fenced(text: str, language: str) -> str:
    """Code, or what a program printed, as a block."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def formulas(text: str) -> str:
    """Markdown whose formulas in LaTeX are MathML, which browsers show without a program."""
    parts = re.split(r"(```.*?```|`[^`]*`)", text, flags=re.DOTALL)
    for place in range(0, len(parts), 2):  # what is between code
        part = re.sub(r"\$\$(.+?)\$\$", _block, parts[place], flags=re.DOTALL)
        parts[place] = re.sub(r"\$([^$]+)\$", lambda found: f"<span>{convert(found[1])}</span>", part)
    return "".join(parts)


def _block(found: re.Match[str]) -> str:
    return f'<div class="formula">{convert(found[1], display="block")}</div>'


def reference() -> Files:
    """A page for each public module: its docstring, the modules in it, and all its public names."""
    modules = public_modules()
    return {f"reference/{module}.md": page_of(module, modules) for module in modules}


def public_modules() -> list[str]:
    """`netmorph`, what its `__all__` names, and the modules in it and in its integrations that have such a list."""
    package = SOURCE / "netmorph"
    paths = [*package.glob("*.py"), *package.glob("*/__init__.py"), *package.glob("integrations/*.py")]
    modules = {".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in paths}
    named = {f"netmorph.{name}" for name in public_names("netmorph")}
    return sorted(module for module in modules if module in named or public_names(module))


def page_of(module: str, modules: Collection[str]) -> str:
    """The page of one of several modules; what is a module itself has a page of its own."""
    inside = [name for name in modules if name.rpartition(".")[0] == module]
    links = "".join(f"- [`{name}`]({name}.md): {docstring(name).splitlines()[0]}\n" for name in inside)
    names = sorted(public_names(module), key=str.isupper)  # constants at the end
    names = [name for name in names if f"{module}.{name}" not in inside]
    return f"# {module}\n\n{docstring(module)}\n\n{links}" + "".join(f"\n::: {module}.{name}\n" for name in names)


def docstring(module: str) -> str:
    """What a module says of itself; each says something."""
    told = ast.get_docstring(ast.parse(file_of(module).read_text()))
    assert told, f"{module} has no docstring"
    return told


def public_names(module: str) -> list[str]:
    """What stands in a module's `__all__`, read without running it; none where it has no such list."""
    for line in ast.parse(file_of(module).read_text()).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(line.value)
            return names
    return []


def file_of(module: str) -> Path:
    """The file of a module; that of a package is its `__init__.py`."""
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


if __name__ == "__main__":
    gather(Path(sys.argv[1]))
