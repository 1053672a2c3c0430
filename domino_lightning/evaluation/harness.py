"""The script inside every grading subprocess: limit this process, run one job, report over a private pipe.

Started by `process.py` as `python -P -s -S -B harness.py RESULT_FD`; never imported by the package. Standard
input starts with the job, `<16 hex digits: length><marshal bytes>`, and what follows is the program's own
input. (Marshal is read here from the trusted parent only, and spares the 10 ms that importing json costs.)

The report is `<nonce> <status> <length>\\n<payload>`. This keeps an honest but careless program from
disturbing its verdict; it is no security boundary. A hostile program shares this process, and can find the
nonce through frames or `gc`, lift soft limits, or start a session of its own.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # importing typing to learn that would take longer than most programs
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_DEPTH = 64
_SCALARS = (type(None), bool, int, float)
_TEXTS = (str, bytes)
_CONTAINERS = (list, tuple, set, frozenset, dict)
_DETAIL_CHARS = 500
_FILE_BYTES = 16 << 20
_STACK_BYTES = 64 << 20  # for deep recursion in C


class _NotPlain(Exception):
    """A returned value has no literal; the message says why."""


class _TooLong(Exception):
    """A returned value's repr is longer than the limit."""


def main() -> int:
    """Run the job on standard input; the exit code."""
    import marshal
    import os

    length = _read_exactly(os.read, 16)
    packed = _read_exactly(os.read, int(length, 16)) if length else b""
    if not packed:
        return 70  # the parent went away before it had sent the whole job
    job: dict[str, Any] = marshal.loads(packed)
    send = _sender(int(sys.argv[1]), job.pop("nonce"))
    sys.argv[:] = ["program.py"]
    sys.path.extend(job["site_packages"])
    _restore_site_builtins()
    _limit(job)
    if job["mode"] == "call":
        status, payload = _call(job)
        _flush()
        sent = send(status, payload)
        os._exit(0 if sent else 71)  # no exit handlers or leftover threads: the value is known
    status, payload, code = _program(job)
    if code:
        send(status, payload)
    return code  # the interpreter then ends as usual: exit handlers run, output is flushed


def _read_exactly(read: Callable[[int, int], bytes], size: int) -> bytes:
    """`size` bytes of standard input and no more, since the program's input follows; b"" if it ends."""
    parts: list[bytes] = []
    while size > 0:
        part = read(0, min(size, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _sender(fd: int, nonce: str) -> Callable[[str, str], bool]:
    """The function that writes the report. Nonce and file descriptor live in its closure alone."""
    import os

    write, getpid, size_of, owner = os.write, os.getpid, len, os.getpid()

    def send(status: str, payload: str) -> bool:
        if getpid() != owner:
            return False  # a forked copy of this process that came back here
        body = payload.encode("utf-8", "backslashreplace")
        data = f"{nonce} {status} {size_of(body)}\n".encode("ascii") + body
        try:
            while data:
                data = data[write(fd, data) :]
        except OSError:
            return False  # the program closed the pipe; the parent sees that no report came
        return True

    return send


def _restore_site_builtins() -> None:
    """`exit` and `quit`, which contest programs call and `-S` leaves out."""
    import builtins
    from _sitebuiltins import Quitter

    for name in ("exit", "quit"):
        setattr(builtins, name, Quitter(name, "Ctrl-D (i.e. EOF)"))


def _limit(job: dict[str, Any]) -> None:
    """Limits of this process and, except for the timers, of every process that it starts."""
    import _signal  # type: ignore[import-not-found]  # the C module: `signal` itself imports enum
    import resource

    def limit(which: int, soft: int, hard: int) -> None:
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))

    seconds = int(job["timeout_s"]) + 2  # whole ones only, and start-up counts; the timer below is precise
    limit(resource.RLIMIT_CPU, seconds, seconds + 1)
    limit(resource.RLIMIT_FSIZE, _FILE_BYTES, _FILE_BYTES)
    limit(resource.RLIMIT_CORE, 0, 0)
    if sys.platform == "linux":  # macOS refuses both
        limit(resource.RLIMIT_STACK, _STACK_BYTES, _STACK_BYTES)
        limit(resource.RLIMIT_AS, job["memory_bytes"], job["memory_bytes"])
    _signal.setitimer(_signal.ITIMER_PROF, job["timeout_s"])
    # Only for a parent that was killed and cannot: nobody else would end a program that sleeps for ever.
    _signal.setitimer(_signal.ITIMER_REAL, job["wall_s"] + 5)


def _module(name: str) -> dict[str, Any]:
    """The namespace of a new module that is also in sys.modules, where dataclasses and pickle look it up."""
    module = type(sys)(name)
    sys.modules[name] = module
    return module.__dict__


def _call(job: dict[str, Any]) -> tuple[str, str]:
    """Status and payload of `entry_point(arguments)`; the payload is the value's repr, or what went wrong."""
    literal = _literal_maker()  # before the program can replace repr and type
    reserve = bytearray(1 << 20)  # given back for the report when the program has used everything else
    failure: tuple[str, str]
    try:
        namespace = _module("program")
        exec(compile(job["code"], "<program>", "exec", dont_inherit=True), namespace)
        call = f"{job['entry_point']}(\n{job['arguments']}\n)"
        value = eval(compile(call, "<call>", "eval", dont_inherit=True), namespace)
        return "value", literal(value, job["output_bytes"])
    except MemoryError:
        failure = "memory", ""
    except _NotPlain as error:
        failure = "error", str(error)
    except _TooLong:
        failure = "output_limit", f"the returned value's repr is longer than {job['output_bytes']} bytes"
    except SystemExit as error:
        failure = "error", f"sys.exit({_short(error.code)})"
    except BaseException as error:
        failure = "error", _describe(error)
    del reserve
    if failure[0] == "memory":
        failure = "memory", f"more than {job['memory_bytes'] >> 20} MiB of address space"
    return failure


def _program(job: dict[str, Any]) -> tuple[str, str, int]:
    """Status, payload and exit code of a whole program run as `__main__`."""
    reserve = bytearray(1 << 20)
    try:
        exec(compile(job["code"], "<program>", "exec", dont_inherit=True), _module("__main__"))
        return "done", "", 0
    except MemoryError:
        status, payload = "memory", ""
    except SystemExit as error:
        if error.code is None or error.code == 0:
            return "done", "", 0  # the customary early end of a contest program
        status, payload = "error", f"sys.exit({_short(error.code)})"
    except BaseException as error:
        status, payload = "error", _describe(error)
    del reserve
    if status == "memory":
        payload = f"more than {job['memory_bytes'] >> 20} MiB of address space"
    return status, payload, 1


def _literal_maker() -> Callable[[Any, int], str]:
    """A function (value, limit) -> repr that accepts exact plain types only, bound to today's builtins."""
    scalars, texts, containers = frozenset(_SCALARS), frozenset(_TEXTS), frozenset(_CONTAINERS)
    type_of, text_of, size_of, real, mapping, inf = type, repr, len, float, dict, float("inf")

    def measure(value: Any, depth: int, budget: int) -> int:
        kind = type_of(value)
        if kind in scalars:
            if kind is real and not -inf < value < inf:
                raise _NotPlain(f"returned a float without a literal ({text_of(value)})")
            return budget - 1
        if kind in texts:
            budget -= size_of(value)
        elif kind not in containers:
            where = "returned" if depth == 0 else "returned a container that holds"
            raise _NotPlain(f"{where} a {kind.__name__}, not a plain value")
        elif depth >= MAX_DEPTH:
            raise _NotPlain(f"returned a value nested more than {MAX_DEPTH} deep")
        else:
            budget -= 1
            items = (part for pair in value.items() for part in pair) if kind is mapping else value
            for item in items:
                budget = measure(item, depth + 1, budget)
                if budget < 0:  # an item takes a character at least, so shared references cannot blow this up
                    raise _TooLong
        return budget

    def literal(value: Any, limit: int) -> str:
        if measure(value, 0, limit) < 0:
            raise _TooLong
        text = text_of(value)
        if size_of(text.encode("utf-8", "backslashreplace")) > limit:
            raise _TooLong
        return text

    return literal


def _describe(error: BaseException) -> str:
    """`ValueError: message (line 3)`, with the line of the program's own innermost frame."""
    line = error.lineno if isinstance(error, SyntaxError) and error.filename == "<program>" else None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<program>":
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {line})" if line is not None else ""
    message = error.msg if isinstance(error, SyntaxError) else _short(error, str)
    return f"{type(error).__name__}{': ' if message else ''}{message}{where}"


def _short(value: Any, text_of: Callable[[Any], str] = repr) -> str:
    try:
        text = text_of(value)
    except BaseException as error:  # the program's own __str__ or __repr__
        return f"<{type(error).__name__} while it was printed>"
    return text if len(text) <= _DETAIL_CHARS else text[:_DETAIL_CHARS] + "..."


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:  # closed or replaced by the program; its output is no part of the value
            continue


if __name__ == "__main__":
    sys.exit(main())
