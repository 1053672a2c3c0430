"""A training stage as a process of its own: `python -m domino_lightning.stages.process JOB`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """On Linux, have the kernel kill this process when its parent dies, so that no orphan holds the cores."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os.kill(os.getpid(), signal.SIGKILL)


def main(job_file: str) -> int:
    """Run the stage that a job file describes; what went wrong is left in the stage's error.json."""
    from domino_lightning.config import Config
    from domino_lightning.errors import StageFailed, UserError
    from domino_lightning.pipeline import ERROR_FILE, execute
    from domino_lightning.records import read_json, write_json
    from domino_lightning.stages import Tracking, Work

    job = read_json(job_file)
    document = job["document"]
    work = Work(
        Path(job["directory"]),
        {name: Path(path) for name, path in job["inputs"].items()},
        job["fingerprint"],
        document[job["stage"]],
        Tracking(**job["tracking"]),
    )
    try:
        execute(job["stage"], Config(document, ()), work)
    except UserError as error:
        write_json(work.directory / ERROR_FILE, {"kind": "user", "message": str(error)})
        return 2
    except StageFailed as error:
        write_json(work.directory / ERROR_FILE, {"kind": "failed", "message": str(error)})
        return 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        traceback.print_exc()
        message = f"stage {job['stage']}: {type(error).__name__}: {error}"
        write_json(work.directory / ERROR_FILE, {"kind": "failed", "message": message})
        return 1
    return 0


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main(sys.argv[1]))
