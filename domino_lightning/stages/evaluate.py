"""evaluate: the coder on the test split → completions, verdicts, pass@k with a bootstrap interval."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from domino_lightning.domains.base import Domain, Verdict
from domino_lightning.errors import UserError
from domino_lightning.progress import progress_bar
from domino_lightning.records import Record, read_jsonl, write_json, write_jsonl
from domino_lightning.stages.base import Section, Stage, Work
from domino_lightning.synthesis.engines import TransformersEngine
from domino_lightning.synthesis.language_model import LanguageModel, ModelSource, Sampling
from domino_lightning.synthesis.shards import BlockLog


@dataclass(frozen=True)
class EvaluateRuntime:
    """Settings that change no result.

    Args:
        workers: programs graded at a time.
    """

    workers: int = 2


class Evaluate(Stage):
    """Score the coder.

    Args:
        domain: prompts and grades.
        samples: completions of a problem.
        k: pass@k for each; none may exceed `samples`.
        temperature: 0 is greedy.
        max_new_tokens: of a completion.
        batch_size: completions decoded together; the unit of commit and resume.
        limit: so many problems only, taken in turn from every group.
        seed: of the noise.
        runtime: workers.
    """

    name = "evaluate"
    version = 2
    summary = "generate, grade and score the coder's answers on the test split"

    def __init__(
        self,
        domain: Domain,
        samples: int = 1,
        k: list[int] | None = None,
        temperature: float = 0.0,
        max_new_tokens: int = 48,
        batch_size: int = 40,
        limit: int | None = None,
        seed: int = 0,
        runtime: EvaluateRuntime = EvaluateRuntime(),
    ) -> None:
        self.k = tuple(k or [1])
        if samples < 1 or min(self.k) < 1 or max(self.k) > samples:
            raise UserError(
                f"evaluate: pass@k for k = {list(self.k)} needs samples of at least {max(self.k)}; it is {samples}."
            )
        if temperature == 0 and samples > 1:
            raise UserError(f"evaluate: samples {samples} at temperature 0 would all be equal; raise temperature.")
        self.domain, self.samples = domain, samples
        self.sampling = Sampling(temperature, max_new_tokens=max_new_tokens)
        self.batch_size = batch_size
        self.limit, self.seed, self.runtime = limit, seed, runtime

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """The test split and the coder."""
        return ("prepare", "finetune")

    def run(self, work: Work) -> None:
        """Write generations.jsonl, verdicts.jsonl and metrics.json."""
        problems = in_turn(read_jsonl(work.input("prepare", "test.jsonl")))[: self.limit]
        completions = self._generate(problems, work)
        write_jsonl(
            work.directory / "generations.jsonl",
            [
                {"id": problem["id"], "completions": texts}
                for problem, texts in zip(problems, completions, strict=True)
            ],
        )
        graded = self.domain.grade(problems, completions, self.runtime.workers)
        verdicts = list(progress_bar(iterable=graded, total=len(problems), desc="grade", unit="problem"))
        write_jsonl(
            work.directory / "verdicts.jsonl",
            [
                {"id": problem["id"], "group": problem["group"], "verdicts": [each.as_dict() for each in row]}
                for problem, row in zip(problems, verdicts, strict=True)
            ],
        )
        write_json(work.directory / "metrics.json", self._metrics(problems, verdicts))

    def _metrics(self, problems: Sequence[Record], verdicts: Sequence[Sequence[Verdict]]) -> dict[str, float]:
        from domino_lightning.evaluation.pass_at_k import PassAtK

        metric = PassAtK(k=self.k)
        metric.update(
            [sum(verdict.passed for verdict in row) for row in verdicts],
            [len(row) for row in verdicts],
            [problem["group"] for problem in problems],
        )
        values = {name: float(value) for name, value in metric.compute().items()}
        # One group alone has no interval; JSON has no NaN, so it is left out.
        scores = {f"evaluate/test/{name}": value for name, value in values.items() if isfinite(value)}
        for status in sorted({verdict.status for row in verdicts for verdict in row}):
            scores[f"evaluate/test/{status}"] = sum(each.status == status for row in verdicts for each in row)
        return scores

    def _generate(self, problems: Sequence[Record], work: Work) -> list[list[str]]:
        """Completions of each problem, in blocks that survive a kill."""
        total = len(problems) * self.samples
        blocks = BlockLog(work.scratch, "completions", self.batch_size, total)
        done = [row["text"] for row in blocks.recover()]
        bar = progress_bar(total=total, initial=len(done), desc="evaluate", unit="sample")
        if len(done) < total:
            coder = load_coder(work.inputs["finetune"], self.batch_size)
            prompts = [self.domain.prompt(problem) for problem in problems]
        while len(done) < total:
            rows = range(len(done), min(len(done) + self.batch_size, total))
            sampled = coder.complete([prompts[row // self.samples] for row in rows], rows, self.seed, self.sampling)
            texts = [each.text for each in sampled]
            blocks.append(len(done), [{"text": text} for text in texts])
            done += texts
            bar.update(len(texts))
        bar.close()
        return [done[start : start + self.samples] for start in range(0, total, self.samples)]


def in_turn(problems: Sequence[Record]) -> list[Record]:
    """The first problem of every group, then the second of every group, and so on.

    Problems of a group are correlated, so under a limit many groups tell more than many problems of few.
    """
    place: Counter[str] = Counter()
    order = []
    for index, problem in enumerate(problems):
        order.append((place[problem["group"]], index))
        place[problem["group"]] += 1
    return [problems[index] for _, index in sorted(order)]


def load_coder(directory: Path, batch_size: int) -> LanguageModel:
    """The model of a `finetune` directory."""
    return TransformersEngine(batch_size).load(ModelSource.of_coder(directory))
