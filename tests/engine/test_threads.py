import os

import pytest
import torch

from netmorph.engine import threads
from netmorph.errors import NetmorphError


@pytest.mark.parametrize(
    ("cores", "workers", "each", "expected"),
    [
        (8, None, 1, (8, 1)),
        (8, 3, 1, (3, 1)),
        (8, 3, 2, (3, 2)),
        (8, 5, 2, (4, 2)),
        (8, None, 3, (2, 3)),
        (2, 5, 1, (2, 1)),
        (2, None, 16, (1, 2)),
        (1, 1, 1, (1, 1)),
    ],
)
def test_workers_times_threads_stay_within_the_cores(monkeypatch, cores, workers, each, expected):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    assert threads.plan(workers, each) == expected


def test_affinity_limits_the_cores():
    assert 1 <= threads.available_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("own", "quotas", "cores"),
    [
        ("0::/", {"": "150000 100000"}, 1.5),
        ("0::/a/b", {"": "max 100000", "a": "300000 100000", "a/b": "max 100000"}, 3),
        ("0::/a/b", {"a/b": "50000 100000"}, 0.5),
        ("0::/a/b", {}, 16),
        ("0::/", {"": "nonsense"}, 16),
        ("4:cpu:/a", {"": "100000 100000"}, 16),
    ],
)
def test_the_smallest_cgroup_quota_counts(tmp_path, own, quotas, cores):
    for folder, content in quotas.items():
        (tmp_path / "root" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / folder / "cpu.max").write_text(content + "\n")
    (tmp_path / "cgroup").write_text(f"1:name=systemd:/\n{own}\n")
    assert threads._cgroup_quota(tmp_path / "cgroup", tmp_path / "root", 16) == cores


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert threads._cgroup_quota(tmp_path / "absent", tmp_path, 16) == 16


def test_set_threads():
    before = torch.get_num_threads()
    try:
        threads.set_threads(2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("function", [threads.plan, threads.set_threads])
def test_less_than_one_is_refused(function):
    with pytest.raises(NetmorphError, match="must be at least 1; 0 was given"):
        function(0)
