"""Programs that end before their answer, or not cleanly after it."""
# ruff: noqa: E501  (programs stay on one line)

from __future__ import annotations

import pytest

from domino_lightning.execution.sandbox.limits import Limits
from tests.execution.sandbox.hostile import (
    ASSERT,
    CHECK,
    DEFINE,
    PRINT,
    RETURN,
    RIGHT,
    Hostile,
    hostile,
    require_failure,
)

PROGRAMS = {
    "exits with success before any test": hostile(ASSERT, "import os\nos._exit(0)", "crashed"),
    "exits with success inside the call": hostile(ASSERT, "import os\ndef f(x): os._exit(0)", "crashed"),
    "raises SystemExit(0) at load": hostile(ASSERT, "raise SystemExit(0)", "error"),
    "raises SystemExit(0) inside the call": hostile(RETURN, "def f(x): raise SystemExit(0)", "error"),
    "sys.exit inside an assertion's call": hostile(CHECK, "import sys\ndef f(x): sys.exit()", "error"),
    "prints nothing and exits with success": hostile(PRINT, "exit(0)", "failed"),
    "right answer, exit code 3": hostile(PRINT, "print(int(input()) * 2)\nraise SystemExit(3)", "error"),
    "right answer, then killed": hostile(
        PRINT, "import os\nprint(int(input()) * 2, flush=True)\nos.kill(os.getpid(), 9)", "crashed"
    ),
    "replaces the process image": hostile(
        ASSERT, "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'pass'])" + DEFINE, "crashed"
    ),
    "a handler at exit changes the code": hostile(
        RETURN, "import atexit, os\natexit.register(os._exit, 5)" + RIGHT, "error"
    ),
    "a handler at exit changes the code of a served program": hostile(
        ASSERT, "import atexit, os\natexit.register(os._exit, 5)" + RIGHT, "error"
    ),
    "a thread that never ends": hostile(
        PRINT, "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()\nprint(int(input())*2)",
        "timeout",
    ),
    "a thread that never ends after a call": hostile(
        RETURN, "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()" + RIGHT, "timeout"
    ),
    "a thread exits with success while the call runs": hostile(
        RETURN, "import os, threading, time\nthreading.Timer(0.05, os._exit, (0,)).start()\ndef f(x): time.sleep(9)",
        "crashed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_they_fail(case: Hostile, tier: str, limits: Limits) -> None:
    require_failure(case, tier, limits)
