"""What a program and its descendants use, seen from the first process of their namespace: CPU, memory, waiting."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
import time
from typing import NamedTuple

from domino_lightning.execution.sandbox.inside import kernel

LINUX = sys.platform == "linux"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CORES = os.cpu_count() or 1
_FEW = 8  # processes whose pages are told apart, which takes its time
_BLUR_S = 2 / _TICKS  # of what one process shows
_PROOFS = 3  # readings in a row: in one a child may be gone from the list and not yet in its parent's sum
_SOCKET_BYTES = 425_984  # the most that a socket holds
_FEW_SOCKETS = 64  # whose buffers nobody counts


class _Use(NamedTuple):
    """Of one process: CPU seconds of its own and of children that it has waited for, bytes resident."""

    own_s: float
    waited_for_s: float
    resident: int
    state: str
    started: str


class Meter:
    """What a program and its descendants use.

    CPU time is what the kernel's clock of a process and its descendants counts, where it gives us one. Elsewhere it is
    what living processes show, with the children that they have waited for, and what this process has reaped. Of a
    child that nobody waits for, as its parent ignores SIGCHLD, the kernel keeps no such account: then what was seen of
    processes that are gone adds up to more than all accounts hold, and from there on time is taken by looking who runs.

    Attributes:
        cpu_s: CPU seconds until now.
        memory: resident bytes beyond a bare interpreter's, and those that sockets may hold.
        waited_s: seconds of waiting for a core.
    """

    def __init__(self, program: int, isolated: bool, clock: CpuClock | None) -> None:
        self.program, self.isolated, self._clock = program, isolated, clock
        self.cpu_s = self.waited_s = 0.0
        self.memory = 0
        self._sockets = 0
        self._pids: list[str] = []
        self._baseline = 0 if not LINUX else _use("self").resident
        self._seen: dict[tuple[str, str], float] = {}  # CPU seconds of every process, by id and start
        self._looked_s, self._proofs, self._read = 0.0, 0, time.monotonic()

    def read(self) -> None:
        """Measure now."""
        if not LINUX:
            return
        pids = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"] if self.isolated else []
        self._pids = pids
        accounted_s = waited_s = 0.0
        memory = running = 0
        there = set()
        for pid in pids or [str(self.program)]:
            with contextlib.suppress(OSError):
                use = _use(pid)
                with open(f"/proc/{pid}/schedstat") as file:
                    on_core, waiting = (int(each) / 1e9 for each in file.read().split()[:2])
                key = pid, use.started
                there.add(key)
                own_s = self._seen[key] = max(self._seen.get(key, 0.0), use.own_s, on_core)
                accounted_s += own_s + use.waited_for_s
                memory += max(0, use.resident - self._baseline)
                running += use.state == "R"
                waited_s += waiting
        if self.isolated:
            accounted_s += reaped_s()
            self._sockets = _SOCKET_BYTES * max(0, _count_sockets() - _FEW_SOCKETS)
            if self._clock is None:
                self._look(accounted_s, there, running)
        if self._clock is not None:
            accounted_s = max(accounted_s, self._clock.read())
        self.cpu_s, self.memory = max(self.cpu_s, accounted_s), int(memory) + self._sockets
        if len(pids) <= _CORES:  # a crowd waits for its own
            self.waited_s = max(self.waited_s, waited_s)

    def _look(self, accounted_s: float, there: set[tuple[str, str]], running: int) -> None:
        """Take the time by who runs, where accounts are proven to lack some."""
        now = time.monotonic()
        self._looked_s += min(running, _CORES) * (now - self._read)
        self._read = now
        lacking_s = sum(self._seen.values()) - accounted_s
        self._proofs = self._proofs + 1 if lacking_s > _BLUR_S * (len(there) + 2) else 0
        if self._proofs >= _PROOFS:
            self.cpu_s = max(self.cpu_s, self._looked_s)
            self._proofs = _PROOFS - 1  # for good

    def own_memory(self) -> int:
        """`memory`, with pages that a few forked processes share counted once: a pool of workers has many."""
        if not 1 < len(self._pids) <= _FEW:
            return self.memory
        try:
            return sum(map(_proportional, self._pids)) + self._sockets
        except PermissionError:  # one shows nothing
            return self.memory


class CpuClock:
    """Seconds on a core of all that this process starts from here on, waited for or not.

    Raises:
        OSError: this kernel, or its settings, gives us no such clock.
    """

    def __init__(self) -> None:
        self.fd = kernel.open_cpu_clock()
        self._started_s = time.process_time()

    def read(self) -> float:
        """Seconds until now, those of this process left out."""
        own_s = time.process_time() - self._started_s
        return int.from_bytes(os.read(self.fd, 8), sys.byteorder) / 1e9 - own_s


def reaped_s() -> float:
    """CPU seconds of what this process has waited for, and of what those had."""
    use = resource.getrusage(resource.RUSAGE_CHILDREN)
    return use.ru_utime + use.ru_stime


def _count_sockets() -> int:
    with open("/proc/self/net/unix", "rb") as file:  # of this network namespace: the program's and no others
        return file.read().count(b"\n") - 1


def _proportional(pid: str) -> int:
    """Resident bytes, each page divided by the processes that map it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Pss:"))
    except (ProcessLookupError, FileNotFoundError):
        return _use(pid).resident if os.path.exists(f"/proc/{pid}") else 0  # it has ended, or its first thread has


def _use(pid: str) -> _Use:
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    if len(fields) < 22:
        raise OSError(errno.ESRCH, f"process {pid} is gone")
    resident = int(fields[21])
    if fields[0] == b"Z" and int(fields[17]) > 1:  # the first thread has ended and shows no memory; the others have it
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/statm", "rb") as statm:
                resident = max(resident, int(statm.read().split()[1]))
    own, waited_for = (sum(map(int, fields[first : first + 2])) / _TICKS for first in (11, 13))
    return _Use(own, waited_for, resident * _PAGE, fields[0].decode(), fields[19].decode())
