"""Freed memory is kept for the next tensor."""

from __future__ import annotations

import subprocess
import sys
import weakref

import pytest
import torch

from domino_lightning.utils.memory import give_back_memory

PROGRAM = """
import resource, sys, torch
from domino_lightning.utils.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit(3)
def work():
    logits = torch.ones(16 << 20)  # 64 MiB
    (logits * 2).exp()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    work()
sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))
"""


def faults(way: str) -> int:
    """Page faults of twenty rounds that need 192 MiB each, after a first round."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, way], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
def test_large_tensors_take_the_pages_of_those_freed_before() -> None:
    assert faults("keep") * 5 < faults("as usual")


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize("initialized", [True, False])
def test_a_gpus_memory_is_given_back_once_nothing_refers_to_what_lay_there(
    initialized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycle = _Cycle()
    gone, alive = weakref.ref(cycle), []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: initialized)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(gone() is not None))
    del cycle
    give_back_memory()
    assert gone() is None
    assert alive == [False] * initialized
