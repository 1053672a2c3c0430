"""A stage as a process of its own: `python -m domino_lightning.runner.process JOB`.

Training under DDP re-executes this command line on every rank, so the job file holds all there is to know. Rank 0
locks the stage and finishes it; the others only execute it. What happens is told to the process that started this
one as JSON lines over a pipe, which works on a full disk too: see `domino_lightning.runner.child`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from domino_lightning.runner.job import PARENT, REPORT_FD

PR_SET_PDEATHSIG = 1
RANK_ERROR = "rank-error.json"  # what a rank other than the first, which has no report, died of
# How collectives say that another rank is gone: its death is the news, not ours.
LOST_PEER = ("closed by peer", "reset by peer", "broken pipe", "remote process exited")
PATIENCE_S = 3.0  # for a rank that died to leave its last words


def die_with_parent() -> None:
    """On Linux, have the kernel kill this process when its parent dies, so that no orphan holds the cores."""
    parent = int(os.environ.get(PARENT, os.getppid()))
    os.environ[PARENT] = str(os.getpid())  # for the ranks that this one starts
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGKILL)


class ReportPipe:
    """JSON lines to the starting process; nobody listens where the stage was started by hand or is another rank."""

    def __init__(self) -> None:
        fd = os.environ.pop(REPORT_FD, None)
        self.fd = int(fd) if fd else None
        if self.fd is not None:
            os.set_inheritable(self.fd, False)

    def send(self, event: str, **fields: Any) -> None:
        """One message."""
        if self.fd is not None:
            os.write(self.fd, (json.dumps({"event": event, **fields}) + "\n").encode())


def explain(error: BaseException, directory: Path) -> tuple[str, str]:
    """How a stage ended, as the sweep's event log names it, and its last error in one line.

    Args:
        error: what ended it.
        directory: of the stage, named if the disk is the trouble and the error names no path.
    """
    from domino_lightning.config.layers import one_line
    from domino_lightning.errors import StageFailed, UserError, disk_trouble
    from domino_lightning.utils.own_frames import own_frames

    if isinstance(error, UserError):
        return "input", str(error)
    if isinstance(error, StageFailed):
        return "error", str(error)
    if trouble := disk_trouble(error, directory):
        return "error", trouble
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "memory", f"out of memory ({one_line(error) or type(error).__name__})"
    return "error", f"{type(error).__name__}: {one_line(error)}\n{own_frames(error)}".rstrip()


def lost_peer(error: BaseException) -> bool:
    """Whether a collective failed since another rank is gone."""
    return any(sign in str(error).lower() for sign in LOST_PEER)


def _last_words(path: Path, rank: int, stage: str, error: BaseException) -> int:
    """Leave a rank's error for the first rank to report, unless it fell with another rank; the exit code."""
    from domino_lightning.utils.jsonl import write_json

    if lost_peer(error):
        sys.stderr.write(f"rank {rank} stops, since another rank is gone.\n")
        return 1
    how, message = explain(error, path.parents[1])
    traceback.print_exc()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"how": how, "error": f"stage {stage}, rank {rank}: {message}"})
    return 2 if how == "input" else 1


def _words_of_another(path: Path, stage: str) -> tuple[str, str]:
    """How another rank ended and its error, as it left them."""
    from domino_lightning.utils.jsonl import read_object

    deadline = time.monotonic() + PATIENCE_S
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    if not path.is_file():
        return "error", f"stage {stage}: another rank died without a word. The same command continues the stage."
    words = read_object(path)
    return words["how"], words["error"]


def main(job_file: str) -> int:
    """Run the stage that a job file describes, and report how it went."""
    from domino_lightning.config.document import Config
    from domino_lightning.config.tracking import Tracking
    from domino_lightning.errors import Busy, StageFailed, UserError, disk_trouble
    from domino_lightning.runner.planned import PlannedStage, execute, run_attempt, run_planned
    from domino_lightning.store.store import SCRATCH, StageKey, Store
    from domino_lightning.store.work import Work
    from domino_lightning.utils.jsonl import read_object
    from domino_lightning.utils.own_frames import own_frames
    from domino_lightning.utils.project import enter_again
    from domino_lightning.utils.ranks import rank
    from domino_lightning.utils.yielding import YIELDED, asked, heed

    enter_again()
    report = ReportPipe()
    job = read_object(job_file)
    store, tracking = Store(job["root"]), Tracking(**job["tracking"])
    key = StageKey(job["stage"], job["fingerprint"], job["inputs"], job["contents"], job["sources"])
    planned = PlannedStage(key, job["section"])
    config = Config({planned.stage: planned.section}, ())
    attempt = Path(job["directory"]) if job["directory"] else None
    directory = attempt or store.path(*planned.id)
    words = directory / SCRATCH / RANK_ERROR
    if attempt:
        heed()
    if rank() > 0:
        inputs = {name: store.path(name, digest) for name, digest in key.inputs.items()}
        work = Work(
            directory, inputs, key.fingerprint, planned.section, tracking, contents=key.contents, sources=key.sources
        )
        try:
            execute(planned.stage, config, work)
        except KeyboardInterrupt:
            return YIELDED if asked() else 130
        except (Exception, SystemExit) as error:
            return _last_words(words, rank(), planned.stage, error)
        return 0
    words.unlink(missing_ok=True)
    try:
        begun = partial(report.send, "begun")
        if attempt:
            outcome = run_attempt(config, store, planned, tracking, attempt, begun)
        else:
            outcome = run_planned(
                config,
                store,
                planned,
                tracking,
                force=job["force"],
                wait=job["wait"],
                announce=lambda text: report.send("announce", text=text),
                begun=begun,
            )
        report.send("finished", ran=outcome.ran, wall_s=round(outcome.wall_s, 3))
        return 0
    except Busy:
        report.send("busy")
        return 0
    except KeyboardInterrupt:
        return YIELDED if asked() else 130
    except (Exception, SystemExit) as error:
        if lost_peer(error):
            how, message = _words_of_another(words, planned.stage)
            report.send("failed", how=how, error=message, peer=not words.is_file())
            return 2 if how == "input" else 1
        how, message = explain(error, directory)
        if not isinstance(error, (UserError, StageFailed)) and not disk_trouble(error, directory):
            message = f"stage {planned.stage}: {message}"
            if not own_frames(error):  # or its part of the traceback is in the message
                traceback.print_exc()
        report.send("failed", how=how, error=message)
        return 2 if how == "input" else 1


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(str(Path(sys.argv[1]))))
