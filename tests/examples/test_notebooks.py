"""The notebooks run from their first cell to their last, on little data, and are kept with what came out."""

import json
import re

import nbformat
import pytest

from tests import test_public_face as face
from tests.examples.running import NOTEBOOKS, PARAMETERS, executed

DIGITS = {"source": "digits", "train_size": 100}
LARGER_DIGITS = {**DIGITS, "size": (16, 16)}  # MiniVGGNet takes no smaller images
SMALL: dict[str, dict[str, object]] = {
    "1_networks_for_images": {"GREY": LARGER_DIGITS, "COLOUR": LARGER_DIGITS, "EPOCHS": 1},
    "2_growing": {"DATA": DIGITS, "EPOCHS": 1},
    "3_rank_and_shrinking": {"DATA": DIGITS, "WIDTH": 16, "EPOCHS": 1, "ROUNDS": 1},
    "4_detached_layers": {"DATA": DIGITS, "EPOCHS": 1, "SAMPLES": 60, "BUDGET": 8},
    "5_evolution": {"DATA": DIGITS, "ROUNDS": 1, "CHILDREN": 2, "KEPT": 2},
}
LARGEST = 1_000_000  # bytes of all notebooks together: they are read on pages, and kept for ever


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path):
    notebook = executed(path, tmp_path, SMALL[path.stem])

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]  # warnings are errors, here too
    assert not list(tmp_path.iterdir())  # what it writes goes into folders of its own


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_as_it_ran(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)

    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert not re.search(r"/(home|root|tmp|work|Users)/", json.dumps(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_small_here_is_what_its_parameters_are(path):
    notebook = nbformat.read(path, as_version=4)
    [cell] = [cell for cell in notebook.cells if PARAMETERS in cell.metadata.get("tags", ())]
    values: dict[str, object] = {}
    exec(cell.source, {}, values)

    assert values.keys() == SMALL[path.stem].keys()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_it_teaches_is_meant_to_be_used(path):
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")

    assert [taught for taught in face.paths(code) if not face.is_public(taught)] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path):
    prose = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown")

    for link in re.findall(r"\]\((?!https?:)([^)#]*)", prose):
        assert (path.parent / link).is_file(), link


def test_they_are_small_enough_to_be_read_on_a_page():
    assert len(NOTEBOOKS) == len(SMALL)
    assert sum(path.stat().st_size for path in NOTEBOOKS) < LARGEST
