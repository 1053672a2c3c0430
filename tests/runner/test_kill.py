"""SIGKILL at any point of curate or answer, then the same again: the outputs of a run that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.curation import Candidate, ExactDuplicate, Executes, Filter, NearDuplicate, Parses
from domino_lightning.curation.solver import Solver
from domino_lightning.domains import Answered, CodeExec, CodeGen
from domino_lightning.stages.answer import Answer
from domino_lightning.stages.base import Stage
from domino_lightning.stages.curate import Curate
from domino_lightning.store.store import SCRATCH
from domino_lightning.store.work import Work
from domino_lightning.synthesis import Engine, LanguageModel, ModelSource, Sampled, Sampling
from domino_lightning.utils.jsonl import sha256_file, write_json, write_jsonl

ROWS = 40
BODIES = [
    "return a + {}",
    "return a / 0",
    "print(a)",
    "return [a] * {}",
    "return a +",
    "import random; return random.random()",
]


class Fuse:
    """Kills its process after so many ticks; None never does."""

    def __init__(self, ticks: int | None) -> None:
        self.left = ticks

    def tick(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


class Dear(Filter):
    """Rejects every third row, eight at a time."""

    reason = "costly"
    block_size = 8

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse

    def reject(self, candidate: Candidate) -> str | None:
        self.fuse.tick()
        candidate.notes["costly"] = candidate.row["k"]
        return "a third" if candidate.row["k"] % 3 == 0 else None


class Slow(CodeExec):
    """Ticks for every record that it answers."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self.fuse = fuse

    def answer(self, records: Any, workers: int, solutions: Any = (), agreement: Any = None) -> Iterator[Answered]:
        for found in super().answer(records, workers):
            self.fuse.tick()
            yield found


class Model(Engine, LanguageModel):
    """Doubles in ways that depend on the row, and ticks for every row."""

    def __init__(self, fuse: Fuse) -> None:
        self.fuse = fuse

    def load(self, source: ModelSource) -> LanguageModel:
        return self

    def complete(self, prompts: Any, rows: Any, seed: int, sampling: Sampling, on_tokens: Any = None) -> list[Sampled]:
        texts = []
        for row in rows:
            self.fuse.tick()
            body = random.Random(row).choice(["2 * x", "x + x", "x * x", "2"])
            texts.append(Sampled(f"```python\ndef f(x):\n    return {body}\n```", True, 1))
        return texts


def curate(fuse: Fuse) -> Stage:
    return Curate(CodeExec(), [Parses(), ExactDuplicate(), NearDuplicate(threshold=0.95), Dear(fuse), Executes(1.0)])


def answer(fuse: Fuse) -> Stage:
    return Answer(Slow(fuse))


def solve(fuse: Fuse) -> Stage:
    return Answer(CodeGen(), Solver("model", samples=2, engine=Model(fuse), block_size=4))


def texts() -> list[str]:
    return [f"def f(a):\n    {BODIES[k % len(BODIES)].format(k)}\n\nf({k})" for k in range(ROWS)]


def fair(text: str) -> bool:
    """Whether it parses, and gives one answer however often it runs; curate rejects others."""
    return "+\n" not in text and "random" not in text


def prepared(folder: Path, name: str) -> dict[str, Path]:
    inputs = {stage: folder / f"{stage}-fp" for stage in ("prepare", "synthesize", "curate")}
    for path in inputs.values():
        path.mkdir(exist_ok=True)
    for split in ("reference", "heldout", "test"):
        write_jsonl(inputs["prepare"] / f"{split}.jsonl", [])
    raw = [{"id": f"s-{k}", "k": k, "text": text, "finished": True, "num_tokens": 9} for k, text in enumerate(texts())]
    write_jsonl(inputs["synthesize"] / "raw-00000.jsonl", raw)
    if name == "solve":
        records = [
            {"id": f"s-{k}", **CodeGen().parse(f"Double.\n\nTests:\nassert f({k}) == {2 * k}")} for k in range(6)
        ]
    else:
        records = [{"id": f"s-{k}", **CodeExec().parse(text)} for k, text in enumerate(texts()) if fair(text)]
    write_jsonl(inputs["curate"] / "accepted.jsonl", records)
    write_json(inputs["curate"] / "funnel.json", {"candidates": 40, "steps": [], "accepted": len(records)})
    return inputs


def run(make: Callable[[Fuse], Stage], ticks: int | None, out: Path, inputs: dict[str, Path]) -> int:
    """The exit status of the stage run in a forked process."""
    child = os.fork()
    if child == 0:
        try:
            make(Fuse(ticks)).run(Work(out, inputs, "fingerprint", {}))
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def outputs(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != SCRATCH}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "total"), [(curate, 33), (answer, 26), (solve, 12)], ids=["curate", "answer", "solve"]
)
def test_after_a_kill_the_same_again_gives_what_an_undisturbed_run_gives(
    make: Callable[[Fuse], Stage], total: int, tmp_path: Path
) -> None:
    inputs = prepared(tmp_path, make.__name__)
    (tmp_path / "whole").mkdir()
    assert run(make, None, tmp_path / "whole", inputs) == 0
    expected = outputs(tmp_path / "whole")
    assert len(expected) >= 3
    points: Sequence[int] = random.Random(0).sample(range(total), 4)
    for point in points:
        out = tmp_path / f"killed-{point}"
        out.mkdir()
        assert run(make, point, out, inputs) == signal.SIGKILL, f"not killed at {point}"
        assert outputs(out).keys() < expected.keys()
        assert run(make, None, out, inputs) == 0
        assert outputs(out) == expected, f"killed at {point}"
