"""The worked table of docs/distributed.md follows from the formulas above it."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs" / "distributed.md"


def row(ranks: int, b: int = 3, D: int = 256, S: int = 256, H: int = 3584, N: int = 500, R: int = 16) -> str:
    K = b * ranks
    exchanged = S * H + 1 + K
    cells = [
        ranks,
        b * ranks,
        f"{4 * D * H / 2**20:.1f} MiB",
        f"{b * (24 + 4 * exchanged) / 2**20:.1f} MiB" if ranks > 1 else "0",
        f"{4 * ranks * b * exchanged / 2**20:.0f} MiB" if ranks > 1 else "0",
        f"{12 * N / ranks * S * H / 2**20:,.0f} MiB",
        f"{12 * N / ranks * S * R / 2**20:.1f} MiB",
        f"{16 * D * H / 2**20:.0f} MiB",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def test_the_worked_table_of_the_published_setting_follows_from_the_formulas() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for ranks in (1, 8, 64):
        assert row(ranks) in text
