"""Where to compute, and in which precision."""

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's malloc.h
_NEVER = 2**31 - 1


def choose_device() -> torch.device:
    """Choose CUDA where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast_for(device: torch.device) -> AbstractContextManager[object]:
    """Give the precision that is fast and safe on a device: bfloat16 on CUDA, float32 on a CPU.

    A CPU without bfloat16 units multiplies bfloat16 matrices tens of times slower than float32.
    """
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def keep_freed_memory() -> bool:
    """Have this process keep the memory it frees, for what it allocates next; not undone.

    glibc gives large blocks back to the system, which hands them out again page by page, each
    cleared: a tenth of the time of a training step on a CPU, whose blocks are as large as those of
    the step before. What the process holds stays what it held at most.

    Returns:
        Whether the C library is one that can be told so.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(option, value) for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER))
    )
