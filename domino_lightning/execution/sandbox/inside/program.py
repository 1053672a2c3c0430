"""The process of one program: its limits, its standard streams, its namespace, and how it comes to an end.

Nothing here is a wall: the program shares this process and may do to it what it likes. So nothing here knows
an expected value, and what it sends is data for the parent to judge, never a verdict.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import gc
import importlib
import io
import marshal
import math
import os
import re
import resource
import signal
import sys
import threading
from _sitebuiltins import Quitter
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from domino_lightning.execution.sandbox.inside import kernel, wire
from domino_lightning.execution.sandbox.inside.adapt import adapt, drain
from domino_lightning.execution.sandbox.inside.exceptions import builtin_base
from domino_lightning.execution.sandbox.inside.literal import NotLiteral, TooLong
from domino_lightning.execution.sandbox.inside.seccomp import build_filter

Fields = dict[str, Any]

CHANNEL, PEER = 3, 4
_STACK_BYTES = 64 << 20  # of the main thread, for deep recursion in C
_HEADROOM = 1 << 30  # address space beyond the memory limit, for stacks that are reserved and not used
_PROCESSES = 128  # threads count
_FILES = 512

# What LiveCodeBench puts before every program, but for names such as `pow` that would hide a built-in.
_STARRED = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics",
    "itertools", "functools", "operator", "io", "sys", "json", "typing",
)  # fmt: skip
_NAME = "program"
_WORD = re.compile(r"[^\W\d]\w*")
IMPLICIT_RECURSION = 50_000
RECURSION, _SERVING = 1000, 10  # the interpreter's own limit, and frames that a call from here takes
_STREAMS = ("stdin", "stdout", "stderr")  # `sys` has them too, opened anew for each program
_kind = type  # a program may have replaced the built-in one
_BUFFERS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)
_implicit: dict[str, Any] = {}
_filters: dict[bool, bytes] = {}


def prepare(modules: Sequence[str]) -> None:
    """Load, once and before any fork, what programs are likely to import."""
    for name in modules:
        importlib.import_module(name)
    for name in _STARRED:
        module = importlib.import_module(name)
        public = getattr(module, "__all__", None) or [each for each in vars(module) if not each.startswith("_")]
        _implicit.update({each: getattr(module, each) for each in public if not hasattr(builtins, each)})
    _implicit.update({name: sys.modules[name] for name in _STARRED if name != "typing"})
    for name in ("exit", "quit"):  # contest programs call them, and `python -S` leaves them out
        setattr(builtins, name, Quitter(name, "Ctrl-D (i.e. EOF)"))
    _filters.update({checker: build_filter(checker) for checker in (False, True)})


def enter(limits: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Put the descriptors in place, set the limits, open the streams; gives the job.

    Args:
        limits: what this process may use.
        fds: job, standard input, output, error, channel and perhaps the peer's socket.
    """
    if limits["isolated"] or limits["checker"]:
        os.setsid()
    else:
        os.setpgid(0, 0)
    job_fd, *rest = fds
    for target, fd in enumerate(rest):
        os.dup2(fd, target)
    os.lseek(job_fd, 0, os.SEEK_SET)
    with open(job_fd, "rb") as file:
        job: dict[str, Any] = marshal.loads(file.read())  # from the grader, like everything on this descriptor
    os.closerange(len(rest), 1 << 16)
    _limit(limits)
    adapt(job)
    sys.argv[:] = [f"{_NAME}.py"]
    _open_streams()
    return job


def _limit(limits: dict[str, Any]) -> None:
    def limit(which: int, soft: int, hard: int | None = None) -> None:
        ceiling = resource.getrlimit(which)[1]
        hard = ceiling if hard is None else hard if ceiling == resource.RLIM_INFINITY else min(hard, ceiling)
        resource.setrlimit(which, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))

    seconds = math.ceil(limits["cpu_s"]) + 1  # `init.py` is precise; this holds where it is kept from running
    limit(resource.RLIMIT_CPU, seconds, seconds + 1)
    largest = max(limits["disk_bytes"], limits["output_bytes"] + (1 << 20))  # standard output is a file too
    limit(resource.RLIMIT_FSIZE, largest, largest)
    limit(resource.RLIMIT_CORE, 0, 0)
    limit(resource.RLIMIT_NOFILE, _FILES, _FILES)
    if sys.platform != "linux":
        return
    limit(resource.RLIMIT_STACK, _STACK_BYTES)
    space = limits["memory_bytes"] + _HEADROOM
    limit(resource.RLIMIT_AS, space, space)
    limit(resource.RLIMIT_MEMLOCK, 1 << 16, 1 << 16)
    limit(resource.RLIMIT_MSGQUEUE, 0, 0)
    if limits["isolated"] and not limits["checker"]:
        limit(resource.RLIMIT_NPROC, _PROCESSES, _PROCESSES)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")  # should the machine run out of memory, programs go first
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    instructions = _filters[limits["checker"]]
    if instructions and limits["isolated"]:
        kernel.set_seccomp_filter(instructions)


def _open_streams() -> None:
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        errors = "backslashreplace" if name == "stderr" else "surrogateescape"
        buffering = 1 if name == "stderr" else -1
        stream = open(number, mode, buffering, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def load(job: dict[str, Any], name: str) -> dict[str, Any]:
    """Run the program's source as a module that is also in sys.modules, where dataclasses and pickle look it up.

    It is a file too, beside the work directory, for `inspect`, for programs that open themselves, and for interpreters
    that they spawn.
    """
    module = type(sys)(name)
    sys.modules[name] = module
    namespace = vars(module)
    path = namespace["__file__"] = os.path.join(os.path.dirname(os.getcwd()), f"{_NAME}.py")
    with contextlib.suppress(OSError), open(path, "w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(job["code"])
    sys.path.insert(0, os.path.dirname(path))
    if job["implicit"]:  # only what the source mentions: every object that is bound costs a copied page
        words = set(_WORD.findall(job["code"]))
        namespace.update({word: _implicit[word] for word in _implicit.keys() & words})
        namespace.update({name: getattr(sys, name) for name in _STREAMS if name in words})
        sys.setrecursionlimit(IMPLICIT_RECURSION)
    else:
        sys.setrecursionlimit(RECURSION + depth())
    code = compile(job["code"], path, "exec", dont_inherit=True)
    exec(code, namespace)
    return namespace


def depth() -> int:
    """Frames between the interpreter's first and the caller's, which are not the program's to pay for."""
    frame, count = sys._getframe(1), 0
    while frame.f_back is not None:
        frame, count = frame.f_back, count + 1
    return count + _SERVING


def attempt(work: Callable[[], Fields]) -> Fields:
    """The report of a piece of work, or of what it raised."""
    reserve = bytearray(1 << 20)  # given back for the report when the program has used everything else
    failure: Fields
    try:
        return work()
    except MemoryError:
        failure = {"status": "memory", "detail": "out of memory"}
    except (wire.TooLarge, TooLong) as error:
        failure = {"status": "output_limit", "detail": f"returned a value that is too large ({error})"}
    except (wire.NotPlain, NotLiteral) as error:
        failure = {"status": "error", "detail": f"returned {error}"}
    except SystemExit as error:
        shown = wire.message_of(error.code, repr)
        failure = {"status": "exit", "detail": f"sys.exit({shown})", "code": _exit_code(error)}
    except BaseException as error:
        failure = {"status": "error", "detail": describe(error), "kind": builtin_base(type(error)).__name__}
    del reserve
    return failure


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def describe(error: BaseException) -> str:
    """`ValueError: message (line 3)`, with the line of the program's own innermost frame."""
    line = error.lineno if isinstance(error, SyntaxError) and _is_program(error.filename) else None
    trace = error.__traceback__
    while trace is not None:
        if _is_program(trace.tb_frame.f_code.co_filename):
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {line})" if line is not None else ""
    message = error.msg if isinstance(error, SyntaxError) else wire.message_of(error)
    return f"{type(error).__name__}{': ' if message else ''}{message}{where}"


def _is_program(path: str | None) -> bool:
    return path is not None and path.endswith(f"/{_NAME}.py")


def finish(code: int, namespace: dict[str, Any] | None = None) -> NoReturn:
    """End as an interpreter does: wait for threads, run exit handlers, flush; the exit code tells the rest.

    Args:
        code: the exit code, unless flushing fails or a handler ends the process with another.
        namespace: emptied in between, for programs whose objects say something when they go.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if namespace is not None:
        for name in [name for name in namespace if not name.startswith("__")]:
            if namespace[name] is not _implicit.get(name):
                namespace[name] = None
        gc.collect()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except BaseException:
            code = code or 120
    _write_buffers()
    drain()
    os._exit(code)


def _write_buffers() -> None:
    """Flush the streams that the program left open, as an interpreter does when it lets go of its last objects."""
    with contextlib.suppress(MemoryError):
        for stream in gc.get_objects():
            if _kind(stream) in _BUFFERS:
                with contextlib.suppress(BaseException):
                    stream.flush()
