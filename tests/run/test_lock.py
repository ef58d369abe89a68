import os
import subprocess
import sys

import pytest

from netmorph.errors import NetmorphError
from netmorph.run.lock import RunInUse, RunLock

HOLD = """
import sys, time
from pathlib import Path
from netmorph.run.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_in_use_is_refused_until_its_process_is_gone(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(RunInUse, match=f"in use by process {holder.pid} on .*choose another folder"),
            RunLock(tmp_path),
        ):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with RunLock(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()


def test_once_at_a_time_in_one_process_and_again_afterwards(tmp_path):
    folder = tmp_path / "new" / "run"
    lock = RunLock(folder)
    for _ in range(2):
        with lock, pytest.raises(RunInUse), RunLock(folder):
            pass


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(NetmorphError, match=r"cannot lock .*choose another folder"),
        RunLock(tmp_path / "file" / "run"),
    ):
        pass
