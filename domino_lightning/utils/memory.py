"""The memory of this process and of its device."""

from __future__ import annotations

import ctypes
import gc
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
PAD = 64 << 20  # bytes by which the heap grows


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory for the next tensor; False where this is another C library.

    By default it maps every tensor above 32 MiB anew and gives it back when it is freed, so that the kernel clears
    and maps all its pages again at every step. That was a sixth of a training step with logits of a whole chunk, and
    three quarters of drawing 192 tokens from a vocabulary of 49,152 (`benchmarks/prompt_step.py`, `generation.py`).
    The price is that the process keeps what it needed at its peak, fragmentation included; where a GPU holds the
    tensors there is nothing to gain.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(*setting) for setting in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, PAD)))


def give_back_memory() -> None:
    """Where there is a GPU, free what nothing refers to any more, and give back what torch keeps of its memory."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    gc.collect()  # models and engines refer to themselves
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
