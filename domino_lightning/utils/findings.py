"""What a check of somebody's class has found, in plain words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Level = Literal["passed", "warning", "failed"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    text: str


@dataclass
class CheckReport:
    """What `check_loss` or `check_domain` found; `str(report)` is one line a finding."""

    name: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing failed; a warning is something to know, such as a loss that is unbounded below."""
        return all(finding.level != "failed" for finding in self.findings)

    def of(self, level: Level) -> list[str]:
        """The texts of one level."""
        return [finding.text for finding in self.findings if finding.level == level]

    def __str__(self) -> str:
        lines = [f"{finding.level:8}{finding.text}" for finding in self.findings]
        return "\n".join([f"{self.name}: {'usable' if self.ok else 'not usable'}", *lines])
