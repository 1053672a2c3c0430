"""What the CPU's allocator gives out, for tests of memory."""

from __future__ import annotations

import gc
from collections.abc import Callable

import torch


def peak_bytes(work: Callable[[], object]) -> int:
    """The most bytes that the allocator had given out at once since `work` began."""
    # When cycles are collected depends on how much a process holds: what earlier tests left is set aside.
    gc.collect()
    gc.freeze()
    gc.collect()
    try:
        return _peak_bytes(work)
    finally:
        gc.unfreeze()


def _peak_bytes(work: Callable[[], object]) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        work()
    held = peak = 0
    for event in profile.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak
