"""The pilots of a sweep: asked for, alive, or over, as the mailbox tells and, where it is silent, the cluster."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from domino_lightning.errors import UserError
from domino_lightning.sweep.launchers.cluster.engine import Engine, NoAnswer, Refused, State
from domino_lightning.sweep.launchers.cluster.mailbox import (
    BEAT,
    BYE,
    DRAIN,
    HELLO,
    PILOT,
    STOP,
    Mailbox,
    put,
    read_json,
)
from domino_lightning.sweep.launchers.cluster.pools import Shape
from domino_lightning.utils.jsonl import Record, write_json
from domino_lightning.utils.ranges import POSITIVE, ZERO_OR_MORE, check_ranges

log = logging.getLogger(__name__)

FALSE_STARTS = 3  # of a pool in a row, and something is wrong with it
UNSEEN = State("over", "the cluster does not know it")


@dataclass(frozen=True)
class Patience:
    """How long silence is borne, in seconds.

    Args:
        look_s: between two questions to the cluster about all pilots.
        beat_s: between two signs of life of an agent.
        lease_s: without a sign of life, of a pilot that the cluster says is over.
        lost_s: without a sign of life, of one that the cluster says runs, or says nothing of.
        start_s: in which a pilot may be unknown to the cluster after it was asked for.
    """

    look_s: float = 10.0
    beat_s: float = 2.0
    lease_s: float = 30.0
    lost_s: float = 300.0
    start_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse seconds that are none.

        Raises:
            OutOfRange: the first one.
        """
        check_ranges(
            "launcher.init_args.patience", self, **dict.fromkeys(vars(self), ZERO_OR_MORE) | {"beat_s": POSITIVE}
        )


@dataclass
class Pilot:
    """What is known of a pilot.

    Attributes:
        shape: key of its shape.
        nodes: how many agents it has.
        seen: what the cluster said last; None: nothing since it was asked for.
        refusal: the cluster's words, where it refused; it may have taken it all the same.
        beats: the last counter of each node and when it was first seen.
        over: runs nothing any more.
        why: it is over.
    """

    name: str
    pool: str
    shape: str
    nodes: int
    asked_at: float
    seen: State | None = None
    submitted: bool = True
    refusal: str = ""
    hellos: dict[int, Record] = field(default_factory=dict)
    beats: dict[int, tuple[str, float]] = field(default_factory=dict)
    over: bool = False
    why: str = ""

    @property
    def ready(self) -> bool:
        """Whether all its agents have said hello."""
        return len(self.hellos) == self.nodes and not self.over

    @property
    def hosts(self) -> str:
        """Its nodes, as the cluster names them where agents know it."""
        return ",".join(map(self._host, sorted(self.hellos)))

    @property
    def suspect(self) -> str:
        """The node that was silent first: with several, the others end with it."""
        return self._host(min(self.hellos, key=lambda node: self.beats[node][1])) if self.hellos else ""

    def _host(self, node: int) -> str:
        return str(self.hellos[node]["node"] or self.hellos[node]["host"])


class Fleet:
    """All pilots of a sweep.

    Args:
        engine: the cluster.
        mailbox: of the sweep.
        patience: with silence.
        idle: seconds after which a pilot without work ends.
        prefix: first part of pilots' names.
    """

    def __init__(self, engine: Engine, mailbox: Mailbox, patience: Patience, idle: float, prefix: str) -> None:
        self.engine, self.mailbox, self.patience, self.idle, self.prefix = engine, mailbox, patience, idle, prefix
        self.pilots: dict[str, Pilot] = {}
        self.false_starts: Counter[str] = Counter()
        self._looked_at = 0.0
        self._retry_at = 0.0
        self._pause_s = 1.0
        self._silent = False
        self._said: set[str] = set()
        for name in mailbox.pilots():
            self.find(name)

    def find(self, name: str) -> Pilot | None:
        """A pilot by name, also another launcher's; None: it is over."""
        if name not in self.pilots and not (self.mailbox.pilot(name) / BYE).exists():
            record = read_json(self.mailbox.pilot(name) / PILOT)
            if record is not None:
                self.pilots[name] = Pilot(
                    name, record["name"], record["shape"], int(record["pool"]["nodes"]), time.monotonic()
                )
        return self.pilots.get(name)

    def alive(self, pool: str) -> list[Pilot]:
        """Pilots of a pool that are not over."""
        return [pilot for pilot in self.pilots.values() if pilot.pool == pool and not pilot.over]

    def ask(self, shape: Shape, avoid: Sequence[str]) -> None:
        """Ask the cluster for a pilot, unless it did not answer a moment ago."""
        if time.monotonic() < self._retry_at:
            return
        name = f"{self.prefix}-{shape.name}-{secrets.token_hex(4)}"
        pool = shape.pool
        self.mailbox.open_pilot(
            name,
            {"name": shape.name, "shape": shape.key, "pool": asdict(pool), "seconds": pool.seconds, "idle": self.idle,
             "beat_s": self.patience.beat_s, "cwd": os.getcwd()},
        )  # fmt: skip
        pilot = self.pilots[name] = Pilot(name, shape.name, shape.key, pool.nodes, time.monotonic())
        try:
            self.engine.submit(name, pool, self.mailbox.pilot(name), avoid)
            self._pause_s = 1.0
        except (NoAnswer, Refused) as error:
            # It may have been taken all the same, so it is looked up by its name before it is called a refusal.
            pilot.submitted = False
            if isinstance(error, Refused) and avoid:  # too few nodes may be left: then that has to do
                self.ask(shape, ())
                return
            pilot.refusal = str(error) if isinstance(error, Refused) else ""
            self._retry_at = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, 300.0)
            self._looked_at = 0.0

    def look(self) -> list[Pilot]:
        """Bring all pilots up to date, and give those that are over now.

        Raises:
            UserError: the cluster refuses pilots, or they end before they begin.
        """
        now = time.monotonic()
        if self.pilots and now - self._looked_at >= self.patience.look_s:
            self._looked_at = now
            self._ask_engine(now)
        before = [pilot for pilot in self.pilots.values() if not pilot.over]
        for pilot in before:
            self._read(pilot, now)
            self._judge(pilot, now)
        ended = [pilot for pilot in before if pilot.over]
        for pilot in ended:
            self._bury(pilot)
        return ended

    def _ask_engine(self, now: float) -> None:
        try:
            states = self.engine.states()
        except NoAnswer as error:
            if not self._silent:
                log.warning("%s does not answer (%s); pilots that run go on.", self.engine.name, error)
            self._silent = True
            return
        if self._silent:
            log.warning("%s answers again.", self.engine.name)
        self._silent = False
        for pilot in self.pilots.values():
            if pilot.over:
                continue
            state = states.get(pilot.name)
            if state is not None:
                pilot.submitted, pilot.refusal, pilot.seen = True, "", state
            elif not pilot.submitted or now - pilot.asked_at > self.patience.start_s:
                pilot.seen = UNSEEN
            if state is not None and state.phase == "held" and state.words not in self._said:
                self._said.add(state.words)
                log.warning("%s: %s", pilot.name, state.words)

    def _read(self, pilot: Pilot, now: float) -> None:
        folder = self.mailbox.pilot(pilot.name) / "nodes"
        for node in range(pilot.nodes):
            if node not in pilot.hellos:
                hello = read_json(folder / str(node) / HELLO)
                if hello is None:
                    continue
                pilot.hellos[node] = hello
                if len(pilot.hellos) == pilot.nodes:
                    self.false_starts[pilot.pool] = 0
            try:
                beat = (folder / str(node) / BEAT).read_text(encoding="ascii")
            except OSError:
                beat = ""
            if node not in pilot.beats or beat != pilot.beats[node][0]:
                pilot.beats[node] = beat, now

    def _judge(self, pilot: Pilot, now: float) -> None:
        """Whether a pilot is over: its own word first, then its silence, and what the cluster says as a hint."""
        folder = self.mailbox.pilot(pilot.name)
        if (folder / BYE).exists():
            pilot.over, pilot.why = True, "it has ended"
            if pilot.hellos and len(pilot.hellos) < pilot.nodes:
                pilot.why = f"agents began on {len(pilot.hellos)} of its {pilot.nodes} nodes"
                self._false_start(pilot, folder)
            return
        over = pilot.seen is not None and pilot.seen.phase == "over"
        words = pilot.seen.words if pilot.seen else ""
        if not pilot.hellos:
            if over:
                pilot.over, pilot.why = True, pilot.refusal or words
                self._false_start(pilot, folder)
            return
        silence = now - min((at for _, at in pilot.beats.values()), default=pilot.asked_at)
        if len(pilot.hellos) < pilot.nodes and not over:
            silence = 0.0  # its other nodes are being started
        if silence > (self.patience.lease_s if over else self.patience.lost_s):
            pilot.over, pilot.why = True, f"no sign of life for {silence:.0f} s" + (f" ({words})" if words else "")

    def _false_start(self, pilot: Pilot, folder: Path) -> None:
        if pilot.refusal:
            raise UserError(
                f"{self.engine.name} refuses a pilot of pool '{pilot.pool}': {pilot.refusal}. Mend "
                f"launcher.init_args.pools.{pilot.pool}, and give the same command again."
            )
        if not pilot.submitted:  # there was no answer, and it has not been taken
            return
        self.false_starts[pilot.pool] += 1
        words = _last_line(folder / "agent.log")
        if self.false_starts[pilot.pool] >= FALSE_STARTS:
            said = f"its last words: {words}" if words else "it left no words; see the cluster's own log"
            raise UserError(
                f"{FALSE_STARTS} pilots of pool '{pilot.pool}' in a row ended before they could begin ({pilot.why}); "
                f"{said}. Log: {folder / 'agent.log'}. Mend it, and give the same command again."
            )
        log.warning("%s ended before it could begin (%s); another is asked for.", pilot.name, pilot.why)

    def _bury(self, pilot: Pilot) -> None:
        """Have the cluster end what may be left of a pilot, and its agents, should they live."""
        folder = self.mailbox.pilot(pilot.name)
        by_itself = (folder / BYE).exists()
        if not by_itself:
            put(folder / STOP)
            write_json(folder / BYE, {"why": pilot.why})
        phase = pilot.seen.phase if pilot.seen else ""
        if pilot.seen is not UNSEEN and (not by_itself or phase in {"held", "over"}):
            self._cancel([pilot.name])

    def dismiss(self, names: Collection[str]) -> None:
        """End idle pilots whose place is needed by others."""
        for name in names:
            folder = self.mailbox.pilot(name)
            if self.pilots[name].ready and not (folder / DRAIN).exists():
                put(folder / DRAIN)

    def end(self) -> None:
        """End all pilots at once."""
        left = [pilot for pilot in self.pilots.values() if not pilot.over]
        for pilot in left:
            put(self.mailbox.pilot(pilot.name) / STOP)
        self._cancel([pilot.name for pilot in left])
        for pilot in left:
            pilot.over, pilot.why = True, "it was stopped"
            write_json(self.mailbox.pilot(pilot.name) / BYE, {"why": pilot.why})

    def _cancel(self, names: Sequence[str]) -> None:
        try:
            if names:
                self.engine.cancel(names)
        except NoAnswer as error:
            log.warning(
                "%s does not answer (%s): the agents end by themselves; look for jobs called %s later.",
                self.engine.name, error, ", ".join(names),
            )  # fmt: skip


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][-300:] if lines else ""
