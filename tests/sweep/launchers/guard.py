"""Ends what a test with daemons has started, however the test ends: `python guard.py NAME=VALUE ...`.

It waits for the end of its input, which the test's process holds, so that a test that was interrupted or killed leaves
nothing behind either. Then it kills every process that has one of the variables in its environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path


def marked(marks: Collection[str]) -> list[int]:
    """Other processes whose environment has one of the variables, each NAME=VALUE."""
    wanted, found = {mark.encode() for mark in marks}, []
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(each.name) != os.getpid() and not wanted.isdisjoint((each / "environ").read_bytes().split(b"\0")):
                found.append(int(each.name))
    return found


class Guard:
    """A process that outlives this one, and then kills what is marked.

    Args:
        marks: variables, each NAME=VALUE, that nothing else has.
    """

    def __init__(self, *marks: str) -> None:
        command = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), *marks]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, env={}, start_new_session=True)

    def end(self) -> None:
        """Have what is marked killed, and wait until it is gone."""
        self.process.communicate()


def main(marks: Collection[str]) -> None:
    """Wait, then kill until nothing marked is left: what is killed may just have started something."""
    with suppress(KeyboardInterrupt):
        sys.stdin.read()
    give_up = time.monotonic() + 30
    while (pids := marked(marks)) and time.monotonic() < give_up:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1:])
