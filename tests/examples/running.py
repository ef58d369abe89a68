"""Runs the notebooks of examples/: `python -m tests.examples.running [NOTEBOOK ...]` keeps what comes out in them."""

import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PARAMETERS = "parameters"  # the tag of the cell that holds a notebook's sizes, as papermill has it


def executed(path: Path, cwd: Path, parameters: Mapping[str, object] | None = None) -> NotebookNode:
    """A notebook with the outputs of its cells, and nothing that differs from run to run by itself.

    Args:
        cwd: the folder that its kernel works in.
        parameters: values for the names that its cell of parameters sets, in the place of that cell.

    Raises:
        CellExecutionError: a cell failed; the message holds the traceback.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters is not None:
        (cell,) = (cell for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", ()))
        cell.source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    told = {"metadata": {"path": cwd}}
    NotebookClient(notebook, timeout=None, record_timing=False, coalesce_streams=True, resources=told).execute()
    notebook.metadata.language_info = {"name": "python"}
    for output in (output for cell in notebook.cells for output in cell.get("outputs", ())):
        if any(kind.startswith("image/") for kind in output.get("data", ())):
            output.data.pop("text/plain", None)  # of a picture: how Python would print the object, at any length
    return notebook


def main(paths: list[Path]) -> None:
    for path in paths or NOTEBOOKS:
        print(path.name, flush=True)
        nbformat.write(executed(path, EXAMPLES), path)


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
