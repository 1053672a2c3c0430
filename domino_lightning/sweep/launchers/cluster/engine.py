"""What a launcher asks of a cluster: to start pilots, to say which there are, and to end them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from domino_lightning.sweep.launchers.cluster.pools import Pool


class NoAnswer(Exception):
    """The cluster did not answer in time: no failure, and no news about any pilot."""


class Refused(Exception):
    """The cluster will never do what it was asked; the message is its own."""


class State(NamedTuple):
    """What the cluster says about a pilot: pending, running, held or over, and why in its own words."""

    phase: str
    words: str


@dataclass(frozen=True)
class Setting:
    """What every agent needs, besides its pilot's folder.

    Args:
        python: interpreter on the nodes.
        container: words before it, such as `apptainer exec --nv image.sif`.
        setup: lines of shell before that.
        env: names of the variables that are passed on.
    """

    python: str
    container: Sequence[str] = ()
    setup: Sequence[str] = ()
    env: Sequence[str] = field(default_factory=list)

    def command(self, mailbox: Path) -> list[str]:
        """The words that start an agent."""
        return [*self.container, self.python, "-m", "domino_lightning", "agent", str(mailbox)]


class Engine(ABC):
    """A cluster. Pilots go by names that are never used again; what it says is a hint, the mailbox the truth."""

    name: str

    @abstractmethod
    def submit(self, name: str, pool: Pool, mailbox: Path, avoid: Sequence[str] = ()) -> None:
        """Ask for a pilot: an agent on each of `pool.nodes` nodes.

        Args:
            name: of the pilot.
            pool: what it needs.
            mailbox: its folder.
            avoid: nodes to keep away from, as their agents name them.

        Raises:
            NoAnswer: it may have been submitted all the same.
            Refused: it was not, and would not be another time.
        """

    @abstractmethod
    def states(self) -> dict[str, State]:
        """All pilots that the cluster knows, of this sweep and others.

        Raises:
            NoAnswer: there was none in time.
        """

    @abstractmethod
    def cancel(self, names: Sequence[str]) -> None:
        """End pilots; those that the cluster does not know are passed over.

        Raises:
            NoAnswer: there was none in time.
        """

    def close(self) -> None:
        """Let go of the connection, if there is one."""
        return
