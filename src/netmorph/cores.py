"""How many cores this process may compute on."""

import os
import sys
from pathlib import Path


def available_cores() -> int:
    """Cores this process may use: at most what its affinity mask and its cgroup's quota allow."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
        quota = _cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"), cores)
        return max(1, min(cores, int(quota)))
    else:
        return os.cpu_count() or 1


def own_cores() -> int:
    """Cores for this process alone: its share of them where `torchrun` started several on this machine."""
    return max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def _cgroup_quota(membership: Path, root: Path, default: float) -> float:
    """The smallest quota, in cores, on the way from this process' cgroup (version 2) up to the root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return default
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return default
    folder = root / own
    return min(_folder_quota(level, default) for level in (folder, *folder.parents) if level.is_relative_to(root))


def _folder_quota(folder: Path, default: float) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return default
    return default if quota == "max" else int(quota) / int(period)
