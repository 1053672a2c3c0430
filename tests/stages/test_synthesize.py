"""synthesize: blocks of rows until enough; killed at any moment, the same command gives the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.domains import CodeExec
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.stages.synthesize import Stop, Synthesize
from domino_lightning.store.work import Work
from domino_lightning.synthesis import Generator, HeldoutReplay, Sampled, SoftPromptGenerator, TransformersEngine
from domino_lightning.synthesis.screen import shortfall
from domino_lightning.utils.jsonl import read_json, read_jsonl

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

    rows, _ = run(tmp_path, Degenerate(), candidates=4, min_screened=0)
    assert [row["screen"] for row in rows] == ["parse:syntax"] * 4


@pytest.mark.parametrize(("block_size", "stop"), [(0, Stop(4)), (4, Stop(0)), (4, Stop(4, 0))])
def test_nothing_to_do_is_refused(block_size: int, stop: Stop) -> None:
    with pytest.raises(UserError, match="1 or more"):
        Synthesize(CodeExec(), Scripted(), stop, block_size)


@pytest.mark.parametrize("node", [None, {}, {"class_path": "json.JSONDecoder"}, {"class_path": "no.such.Thing"}])
def test_a_generator_that_is_none_is_refused(node: Any) -> None:
    with pytest.raises(UserError, match="synthesize.generator"):
        Synthesize.inputs({"generator": node})


def test_a_shortfall_names_the_reason_that_took_most_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows, summary = run(tmp_path / "short", Scripted(), candidates=9, accepted=8)
    assert (len(rows), summary["screened_in"]) == (9, 3)
    (message,) = [record.message for record in caplog.records]
    assert "3 of 8 rows" in message and "all 9 candidates" in message
    assert "'parse:syntax' took most: 2 rows, 22%. Tune longer" in message
    caplog.clear()
    run(tmp_path / "enough", Scripted(), candidates=9, accepted=3)
    assert caplog.records == []


def test_a_shortfall_of_unknown_kind_still_has_advice() -> None:
    assert "'other' took most: 3 rows, 75%. See the rows; or raise" in shortfall(Counter(ok=1, other=3), 2)


@pytest.fixture(scope="module")
def tuned(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from domino_lightning.models.backbone import load_tokenizer
    from domino_lightning.models.soft_prompt import save_soft_prompt

    tune = tmp_path_factory.mktemp("tune")
    domain = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    save_soft_prompt(tune, domain, str(tiny_backbone), load_tokenizer(str(tiny_backbone)))
    return tune


def sampled_stage(backbone: Path) -> Synthesize:
    """12 blocks of 4 rows in 2 slots, so that slots are refilled inside a block."""
    engine = TransformersEngine(batch_size=2)
    generator = SoftPromptGenerator(str(backbone), 1.0, 0.95, max_new_tokens=40, engine=engine)
    return Synthesize(CodeExec(), generator, Stop(48, min_screened=0), block_size=4, seed=1)


@pytest.mark.slow
def test_killed_at_ten_random_moments_the_same_command_gives_the_same_bytes(
    tmp_path: Path, tiny_backbone: Path, tuned: Path
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        folder.mkdir()
    sampled_stage(tiny_backbone).run(Work(calm, {"tune": tuned}, "fp", {}))
    expected, log = calm / "raw-00000.jsonl", killed / "raw-00000.jsonl"
    size = expected.stat().st_size

    def stage() -> None:
        sampled_stage(tiny_backbone).run(Work(killed, {"tune": tuned}, "fp", {}))

    chance = random.Random(0)
    for share in sorted(chance.uniform(-0.1, 0.85) for _ in range(10)):  # below 0: before anything is written
        process = get_context("fork").Process(target=stage)
        process.start()
        while process.is_alive() and share > 0 and (not log.exists() or log.stat().st_size < share * size):
            time.sleep(0.0005)
        time.sleep(chance.uniform(0, 0.02))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not log.exists() or log.stat().st_size < size
    process = get_context("fork").Process(target=stage)
    process.start()
    process.join()
    assert process.exitcode == 0
    assert log.read_bytes() == expected.read_bytes()
    assert read_json(killed / "synthesis.json")["candidates"] == 48


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_keeps_whole_blocks(write_experiment: Any, tmp_path: Path) -> None:
    """And the same command, given again, goes on to the bytes of an undisturbed run."""
    replay = {"class_path": "domino_lightning.synthesis.HeldoutReplay"}
    tree = {"generator": replay, "block_size": 2, "stop": {"candidates": 2000}}
    command = [sys.executable, "-m", "domino_lightning", "run", str(write_experiment({"synthesize": tree}))]
    command += ["--until", "synthesize"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    store = tmp_path / "outputs" / "stages"
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any(store.glob("synthesize/*/raw-00000.jsonl")):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    assert "rows of whole blocks stay in" in told and "the same command continues" in told
    (directory,) = [path.parent for path in store.glob("synthesize/*/raw-00000.jsonl")]
    rows = sum(len(path.read_text().splitlines()) for path in directory.glob("raw-*.jsonl"))
    assert 0 < rows < 2000 and rows % 2 == 0
    assert not (directory / "manifest.json").exists()

    subprocess.run(command, env=environment, check=True)
    calm = tmp_path / "calm"
    calm.mkdir()
    (prepare,) = [path.parent for path in store.glob("prepare/*/manifest.json")]
    Synthesize(CodeExec(), HeldoutReplay(), Stop(2000), 2, seed=0).run(Work(calm, {"prepare": prepare}, "fp", {}))
    written = {path.name: path.read_bytes() for path in directory.glob("raw-*.jsonl")}
    assert written == {path.name: path.read_bytes() for path in calm.glob("raw-*.jsonl")}


@pytest.mark.parametrize(("tokens", "rows"), [(1, 1), (28, 4), (29, 5), (35, 5), (36, 6)])
def test_a_limit_in_tokens_ends_the_corpus_at_the_row_that_reaches_it(tmp_path: Path, tokens: int, rows: int) -> None:
    whole, _ = run(tmp_path / "whole", Scripted(), candidates=10)  # rows of seven tokens in blocks of four
    cut, summary = run(tmp_path / "cut", Scripted(), candidates=10, tokens=tokens)
    assert cut == whole[:rows]
    assert (summary["candidates"], summary["tokens"]) == (rows, 7 * rows)
    (tmp_path / "cut" / "synthesis.json").unlink()  # killed before the last word
    again, repeated = run(tmp_path / "cut", Scripted(), candidates=10, tokens=tokens)
    assert (again, {**repeated, "wall_s": 0}) == (cut, {**summary, "wall_s": 0})


def test_candidates_that_run_out_before_the_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"all 4 candidates .* have 28 of the 29 tokens.*Raise stop\.candidates"):
        run(tmp_path, Scripted(), candidates=4, tokens=29)
    with pytest.raises(UserError, match="give one of them"):
        Synthesize(CodeExec(), Scripted(), Stop(4, accepted=1, tokens=1))


@pytest.mark.parametrize(
    ("stop", "words"),
    [
        (Stop(4, accepted=5), "accepted 5 must be at most candidates, which is 4"),
        (Stop(4, min_screened=5), "min_screened 5 must be at most candidates, which is 4"),
        (Stop(4, accepted=2, min_screened=3), "min_screened 3 must be at most accepted, which is 2"),
    ],
)
def test_rules_of_which_one_is_never_reached_are_refused(stop: Stop, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Synthesize(CodeExec(), Scripted(), stop)
    Stop(4, accepted=4, min_screened=4).check()


def test_a_limit_of_null_is_no_part_of_the_identity() -> None:
    section = {"generator": "g", "stop": {"candidates": 4, "accepted": None}}
    limited = {**section, "stop": {**section["stop"], "tokens": 9}}  # type: ignore[dict-item]
    assert Synthesize.identity({**section, "stop": {**section["stop"], "tokens": None}}) == section  # type: ignore[dict-item]
    assert Synthesize.identity(limited) == limited


def test_a_generator_is_told_what_was_generated_before_also_by_an_earlier_run(tmp_path: Path) -> None:
    class Remembers(Scripted):
        stop_at = 99

        def __init__(self) -> None:
            super().__init__()
            self.told: list[list[int]] = []

        def remember(self, rows: Sequence[Any]) -> None:
            self.told.append([row["k"] for row in rows])

        def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
            if rows[0] == self.stop_at:
                raise KeyboardInterrupt
            return super().generate(rows, seed)

    first = Remembers()
    first.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, first, candidates=10)
    again = Remembers()
    run(tmp_path, again, candidates=10)
    assert first.told == [[], [0, 1, 2, 3], [4, 5, 6, 7]]
    assert again.told == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]


def test_rows_that_cannot_be_are_told_before_any_is_generated(tmp_path: Path) -> None:
    class TooLong(Scripted):
        def check_rows(self, rows: Sequence[int], seed: int) -> None:
            raise UserError(f"rows {list(rows)} of seed {seed} are too long")

    generator = TooLong()
    with pytest.raises(UserError, match=r"rows \[0, 1, 2, 3, 4, 5\] of seed 3"):
        run(tmp_path, generator, candidates=6)
    assert generator.asked == []


class Hopeless(Generator):
    """Writes no program at all."""

    blocks = 0

    def open(self, inputs: Mapping[str, Path]) -> None:
        pass

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        self.blocks += 1
        return [Sampled(f"Once upon a time, {row}" + "!" * 200, True, 7) for row in rows]


def test_too_few_rows_past_the_screen_end_the_stage_with_examples(tmp_path: Path) -> None:
    with pytest.raises(StageFailed) as caught:
        run(tmp_path, Hopeless(), candidates=8)
    told = str(caught.value)
    assert "0 of 8 candidates were screened in, and too few are left to reach synthesize.stop.min_screened 1." in told
    assert "'parse:syntax' took most: 8 rows, 100%. Tune longer" in told
    assert told.count("Once upon a time") == 3 and "!!…'" in told
    assert not (tmp_path / "synthesis.json").exists()
    run(tmp_path, Hopeless(), candidates=8, min_screened=0)  # the rows are there; a lower floor takes them


def test_it_ends_as_soon_as_the_floor_is_out_of_reach(tmp_path: Path) -> None:
    generator = Hopeless()
    with pytest.raises(StageFailed, match=r"0 of 4 candidates .*min_screened 7"):
        run(tmp_path, generator, candidates=10, min_screened=7)
    assert generator.blocks == 1


def test_the_floor_is_no_part_of_the_fingerprint() -> None:
    with_floor = {"stop": {"candidates": 8, "accepted": None, "min_screened": 5}, "seed": 1}
    assert Synthesize.identity(with_floor) == {"stop": {"candidates": 8, "accepted": None}, "seed": 1}
