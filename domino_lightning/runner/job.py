"""The job file of a stage process and the variables that go with it."""

from __future__ import annotations

PARENT = "DOMINO_PARENT"  # process id of the one that started this
REPORT_FD = "DOMINO_REPORT_FD"
