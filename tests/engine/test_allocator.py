"""Memory that tensors leave stays with the process, if it says so."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from netmorph.engine.allocator import keep_freed_memory

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
    def page_faults(*arguments: str) -> int:
        told = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
        return int(told.stdout)

    assert page_faults("keep") < page_faults() / 10
