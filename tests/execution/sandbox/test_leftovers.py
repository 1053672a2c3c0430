"""Nothing of a program outlives its verdict, nor the grader that ran it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from domino_lightning.execution.sandbox.limits import Limits
from tests.execution.sandbox.hostile import PRINT, hostile, verdict


def test_nothing_is_left_behind(tier: str, limits: Limits) -> None:
    """Daemons, files and namespaces of a hostile program end with its verdict, not some time later."""
    program = (
        "import os, time\n"
        "open('left', 'w').write('x')\n"
        "for _ in range(5):\n"
        "    if not os.fork():\n"
        "        os.setsid()\n"
        "        if not os.fork(): time.sleep(600)\n"
        "        os._exit(0)\n"
    )
    before, files = processes(), set(Path("/tmp").iterdir())
    assert verdict(hostile(PRINT, program), tier, limits).status == "failed"
    assert processes() <= before
    assert {path.name for path in set(Path("/tmp").iterdir()) - files if path.name.startswith("domino")} == set()


def processes() -> set[int]:
    """Descendants of this process that run."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state not in "ZX":
                parents[int(entry.name)] = int(parent)
    found = {os.getpid()}
    for _ in range(10):
        found |= {pid for pid, parent in parents.items() if parent in found}
    return found


def test_a_killed_grader_takes_its_sandbox_with_it(tier: str, tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from domino_lightning.execution.sandbox.execute import execute\n"
        "from domino_lightning.execution.sandbox.limits import Limits\n"
        "job = {'mode': 'program', 'implicit': False,\n"
        "       'code': 'import os, time\\nos.setsid() if not os.fork() else 0\\ntime.sleep(600)'}\n"
        "execute([job], Limits(timeout_s=600), tier=sys.argv[1])\n"
    )
    root = Path(__file__).resolve().parents[3]
    grader = subprocess.Popen([sys.executable, "-c", script, tier], cwd=root)
    try:
        assert _eventually(lambda: len(below(grader.pid)) >= 5)  # fork server, init, program, its child
        left = below(grader.pid)
    finally:
        grader.send_signal(signal.SIGKILL)
        grader.wait()
    assert _eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left))


def below(root: int) -> set[int]:
    found = {root}
    for _ in range(6):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) in found:
                        found.add(int(entry.name))
                except OSError:
                    continue
    return found - {root}


def _eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(held)
