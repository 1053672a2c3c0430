"""What is done to a sweep from outside: ending it, running it in the background, reading what its stages print."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from domino_lightning.errors import UserError
from domino_lightning.store.locks import LOCK, is_held
from domino_lightning.sweep.launchers.base import Launcher
from domino_lightning.sweep.records import TRIALS
from domino_lightning.sweep.scheduler import CANCEL

if TYPE_CHECKING:
    from rich.console import Console

TAIL_BYTES = 20_000  # of a log
PATIENCE_S = 30.0  # for the launcher to see that it is asked to end
OUTPUT = "launcher.log"


def cancel(folder: Path, launcher: Launcher, console: Console) -> int:
    """End a sweep, wherever it was started, and all that it runs.

    Raises:
        UserError: it has not been launched.
    """
    if not (folder / TRIALS).is_file():
        raise UserError(f"{folder}: this sweep has not been launched, so there is nothing to cancel.")
    (folder / CANCEL).touch()
    give_up = time.monotonic() + PATIENCE_S
    while is_held(folder / LOCK) and time.monotonic() < give_up:
        time.sleep(0.2)
    launcher.open(folder)
    launcher.stop()  # what a launcher that is gone has left
    console.print(f"{folder.name}: ended; the same command without --cancel continues it", highlight=False)
    return 0


def detach(folder: Path, console: Console) -> int:
    """Give the same command to a process in the background, with a session of its own.

    Raises:
        UserError: another process runs the sweep.
    """
    if is_held(folder / LOCK):
        raise UserError(f"{folder}: a process is running this sweep already. --status shows how far it is.")
    words = [word for word in sys.argv[1:] if word != "--detach"]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / OUTPUT, "ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "domino_lightning", *words],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    console.print(
        f"process {process.pid} runs {folder.name}; what it prints: {folder / OUTPUT}. --status shows how far it is, "
        "--cancel ends it.",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def show_logs(folder: Path, stage: str) -> int:
    """Write the ends of a stage's logs to standard output: on a cluster, of every attempt and node.

    Raises:
        UserError: no stage of that name has printed anything.
    """
    found = list(_logs(folder, stage))
    if not found:
        there = sorted({_stage(path).rpartition("-")[0] for path in _all_logs(folder)})
        raise UserError(
            f"--logs {stage}: no such stage has a log in {folder}. There are logs of: {', '.join(there) or 'none'}."
        )
    for path in found:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        sys.stdout.write(f"== {path}\n{text.rstrip()}\n")
    return 0


def _logs(folder: Path, stage: str) -> Iterator[Path]:
    for path in _all_logs(folder):
        if stage in (_stage(path), _stage(path).rpartition("-")[0]):
            yield path


def _stage(path: Path) -> str:
    """Whose log it is: name and fingerprint."""
    return path.stem if path.parent.name == "logs" else path.parents[1].name


def _all_logs(folder: Path) -> Iterator[Path]:
    yield from sorted((folder / "logs").glob("*.log"))
    yield from sorted((folder / "attempts").glob("*/[0-9]*/log*"))
