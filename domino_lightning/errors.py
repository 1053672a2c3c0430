"""The ways a command ends badly: the input was wrong or out of reach, or a stage failed."""

from __future__ import annotations


class UserError(Exception):
    """Bad input. The message names the file, line, field or flag, the value and the remedy.

    The command line prints the message alone and exits with 2; nothing half-written is left behind.
    """


class Unreachable(UserError):
    """Something on a model or data hub, neither at hand nor to be had now; all else may be fine."""


class StageFailed(Exception):
    """A stage that started could not finish. The message names the stage and its last error; exit code 1."""


class Changed(StageFailed):
    """Code or outside content is not what it was when the run was planned; nothing may be stored under that plan."""


class Busy(Exception):
    """Another process holds the stage, and the caller would not wait."""
