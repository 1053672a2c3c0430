"""Sections of a sweep's trials against their typed classes: `python -m domino_lightning.sweep.validation FILE ...`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from domino_lightning.errors import StageFailed, UserError
from domino_lightning.runner.pipeline import needed_stages
from domino_lightning.stages import stage_class
from domino_lightning.sweep.spec import Sweep, load_sweep
from domino_lightning.utils.jsonl import canonical_json


def validate(sweep: Sweep) -> None:
    """Check every distinct section that trials need against its typed classes, loading no model.

    Raises:
        UserError: the first bad key or value, in one line that names the trial.
    """
    seen: set[str] = set()
    for trial in sweep.trials:
        for stage in needed_stages(trial.config, sweep.until):
            section = f"{stage}{canonical_json(trial.config.document[stage])}"
            if section in seen:
                continue
            seen.add(section)
            try:
                stage_class(stage).from_config(trial.config)
            except UserError as error:
                raise UserError(f"trial {trial.name}: {error}") from None


def validate_apart(sweep: Sweep) -> None:
    """As `validate`, in a process of its own: the launcher stays small, since torch is imported there alone.

    Raises:
        UserError: the first bad key or value.
        StageFailed: the process did not get that far.
    """
    command = [sys.executable, "-m", "domino_lightning.sweep.validation", str(sweep.path), *sweep.overrides]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    words = done.stderr.strip().splitlines()
    if done.returncode == 2 and words:
        raise UserError(words[-1])
    if done.returncode:
        raise StageFailed(f"checking {sweep.path} ended with exit code {done.returncode}: {(words or ['?'])[-1]}")


def main(arguments: Sequence[str]) -> int:
    """Validate a sweep file with overrides; the one line of what is wrong goes to standard error."""
    try:
        validate(load_sweep(arguments[0], arguments[1:]))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
