from pathlib import Path

import pytest

from netmorph.files import SaveError
from netmorph.workers.executor import Inline, Outcome
from netmorph.workers.shelf import Carried, Folder, Parcel, Unpacked


def far(folder: Path) -> Unpacked[str, int]:
    """Jobs are names: such a file grows by a letter, and loses what else there is of its stem. "fail" fails."""

    def grow(job: str) -> int:
        if job == "fail":
            raise RuntimeError("no luck")
        content = (folder / job).read_bytes() + b"x"
        (folder / job).write_bytes(content)
        (folder / job).with_suffix(".optimizer").unlink(missing_ok=True)
        return len(content)

    return Unpacked(grow, Folder(folder))


def test_a_job_takes_along_what_it_reads_and_brings_back_what_it_wrote(tmp_path: Path) -> None:
    near, away = Folder(tmp_path / "near"), tmp_path / "far"
    for name, content in {"5.born.network": b"ab", "5.born.optimizer": b"old", "6.born.network": b"other"}.items():
        near.put(name, content)
    executor = Carried(Inline(lambda: far(away)), near, lambda job: [] if job == "fail" else ["6.born.network", job])
    assert list(executor.run(["5.born.network", "fail"])) == [
        Outcome("5.born.network", 3),
        Outcome("fail", None, "RuntimeError: no luck"),
    ]
    assert {name: near.take(name) for name in near.names()} == {"5.born.network": b"abx", "6.born.network": b"other"}
    assert near.names("5.born") == ["5.born.network"]
    assert not Folder(away).names()


def test_what_did_not_change_stays_on_the_way(tmp_path: Path) -> None:
    sent = {"5.born.network": b"", "5.born.extra": b"1", "6.born.network": b""}
    returned = far(tmp_path)(Parcel("5.born.network", sent))
    assert returned == Parcel(1, {"5.born.network": b"x", "5.born.extra": b"1"})
    assert not Folder(tmp_path).names()


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"'\.\./5' is no name of a file"):
        Folder(tmp_path).put("../5", b"")
