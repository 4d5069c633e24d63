"""What the process is told about memory."""

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, sys
import torch
from vl_pipeline.models.device import keep_freed_memory

if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("another C library")
for number in range(30):
    if number == 20:  # by then the heap is as large as it gets
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(2**24).fill_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_that_was_freed_is_not_asked_for_again() -> None:
    pages = 10 * 4 * 2**24 // 4096
    if _faults("leave") < pages / 2:
        pytest.skip("the system hands out memory in larger pages")

    assert _faults("keep") < pages / 100


def _faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, how], capture_output=True, text=True, check=False
    )
    if "another C library" in done.stderr:
        pytest.skip("a C library that cannot be told")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
