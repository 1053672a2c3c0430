"""What a domain makes of records: programs to run, answers, verdicts; and when answers agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from domino_lightning.domains.rows import Whole
from domino_lightning.utils.ranges import ONE_OR_MORE, SECONDS, UNIT_OPEN_LOW, check_ranges


class Program(NamedTuple):
    """What executing a record means: `entry_point(arguments)` after `code`; `arguments` is argument-list source."""

    code: str
    entry_point: str
    arguments: str


@dataclass(frozen=True)
class Agreement:
    """When sampled solutions agree well enough for one of them to be the answer.

    Args:
        min_share: share of all sampled solutions that must give the same outputs; two at least.
        inputs: on how many inputs solutions are compared: those that a record's tests state, and variations.
        own_tests: whether the answer must also pass the record's own tests, whose outputs a model made up, or the
            domain's check.
        timeout_s: CPU seconds of one solution on all inputs.
        seed: of the variations.
    """

    min_share: float = 0.5
    inputs: int = 12
    own_tests: bool = True
    timeout_s: float = 6.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UserError: it names them.
        """
        check_ranges("answer.agreement", self, min_share=UNIT_OPEN_LOW, inputs=ONE_OR_MORE, timeout_s=SECONDS)


DEFAULT_AGREEMENT = Agreement()


class Answered(NamedTuple):
    """A record with its answer, or why it has none."""

    record: Whole
    reason: str | None = None  # None: answered
    detail: str = ""


class Verdict(NamedTuple):
    """One graded completion: whether it passed, why not, how long it ran and in what isolation.

    Attributes:
        status: passed, where it did and only there; failed, error, timeout, memory, output_limit or crashed.
        detail: of a failure, in a line for readers.
        wall_s: wall time.
        tier: of the sandbox; "none" where nothing ran.
        trust: who read the outcome of what ran, parent or shared.
    """

    passed: bool
    status: str
    detail: str = ""
    wall_s: float = 0.0
    tier: str = "none"
    trust: str = "parent"

    def as_dict(self) -> dict[str, Any]:
        """The verdict as a JSON object."""
        return self._asdict()

    def fault(self) -> str | None:
        """The field that contradicts another, if one does."""
        return None if self.passed == (self.status == "passed") else "status"


class _Consistent:
    """The verdicts that do not contradict themselves."""

    words = "(status 'passed' if passed is True, and another if it is False)"

    def __contains__(self, verdict: Verdict) -> bool:
        return verdict.fault() is None


CONSISTENT = _Consistent()
