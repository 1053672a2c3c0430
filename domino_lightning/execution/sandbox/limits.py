"""What one program may use."""

from __future__ import annotations

from dataclasses import dataclass

from domino_lightning.utils.ranges import MEMORY_MB, ONE_OR_MORE, SECONDS, check_ranges


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        timeout_s: CPU seconds of the program and its descendants together, start-up of the interpreter
            excluded. As a backstop for programs that wait it may also take `wall_s` = 2 * timeout_s + 1 seconds
            of wall time; the slack is for machines that run more programs than they have cores.
        memory_mb: MiB resident in the program and its descendants together (not measured on macOS).
        output_bytes: most bytes of standard output, and of the returned value. Standard error is read and
            dropped, however long.
        disk_bytes: most bytes of the files in the private work directory.
    """

    timeout_s: float = 6.0
    memory_mb: int = 1024
    output_bytes: int = 1 << 20
    disk_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        sizes = {"memory_mb": MEMORY_MB, "output_bytes": ONE_OR_MORE, "disk_bytes": ONE_OR_MORE}
        check_ranges("limits", self, timeout_s=SECONDS, **sizes)

    @property
    def wall_s(self) -> float:
        """Seconds of wall time after which a program is killed."""
        return 2 * self.timeout_s + 1


DEFAULTS = Limits()
