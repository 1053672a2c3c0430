"""The panel: a live table on a terminal, plain lines elsewhere, with the same numbers."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from domino_lightning.synthesis.panel import Panel


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(accepted: int | None = None, terminal: bool = False, **reasons: int) -> tuple[Panel, io.StringIO, Clock]:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, force_terminal=terminal, width=120, markup=False, highlight=False)
    return Panel(100, accepted, Counter(reasons), 40, console, clock), screen, clock


def test_a_line_has_progress_shares_speed_and_eta() -> None:
    panel, screen, clock = make()
    with panel:
        clock.now += 10
        panel.add_tokens(400)
        panel.add_block(["ok"] * 5 + ["unfinished"] * 3 + ["parse:syntax"] * 2)
    shares = "screened in 50%, unfinished 30%, parse:syntax 20%"
    assert screen.getvalue() == f"synthesize 10/100 rows · {shares} · 40 tokens/s · ETA 1 min 30 s\n"


def test_rows_of_an_earlier_run_count_as_done_but_not_as_speed() -> None:
    panel, _, clock = make(ok=40, unfinished=40)
    with panel:
        assert panel.eta_s() is None
        clock.now += 5
        panel.add_block(["ok"] * 10)
        assert panel.eta_s() == pytest.approx(5.0)  # ten more rows at two a second
        assert panel.shares()[0] == ("ok", 50 / 90)


def test_the_eta_follows_the_share_kept_when_accepted_rows_are_asked_for() -> None:
    panel, _, clock = make(accepted=20)
    with panel:
        clock.now += 10
        panel.add_block(["ok"] * 5 + ["duplicate"] * 5)
        assert panel.eta_s() == pytest.approx(30.0)  # 15 more, every second row kept, one row a second
        panel.add_block(["duplicate"] * 80)
        assert panel.eta_s() == pytest.approx(10 * 10 / 90)  # the candidates end before
        assert panel.line().startswith("synthesize 5/20 screened in, 90/100 rows")


def test_plain_lines_come_now_and_then() -> None:
    panel, screen, clock = make()
    with panel:
        for _ in range(50):
            clock.now += 1
            panel.add_tokens(10)
    assert screen.getvalue().count("tokens/s") == 3  # after 20 and 40 seconds, and at the end
    assert screen.getvalue().count("ETA 6 min 40 s at most") == 3  # 100 rows of 40 tokens, ten a second


def test_a_long_row_that_holds_others_up_makes_no_long_eta() -> None:
    panel, _, clock = make()
    with panel:
        panel.add_row()
        clock.now += 100
        panel.add_tokens(2000)
        assert panel.eta_s() == pytest.approx(9900)
        assert panel.line().endswith("ETA 3 min 18 s at most")  # 99 rows of 40 tokens, 20 a second


def test_rows_count_as_they_end_and_not_twice_when_their_block_is_committed() -> None:
    panel, _, clock = make()
    with panel:
        assert panel.line().endswith("ETA ?")
        clock.now += 4
        for _ in range(8):
            panel.add_row()
        assert panel.line().startswith("synthesize 8/100 rows ·") and panel.eta_s() == pytest.approx(46.0)
        panel.add_block(["ok"] * 10)
        assert panel.line().startswith("synthesize 10/100 rows · screened in 100%") and panel.rows == panel.made == 10


def test_a_terminal_gets_a_bar_for_every_reason_and_its_cursor_back() -> None:
    panel, screen, clock = make(accepted=30, terminal=True)
    with pytest.raises(KeyboardInterrupt), panel:
        clock.now += 1
        panel.add_tokens(100)
        panel.add_block(["ok"] * 6 + ["parse:syntax"] * 2)
        raise KeyboardInterrupt
    drawn = screen.getvalue()
    for text in ("synthesize", "6/30 screened in, 8/100 rows", "75.0%", "25.0%", "parse:syntax", "100 tokens/s"):
        assert text in drawn
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")  # the cursor is shown again
