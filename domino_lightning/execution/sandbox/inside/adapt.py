"""What some programs need to find and the sandbox has otherwise: pipes for event loops, shared memory that is counted.

Whether a program is one of them is told by the words in its source; all others are spared the cost.
"""

from __future__ import annotations

import _thread
import importlib
import os
import re
from typing import Any

_READS_EVENTS = re.compile(r"\b(?:connect_read_pipe|add_reader|epoll|selectors)\b")
_WRITES_EVENTS = re.compile(r"\b(?:connect_write_pipe|add_writer)\b")
_SHARED_MEMORY = re.compile(r"\bmmap\b")
_PATIENCE_S = 2.0  # for what is left in the pipe; children may hold it open
_left: list[_thread.LockType] = []


def adapt(job: dict[str, Any]) -> None:
    """Prepare this process for a job's program."""
    if job["mode"] == "program" and _READS_EVENTS.search(job["code"]):
        source, target = os.dup(0), _pipe(0)
        _copy(source, target)
    if job["mode"] == "program" and _WRITES_EVENTS.search(job["code"]):
        target, source = os.dup(1), _pipe(1)
        _left.append(_copy(source, target))
    if _SHARED_MEMORY.search(job["code"]):
        _share_files()


def drain() -> None:
    """Wait until what the program has written is where it belongs."""
    for lock in _left:
        os.close(1)
        lock.acquire(timeout=_PATIENCE_S)


def _pipe(fd: int) -> int:
    """Make a descriptor an end of a pipe; gives the other end. Files, which it was, wake no event loop."""
    read, write = os.pipe()
    mine, other = (read, write) if fd == 0 else (write, read)
    os.dup2(mine, fd)
    os.close(mine)
    return other


def _copy(source: int, target: int) -> _thread.LockType:
    """Copy in a thread until the end; the lock is free then."""
    lock = _thread.allocate_lock()
    lock.acquire()

    def work(read: Any = os.read, write: Any = os.write, close: Any = os.close) -> None:
        try:
            while data := read(source, 1 << 16):
                view = memoryview(data)
                while view:
                    view = view[write(target, view) :]
        except OSError:
            pass  # nobody reads any more
        finally:
            close(target)
            lock.release()

    _thread.start_new_thread(work, ())
    return lock


def _share_files() -> None:
    """Let anonymous shared memory be a file of the work directory: the kernel's own is refused, as no limit sees it."""
    module: Any = importlib.import_module("mmap")
    private = getattr(module, "MAP_PRIVATE", 2)
    anonymous = getattr(module, "MAP_ANONYMOUS", 0x20)

    class Map(module.mmap):
        def __new__(cls, fileno: int, length: int, *arguments: Any, **named: Any) -> Any:
            flags = arguments[0] if arguments else named.get("flags", 0)
            if fileno != -1 or flags & private or named.get("access") == module.ACCESS_COPY:
                return super().__new__(cls, fileno, length, *arguments, **named)
            if arguments:
                arguments = (flags & ~anonymous, *arguments[1:])
            elif "flags" in named:
                named["flags"] = flags & ~anonymous
            fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
            try:
                os.posix_fallocate(fd, 0, length)  # now or never: a page that is missing later is a fatal signal
                return super().__new__(cls, fd, length, *arguments, **named)
            finally:
                os.close(fd)

    Map.__name__ = Map.__qualname__ = "mmap"
    Map.__module__ = "mmap"
    module.mmap = Map
