"""What `python -m benchmarks.packaging` finds wrong. The whole of it builds, and installs torch: it is run by hand."""

import tomllib
import zipfile
from pathlib import Path

from benchmarks import packaging

SAYS = "this needs the package 'moocore', which is not installed; run: pip install 'netmorph[evolve]'"


def test_what_is_missing_has_to_be_told_by_the_name_of_its_extra() -> None:
    assert packaging.wrong("data", {"core": "works", "data": "works", "evolve": SAYS}) == []
    assert packaging.wrong("data", {"evolve": "ModuleNotFoundError: moocore"}) == [
        "data: evolve: ModuleNotFoundError: moocore"
    ]
    assert packaging.wrong("evolve", {"evolve": SAYS}) == [f"evolve: evolve: {SAYS}"]


def test_files_that_the_wheel_lacks_are_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as wheel:
        wheel.writestr("netmorph/__init__.py", "")

    missing = packaging.left_out(tmp_path / "some.whl")

    assert {"netmorph/py.typed", "netmorph/report/page.html", "licenses/LICENSE"} <= set(missing)
    assert "netmorph/__init__.py" not in missing
    assert not any(name.endswith("ruff.toml") for name in missing)


def test_every_extra_has_a_use() -> None:
    declared = tomllib.loads((packaging.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert packaging.USES.keys() - {packaging.CORE} == declared.keys() - {"all", *packaging.NOT_FOR_USERS}
