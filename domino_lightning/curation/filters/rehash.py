"""Runs in the sandbox: a program in another interpreter, since string hashes are fixed when one starts."""

from __future__ import annotations

import subprocess
import sys


def rehashed(script: str) -> str:
    """What a script prints under other string hashes than the sandbox's own."""
    command = [sys.executable, "-S", "-B", "-c", script]
    return subprocess.run(command, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=False).stdout
