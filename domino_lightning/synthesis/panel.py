"""What a person sees while candidates are sampled: rows, tokens a second, what the screen keeps and why not, ETA."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from domino_lightning.utils.progress import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_EVERY_S = 20.0  # between lines where there is no terminal to draw on
BAR = 30


class Panel:
    """A live panel on a terminal, elsewhere a line now and then. Use it as a context manager.

    Args:
        candidates: rows at most.
        accepted: rows past the screen that are asked for; None: all candidates are made.
        reasons: screen results of the rows that are there already, "ok" among them.
        longest: tokens of a row at most, for a first ETA before any row has ended; None: not known.
        console: where to draw; by default standard error.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        candidates: int,
        accepted: int | None,
        reasons: Counter[str],
        longest: int | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self.candidates, self.accepted, self.reasons = candidates, accepted, Counter(reasons)
        self.console, self.clock = console or Console(file=sys.stderr, markup=False, highlight=False), clock
        self.before = self.reasons.total()  # made by an earlier run: no part of the speed
        self.longest, self.tokens = longest, 0
        self.waiting = 0  # rows that have ended in a block that has not
        self.started = self.printed = clock()
        self.live: Live | None = None
        if self.console.is_terminal:
            self.live = Live(get_renderable=self._draw, console=self.console, refresh_per_second=4, transient=False)

    def __enter__(self) -> Panel:
        """Start drawing."""
        self.started = self.printed = self.clock()
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and leave the last state on the screen."""
        if self.live:
            self.live.stop()
        else:
            self.console.print(self.line(), soft_wrap=True)

    def add_tokens(self, count: int) -> None:
        """So many tokens were generated."""
        self.tokens += count
        if not self.live and self.clock() - self.printed >= PLAIN_EVERY_S:
            self.printed = self.clock()
            self.console.print(self.line(), soft_wrap=True)

    def add_row(self) -> None:
        """A row has ended, and all before it."""
        self.waiting += 1

    def add_block(self, screens: Iterable[str]) -> None:
        """A block is committed; `screens` has "ok" or the reason of each of its rows."""
        self.reasons.update(screens)
        self.waiting = 0

    @property
    def rows(self) -> int:
        """Rows that are committed."""
        return self.reasons.total()

    @property
    def made(self) -> int:
        """Rows that are committed or wait to be."""
        return self.rows + self.waiting

    def tokens_per_s(self) -> float:
        """Since the panel started."""
        return self.tokens / max(self.clock() - self.started, 1e-9)

    def eta_s(self) -> float | None:
        """Seconds to the stop rule at the speed and the share kept so far; None before the first row."""
        made, elapsed = self.made - self.before, self.clock() - self.started
        if made <= 0 or elapsed <= 0:
            return None
        left = self.candidates - self.made
        if self.accepted is not None and self.reasons["ok"]:
            wanted = max(0, self.accepted - self.reasons["ok"])
            left = min(left, int(wanted * self.rows / self.reasons["ok"]))
        return left * elapsed / made

    def shares(self) -> list[tuple[str, float]]:
        """What became of the rows: the share that was kept, then those that were not, most frequent first."""
        rest = [(reason, count) for reason, count in self.reasons.most_common() if reason != "ok"]
        counts = [("ok", self.reasons["ok"]), *rest] if self.rows else []
        return [(reason, count / self.rows) for reason, count in counts]

    def line(self) -> str:
        """Everything in one line."""
        parts = [f"synthesize {self._progress()}"]
        parts += [", ".join(f"{_name(reason)} {share:.0%}" for reason, share in self.shares())] if self.rows else []
        parts += [f"{self.tokens_per_s():.0f} tokens/s", self._eta()]
        return " · ".join(parts)

    def _eta(self) -> str:
        left = self.eta_s()
        if self.longest is not None and self.tokens:
            # Were every row as long as it may be. One long row keeps all behind it from counting, so few say little.
            most = (self.candidates - self.made) * self.longest / self.tokens_per_s()
            if left is None or most < left:
                return f"ETA {duration(round(most))} at most"
        return "ETA ?" if left is None else f"ETA {duration(round(left))}"

    def _progress(self) -> str:
        rows = f"{self.made}/{self.candidates} rows"
        return rows if self.accepted is None else f"{self.reasons['ok']}/{self.accepted} screened in, {rows}"

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        done, total = self.made, self.candidates
        if self.accepted is not None and self.reasons["ok"] / self.accepted > done / total:
            done, total = self.reasons["ok"], self.accepted
        head = Table.grid(padding=(0, 2))
        eta, speed = self._eta(), f"{self.tokens_per_s():.0f} tokens/s"
        head.add_row("synthesize", ProgressBar(total, min(done, total), width=BAR), self._progress(), speed, eta)
        shares = Table.grid(padding=(0, 2))
        for reason, share in self.shares():
            style = "green" if reason == "ok" else "dim"
            bar = ProgressBar(1.0, share, width=BAR, complete_style=style, finished_style=style)
            shares.add_row(f"  {_name(reason)}", bar, f"{share:.1%}", f"{self.reasons[reason]} rows")
        return Group(head, shares)


def _name(reason: str) -> str:
    return "screened in" if reason == "ok" else reason
