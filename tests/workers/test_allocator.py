"""Memory that tensors leave stays with the process, if it says so."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from netmorph.workers.allocator import keep_freed_memory

if "keep" in sys.argv:
    assert keep_freed_memory()

def step():
    kept = [torch.ones(2**18) for _ in range(20)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    step()
before = faults()
for _ in range(20):
    step()
print((faults() - before) // 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_step_frees_serves_the_next() -> None:
    # Otherwise what is given back depends on what happens to lie above it.
    gives_back = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}

    def page_faults(*arguments: str) -> int:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        told = subprocess.run(command, capture_output=True, text=True, check=True, env=gives_back)
        return int(told.stdout)

    assert page_faults("keep") < page_faults() / 10
