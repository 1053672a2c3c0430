"""The page in a real browser, where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from pathlib import Path

import pytest

from domino_lightning.reporting import write_report, write_sweep_report
from domino_lightning.reporting.html import render_page
from domino_lightning.sweep.results import open_sweep
from tests.reporting.conftest import FakeStore
from tests.reporting.fake_sweep import losses_sweep

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
]


def chromium(page: Path, profile: Path, width: int, *arguments: str) -> tuple[str, str]:
    """(stdout, messages on the page's console) of one visit."""
    command = [shutil.which("chromium") or "chromium", *FLAGS, f"--user-data-dir={profile}"]
    command += [f"--window-size={width},1600", *arguments, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def runs_page(store: FakeStore, output: Path) -> Path:
    """A report of runs, long names among them."""
    for add in (store.none_trial, store.synthetic_trial, store.both_trial, store.failed_trial):
        add()
    store.synthetic_trial_with_long_names()
    return write_report([store.root], output)[0]


def sweep_page(store: FakeStore, output: Path) -> Path:
    """A report of a sweep with an arm whose label has no place to break."""
    sweep = losses_sweep(store)
    sweep.axes["loss"]["x" * 60] = {"class_path": "x"}  # type: ignore[index]
    sweep.trial({"loss": "x" * 60}, 0, range(12))
    return write_sweep_report(open_sweep(sweep.write()), output)[0]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
@pytest.mark.parametrize("make", [runs_page, sweep_page])
def test_the_page_fits_the_screen_without_console_messages(
    store: FakeStore, tmp_path: Path, make: Callable[[FakeStore, Path], Path], width: int, scheme: int
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    page = make(store, tmp_path / "out")
    colors = f"--blink-settings=preferredColorScheme={scheme}"
    shot = tmp_path / "shot.png"
    _, console = chromium(page, tmp_path / "profile-1", width, colors, f"--screenshot={shot}")
    assert console == ""
    assert shot.stat().st_size > 20_000

    # A headless window is never narrower than 500 pixels, a frame is.
    source = escape(page.read_text(encoding="utf-8"))
    frame = f'<iframe width="{width}" height="900" style="border:0" srcdoc="{source}"></iframe>'
    script = (
        "<script>onload = () => { const inner = document.querySelector('iframe').contentWindow, root ="
        " inner.document.documentElement; document.title = [root.scrollWidth, inner.innerWidth,"
        " inner.performance.getEntriesByType('resource').length,"
        " inner.getComputedStyle(inner.document.body).backgroundColor].join(' ') }</script>"
    )
    probe = tmp_path / "probe.html"
    probe.write_text(f'<!doctype html><meta charset="utf-8"><title></title>{frame}{script}', encoding="utf-8")
    html, _ = chromium(probe, tmp_path / "profile-2", 1300, colors, "--dump-dom")
    title = re.findall(r"<title>(\d+) (\d+) (\d+) (rgb\([^)]*\))</title>", html)
    # No overflow to the side, nothing requested, the colors of the scheme.
    assert title == [(str(width), str(width), "0", "rgb(20, 23, 28)" if scheme == 0 else "rgb(255, 255, 255)")]


TABLE = """
<!doctype html><meta charset="utf-8"><title></title>
<table><thead><tr><th>Arm</th><th>pass@1</th><th>p</th><th>A trial</th></tr></thead><tbody>
<tr><td>arm 10</td><td>9.5%<span>9 to 10</span></td><td>0.02</td><td>2 min 05 s</td></tr>
<tr><td>arm 2</td><td colspan="2">not evaluated</td><td>59 s</td></tr>
<tr><td>arm 1</td><td>\u22121.0%</td><td>&lt; 0.001</td><td>1 h</td></tr>
<tr><td>arm 3</td><td>30.0%</td><td>0.001</td><td>\u2013</td></tr>
</tbody></table>
<script>SCRIPT</script>
<script>
const heads = document.querySelectorAll("th"), seen = [];
const look = () => seen.push([...document.querySelectorAll("tbody tr")].map((row) => row.cells[0].innerText.slice(4)));
for (const head of heads) { head.click(); look(); head.click(); look(); }
document.title = seen.map((rows) => rows.join(" ")).join("|");
</script>
"""


@pytest.mark.browser
def test_a_click_on_a_heading_sorts_numbers_as_numbers_and_gaps_last(tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    page = tmp_path / "page.html"
    page.write_text(TABLE.replace("SCRIPT", render_page("sort.js.j2", {})), encoding="utf-8")
    html, console = chromium(page, tmp_path / "profile", 900, "--dump-dom")
    assert console == ""
    (title,) = re.findall(r"<title>([^<]*)</title>", html)
    by_name, by_score, by_p, by_time = zip(*[iter(title.split("|"))] * 2, strict=True)
    assert by_name == ("1 2 3 10", "10 3 2 1")
    assert by_score == ("1 10 3 2", "3 10 1 2")
    assert by_p == ("1 3 10 2", "10 3 1 2")
    assert by_time == ("2 10 1 3", "1 10 2 3")
