"""The page in a real browser, where one is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

from domino_lightning.reporting import write_report
from tests.reporting.conftest import FakeStore

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


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
def test_the_page_fits_the_screen_without_console_messages(
    full_store: FakeStore, tmp_path: Path, width: int, scheme: int
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    full_store.synthetic_trial_with_long_names()
    page, _ = write_report([full_store.root], tmp_path / "out")
    colours = f"--blink-settings=preferredColorScheme={scheme}"
    shot = tmp_path / "shot.png"
    _, console = chromium(page, tmp_path / "profile-1", width, colours, f"--screenshot={shot}")
    assert console == ""
    assert shot.stat().st_size > 20_000

    # A headless window is never narrower than 500 pixels, a frame is.
    source = escape(page.read_text(encoding="utf-8"))
    frame = f'<iframe width="{width}" height="900" style="border:0" srcdoc="{source}"></iframe>'
    script = (
        "<script>onload = () => { const inner = document.querySelector('iframe').contentWindow, root ="
        " inner.document.documentElement; document.title = [root.scrollWidth, inner.innerWidth,"
        " inner.getComputedStyle(inner.document.body).backgroundColor].join(' ') }</script>"
    )
    probe = tmp_path / "probe.html"
    probe.write_text(f'<!doctype html><meta charset="utf-8"><title></title>{frame}{script}', encoding="utf-8")
    html, _ = chromium(probe, tmp_path / "profile-2", 1300, colours, "--dump-dom")
    title = re.findall(r"<title>(\d+) (\d+) (rgb\([^)]*\))</title>", html)
    assert title == [(str(width), str(width), "rgb(20, 23, 28)" if scheme == 0 else "rgb(255, 255, 255)")]
