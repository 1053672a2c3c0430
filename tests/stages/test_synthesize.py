"""synthesize: blocks of rows until enough; killed at any moment, the same command gives the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.domains import CodeExec
from domino_lightning.errors import UserError
from domino_lightning.records import read_json, read_jsonl
from domino_lightning.stages import Work
from domino_lightning.stages.synthesize import Stop, Synthesize
from domino_lightning.synthesis import Generator, Sampled, SoftPromptGenerator

GOOD = "def f(a):\n    return a + {}\n\nf(1)"
ROOT = Path(__file__).resolve().parents[2]


class Scripted(Generator):
    """Row k is good for even k, a copy of row 0 for k = 2 mod 4, no Python or unfinished for odd k."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.opened: list[Mapping[str, Path]] = []

    def open(self, inputs: Mapping[str, Path]) -> None:
        self.opened.append(inputs)

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        self.asked.append(list(rows))
        kinds = {0: GOOD, 1: "def f(", 2: GOOD.replace("{}", "0"), 3: GOOD}
        return [Sampled(kinds[row % 4].format(row), row % 4 != 3, 7) for row in rows]


def run(folder: Path, generator: Generator, **stop: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    Synthesize(CodeExec(), generator, Stop(**stop), block_size=4, seed=3).run(Work(folder, {}, "fp", {}))
    return read_jsonl(folder / "raw-00000.jsonl"), read_json(folder / "synthesis.json")


def test_rows_are_screened_and_counted(tmp_path: Path) -> None:
    rows, summary = run(tmp_path, Scripted(), candidates=10)
    screens = [
        "ok",
        "parse:syntax",
        "duplicate",
        "unfinished",
        "ok",
        "parse:syntax",
        "duplicate",
        "unfinished",
    ]
    assert [row["screen"] for row in rows] == [*screens, "ok", "parse:syntax"]
    assert rows[4] == {
        "id": "synthetic-000004",
        "k": 4,
        "text": GOOD.format(4),
        "finished": True,
        "num_tokens": 7,
        "screen": "ok",
    }
    assert summary.pop("wall_s") >= 0
    assert summary == {
        "candidates": 10,
        "screened_in": 3,
        "reasons": {"ok": 3, "parse:syntax": 3, "duplicate": 2, "unfinished": 2},
        "tokens": 70,
    }


def test_it_stops_after_the_block_that_has_enough(tmp_path: Path) -> None:
    generator = Scripted()
    rows, summary = run(tmp_path, generator, candidates=100, accepted=2)
    assert (len(rows), summary["screened_in"]) == (8, 2)
    assert generator.asked == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_complete_log_opens_no_generator(tmp_path: Path) -> None:
    first, summary = run(tmp_path, Scripted(), candidates=10)
    idle = Scripted()
    second, repeated = run(tmp_path, idle, candidates=10)
    assert (idle.opened, idle.asked, second) == ([], [], first)
    assert {**repeated, "wall_s": 0} == {**summary, "wall_s": 0}


def test_duplicates_of_rows_before_an_interruption_are_seen(tmp_path: Path) -> None:
    complete, _ = run(tmp_path / "complete", Scripted(), candidates=10)

    class Interrupted(Scripted):
        def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
            if rows[0] == 4:
                raise KeyboardInterrupt
            return super().generate(rows, seed)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", Interrupted(), candidates=10)
    generator = Scripted()
    assert run(tmp_path / "cut", generator, candidates=10)[0] == complete
    assert generator.asked == [[4, 5, 6, 7], [8, 9]]


def test_a_text_that_would_break_the_parser_is_screened_out(tmp_path: Path) -> None:
    class Degenerate(Scripted):
        def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
            endless = "def f(x):\n    return " + " + ".join(["x"] * 3000) + "\n\nf(1)"
            return [Sampled(endless, True, 6000) for _ in rows]

    rows, _ = run(tmp_path, Degenerate(), candidates=4)
    assert [row["screen"] for row in rows] == ["parse:syntax"] * 4


@pytest.mark.parametrize(("block_size", "candidates"), [(0, 4), (4, 0)])
def test_nothing_to_do_is_refused(block_size: int, candidates: int) -> None:
    with pytest.raises(UserError, match="1 or more"):
        Synthesize(CodeExec(), Scripted(), Stop(candidates), block_size)


@pytest.mark.parametrize("node", [None, {}, {"class_path": "json.JSONDecoder"}, {"class_path": "no.such.Thing"}])
def test_a_generator_that_is_none_is_refused(node: Any) -> None:
    with pytest.raises(UserError, match="synthesize.generator"):
        Synthesize.inputs({"generator": node})


@pytest.mark.slow
def test_killed_at_random_moments_the_same_command_gives_the_same_bytes(tmp_path: Path, tiny_backbone: Path) -> None:
    from domino_lightning.backbone import load_tokenizer
    from domino_lightning.soft_prompt import save_soft_prompt

    tune = tmp_path / "tune"
    tune.mkdir()
    domain = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    save_soft_prompt(tune, domain, str(tiny_backbone), load_tokenizer(str(tiny_backbone)))
    settings = {"backbone": str(tiny_backbone), "temperature": 1.0, "top_p": 0.95, "max_new_tokens": 60}
    generator = {"class_path": "domino_lightning.synthesis.SoftPromptGenerator", "init_args": settings}
    section = {"seed": 1, "block_size": 3, "stop": {"candidates": 36}, "generator": generator}
    section["domain"] = {"class_path": "domino_lightning.domains.CodeExec"}

    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        folder.mkdir()
    stage = Synthesize(CodeExec(), SoftPromptGenerator(**settings), Stop(36), block_size=3, seed=1)  # type: ignore[arg-type]
    stage.run(Work(calm, {"tune": tune}, "fp", {}))
    expected, log = calm / "raw-00000.jsonl", killed / "raw-00000.jsonl"
    size = expected.stat().st_size

    # What the pipeline starts for a stage that has a process of its own.
    job = {"stage": "synthesize", "document": {"synthesize": section}, "directory": str(killed)}
    job |= {"inputs": {"tune": str(tune)}, "fingerprint": "fp", "tracking": {}}
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "domino_lightning.stages.process", str(tmp_path / "job.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    chance = random.Random(0)
    for share in (chance.uniform(0.0, 0.3), chance.uniform(0.35, 0.6)):
        process = subprocess.Popen(command, env=environment)
        while process.poll() is None and (not log.exists() or log.stat().st_size < share * size):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert log.stat().st_size < size
    subprocess.run(command, env=environment, check=True)
    assert log.read_bytes() == expected.read_bytes()
    assert read_json(log.parent / "synthesis.json")["candidates"] == 36
