"""Where to compute, and in which precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


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
