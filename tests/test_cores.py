import os

import pytest

from netmorph import cores


def test_affinity_limits_the_cores():
    assert 1 <= cores.available_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("own", "quotas", "expected"),
    [
        ("0::/", {"": "150000 100000"}, 1.5),
        ("0::/a/b", {"": "max 100000", "a": "300000 100000", "a/b": "max 100000"}, 3),
        ("0::/a/b", {"a/b": "50000 100000"}, 0.5),
        ("0::/a/b", {}, 16),
        ("0::/", {"": "nonsense"}, 16),
        ("4:cpu:/a", {"": "100000 100000"}, 16),
    ],
)
def test_the_smallest_cgroup_quota_counts(tmp_path, own, quotas, expected):
    for folder, content in quotas.items():
        (tmp_path / "root" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / folder / "cpu.max").write_text(content + "\n")
    (tmp_path / "cgroup").write_text(f"1:name=systemd:/\n{own}\n")
    assert cores._cgroup_quota(tmp_path / "cgroup", tmp_path / "root", 16) == expected


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert cores._cgroup_quota(tmp_path / "absent", tmp_path, 16) == 16


def test_processes_of_torchrun_share_the_cores(monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: 5)
    shares = []
    for processes in ("1", "2", "8"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        shares.append(cores.own_cores())
    assert shares == [5, 2, 1]
