"""The GPU benchmark runs everywhere with `--tiny`, and writes the docs from its lines alone."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu")


def rows_of(benchmark: Any, *names: str) -> list[dict[str, Any]]:
    rows = list(benchmark.measured(benchmark.sections.tiny("cpu"), list(names)))
    assert [row for row in rows if "error" in row] == []
    return [row for row in rows if "seconds" not in row]


@pytest.mark.slow
def test_shared_and_naive_agree_in_every_family(benchmark: Any) -> None:
    rows = rows_of(benchmark, "families")
    assert {row["family"] for row in rows} == set(benchmark.sections.FAMILIES)
    for row in rows:
        limit = 2e-3 if row["precision"] == "bfloat16" else 1e-5
        assert row["shared_minus_naive"] < limit and row["device_minus_cpu"] < limit
        assert row["self_check"] == "passes"


@pytest.mark.slow
def test_steps_decoding_greedy_and_unloading_have_their_rows(benchmark: Any) -> None:
    rows = rows_of(benchmark, "ceilings", "steps", "decoding", "greedy", "unloading")
    steps = [row for row in rows if row["section"] == "steps"]
    assert [(row["model"], row.get("micro_batch")) for row in steps] == [
        ("1.5B", None), ("1.5B", 2), ("7B", None), ("7B", 2),
    ]  # fmt: skip
    assert all(row["shared_s"] > 0 and row["weights_gb"] > 0 for row in steps)
    assert [row["way"] for row in rows if row["section"] == "decoding"] == ["no graphs", "generate"]
    assert all(row["equal_rows"] == row["rows"] for row in rows if row["section"] == "greedy")


@pytest.mark.slow
def test_a_killed_fit_continues_bit_for_bit(benchmark: Any) -> None:
    rows = rows_of(benchmark, "fits")
    killed = [row for row in rows if "killed_by" in row]
    assert len(rows) == 3 and len(killed) == 2
    assert all(row["killed_by"] == 9 and row["continued_bit_for_bit"] for row in killed)


def test_a_section_that_fails_is_a_line_and_the_next_goes_on(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(scale: Any) -> Any:
        raise RuntimeError("no such kernel")
        yield

    monkeypatch.setitem(benchmark.sections.SECTIONS, "steps", broken)
    rows = list(benchmark.measured(benchmark.sections.tiny("cpu"), ["steps", "unloading"]))
    assert rows[0]["error"] == "RuntimeError: no such kernel"
    assert [row["section"] for row in rows if "error" not in row and "seconds" not in row] == ["unloading"]


def test_the_docs_are_written_from_the_lines_alone(benchmark: Any) -> None:
    rows = [
        {"section": "machine", "card": "A Card", "torch": "2", "transformers": "5", "lightning": "2"},
        {"section": "steps", "model": "7B", "shared_s": 0.43, "attention_kernels": {"flash_fwd": 28}},
        {"section": "steps", "seconds": 9.0},
    ]
    text = benchmark.rendered([json.loads(json.dumps(row)) for row in rows])
    assert "on A Card, torch 2" in text and "7B |" in text and "flash_fwd ×28" in text and "What the card" not in text
