"""What tests with daemons have started ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import is_running, wait_until
from tests.sweep.launchers.guard import Guard

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc")
SLEEP = [sys.executable, "-S", "-c", "import time; print(flush=True); time.sleep(600)"]


def sleeper(mark: str) -> subprocess.Popen[str]:
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        SLEEP, env={**os.environ, name: value}, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()  # it is that program by now, with that environment
    return process


def test_what_is_marked_is_killed_in_whatever_session_it_is_and_nothing_else(tmp_path: Path) -> None:
    mark = f"DOMINO_TEST_MARK={tmp_path}"
    with sleeper(mark) as marked, sleeper(f"{mark}/other") as other:
        Guard("DOMINO_TEST_OTHER=1", mark).end()
        assert marked.wait(30) == -signal.SIGKILL
        assert other.poll() is None
        other.kill()


def test_it_is_killed_when_the_test_itself_is_killed(tmp_path: Path) -> None:
    mark = f"DOMINO_TEST_MARK={tmp_path}"
    code = "import time\nfrom tests.sweep.launchers.guard import Guard\n"
    code += f"guard = Guard({mark!r})\nprint(flush=True)\ntime.sleep(600)\n"
    with sleeper(mark) as marked:
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as test:
            assert test.stdout is not None
            test.stdout.readline()
            test.kill()
        wait_until(lambda: not is_running(marked.pid))
