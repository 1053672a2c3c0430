"""evaluate: the coder on the test split → completions, verdicts, pass@k with intervals, perplexity."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from domino_lightning.config.document import Config
from domino_lightning.domains.base import Domain
from domino_lightning.domains.rows import Message, VerdictRow
from domino_lightning.errors import OutOfRange, UserError
from domino_lightning.evaluation.breakdown import Breakdown, score_evaluation
from domino_lightning.evaluation.measures import measure
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, Sampled
from domino_lightning.generation.queues import sampled_blocks
from domino_lightning.generation.sampling import Sampling
from domino_lightning.models.backbone import Dtype
from domino_lightning.stages.base import SAMPLE_ROWS, Stage, first_rows, shown
from domino_lightning.store.work import Section, Work
from domino_lightning.utils.block_log import BlockLog
from domino_lightning.utils.jsonl import Record, read_jsonl, read_object, write_json, write_jsonl
from domino_lightning.utils.memory import give_back_memory
from domino_lightning.utils.progress import progress_bar
from domino_lightning.utils.ranges import ONE_OR_MORE, ROWS, WORKERS, ZERO_OR_MORE, check_ranges

log = logging.getLogger(__name__)

SCORES, SAMPLES = "metrics.json", "samples.jsonl"

_BREAKDOWN = Breakdown()


@dataclass(frozen=True)
class EvaluateRuntime:
    """Settings that change no result.

    Args:
        workers: answers graded at a time, where the domain executes them.
    """

    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse no workers.

        Raises:
            OutOfRange: it names them.
        """
        check_ranges("runtime", self, workers=WORKERS)


class Evaluate(Stage):
    """Score the coder.

    Args:
        domain: prompts and grades.
        samples: completions of a problem.
        k: pass@k for each; null for every k up to `samples`. One above `samples` is left out, with a warning.
        temperature: 0 is greedy.
        top_p: nucleus; 1 keeps all tokens.
        max_new_tokens: of a completion.
        batch_size: completions decoded at a time; as many are committed together.
        engine: what runs the coder; null: transformers, `batch_size` rows at a time.
        backbone_dtype: of the coder's weights where `engine` is null.
        limit: so many problems only, taken in turn from every group.
        breakdown: parts of the problems that are scored on their own too.
        heldout: answers of so many held-out references have their perplexity taken; 0 for none.
        seed: of the noise.
        runtime: workers.
    """

    name = "evaluate"
    version = 4
    summary = "generate, grade and score the coder's answers on the test split"
    samples_key = "evaluate/test/samples"

    def __init__(
        self,
        domain: Domain,
        samples: int = 1,
        k: list[int] | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_new_tokens: int = 48,
        batch_size: int = 40,
        engine: Engine | None = None,
        backbone_dtype: Dtype = "auto",
        limit: int | None = None,
        breakdown: Breakdown = _BREAKDOWN,
        heldout: int = 32,
        seed: int = 0,
        runtime: EvaluateRuntime = EvaluateRuntime(),
    ) -> None:
        if samples not in ONE_OR_MORE:
            raise OutOfRange("evaluate", "samples", samples, ONE_OR_MORE.refusal(samples))
        if k is not None and (not k or min(k) < 1 or len(set(k)) < len(k)):
            raise UserError(f"evaluate.k: {k} must be null, or one or more different whole numbers from 1.")
        if temperature == 0 and samples > 1:
            raise UserError(f"evaluate: samples {samples} at temperature 0 would all be equal; raise temperature.")
        breakdown.check()
        self.domain, self.completions, self.k = domain, samples, k
        self.sampling = Sampling(temperature, top_p, max_new_tokens=max_new_tokens)
        self.batch_size, self.engine = batch_size, engine or TransformersEngine(batch_size, backbone_dtype)
        self.limit, self.breakdown, self.heldout = limit, breakdown, heldout
        self.seed, self.runtime = seed, runtime
        check_ranges("evaluate", self, batch_size=ROWS, limit=ONE_OR_MORE, heldout=ZERO_OR_MORE)

    @classmethod
    def devices(cls, section: Section) -> int:
        """One, for the coder."""
        return 1

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """The test split and the coder."""
        return ("prepare", "finetune")

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """Four problems, four tokens each."""
        return {"limit": 4, "max_new_tokens": 4, "batch_size": 4, "heldout": 2, "engine": None}

    @classmethod
    def numbers(cls, directory: Path) -> dict[str, float]:
        """pass@k with intervals, counts, perplexity."""
        path = directory / SCORES
        found: dict[str, float] = read_object(path) if path.is_file() else {}
        return found

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """pass@1 with its interval, or the perplexity where nothing is graded."""
        name = "evaluate/test/pass@1"
        score = metrics.get(name)
        if score is None:
            return f"perplexity {shown(metrics, 'evaluate/test/perplexity')}"
        if name + "_low" not in metrics:
            return f"pass@1 {score:.1%}, one group: no interval"
        return f"pass@1 {score:.1%} [{metrics[name + '_low']:.1%}, {metrics[name + '_high']:.1%}]"

    @classmethod
    def samples(cls, directory: Path, section: Section | None = None) -> list[dict[str, str]]:
        """First completions beside their prompts, what is expected, and verdicts."""
        if rows := first_rows(directory / SAMPLES):
            return [{name: str(value) for name, value in row.items()} for row in rows]
        path = directory / "verdicts.jsonl"
        verdicts = {row["id"]: row["verdicts"] for row in read_jsonl(path)} if path.is_file() else {}
        for row in first_rows(directory / "generations.jsonl"):  # of a stage from before samples.jsonl
            verdict: Record = next(iter(verdicts.get(row["id"], [])), {})
            graded = {name: str(verdict.get(name, "")) for name in ("status", "detail")}
            rows.append({"id": row["id"], "completion": row["completions"][0], **graded})
        return rows

    def run(self, work: Work) -> None:
        """Write generations.jsonl, verdicts.jsonl, samples.jsonl and metrics.json."""
        test = in_turn(read_jsonl(work.input("prepare", "test.jsonl")))[: self.limit]
        problems = test if self.domain.graded else []
        coder = _Coder(self.engine, work.inputs["finetune"])
        samples = self._generate(problems, coder, work)
        heldout = self._perplexity(coder, work)
        scores = {} if problems else self._perplexity_of(test, "test", coder)
        coder.unload()
        verdicts = self._grade(problems, samples, work)
        if problems:
            scores |= score_evaluation(problems, verdicts, self.k, self.breakdown)
            scores |= measure(self.domain, problems, [[each["text"] for each in row] for row in samples], scores)
            scores["truncated"] = sum(not each["finished"] for row in samples for each in row)
        write_jsonl(
            work.directory / "generations.jsonl",
            [
                {
                    "id": problem["id"],
                    "completions": [each["text"] for each in row],
                    "finished": [each["finished"] for each in row],
                }
                for problem, row in zip(problems, samples, strict=True)
            ],
        )
        write_jsonl(work.directory / "verdicts.jsonl", verdicts)
        write_jsonl(work.directory / SAMPLES, map(self._sample, problems[:SAMPLE_ROWS], samples, verdicts))
        metrics = {f"evaluate/test/{name}": value for name, value in scores.items()}
        metrics |= {f"evaluate/heldout/{name}": value for name, value in heldout.items()}
        write_json(work.directory / SCORES, metrics)

    def _sample(self, problem: Record, completions: Sequence[Record], row: VerdictRow) -> Record:
        """A problem for a reader: what was asked, expected and written first, and the verdict on that."""
        asked = "\n\n".join(f"{message['role']}: {message['content']}" for message in self.domain.prompt(problem))
        first: Record = dict(row["verdicts"][0])
        return {
            "id": problem["id"],
            "prompt": asked,
            "expected": self.domain.answer_text(problem) or "",
            "completion": completions[0]["text"],
            **{name: first.get(name, "") for name in ("status", "detail")},
        }

    def _generate(self, problems: Sequence[Record], coder: _Coder, work: Work) -> list[list[Record]]:
        """`text` and `finished` of every problem's completions, in blocks that survive a kill."""
        total = len(problems) * self.completions
        blocks = BlockLog(work.scratch, "completions", self.batch_size, total)
        done = blocks.recover()
        bar = progress_bar(total=total, initial=len(done), desc="evaluate", unit="sample")
        if len(done) < total:
            prompts = [self.domain.prompt(problem) for problem in problems]
            asked = {f"the prompt of '{each['id']}'": text for each, text in zip(problems, prompts, strict=True)}
            coder.model.check_prompts(asked, self.sampling, "evaluate.max_new_tokens")

            def sampled(rows: range) -> Iterator[Sampled]:
                asked = [prompts[row // self.completions] for row in rows]
                return coder.model.stream(asked, rows, self.seed, self.sampling)

            kept = [str(row["text"]) for row in done]
            for block in sampled_blocks(sampled, kept, total, self.batch_size, coder.model.queue, bar.update):
                found = [{"text": each.text, "finished": each.finished} for each in block]
                blocks.append(len(done), found)
                done += found
        bar.close()
        return [done[start : start + self.completions] for start in range(0, total, self.completions)]

    def _grade(self, problems: Sequence[Record], samples: Sequence[Sequence[Record]], work: Work) -> list[VerdictRow]:
        """Rows of verdicts.jsonl; those of a run that was killed are kept."""
        verdicts = BlockLog(work.scratch, "verdicts", 1, len(problems), blocks_per_shard=max(1, len(problems)))
        done: list[VerdictRow] = [cast(VerdictRow, row) for row in verdicts.recover()]
        left = problems[len(done) :]
        texts = [[each["text"] for each in row] for row in samples[len(done) :]]
        graded = self.domain.grade(left, texts, self.runtime.workers)
        bar = progress_bar(total=len(problems), initial=len(done), desc="grade", unit="problem")
        for problem, row in zip(left, graded, strict=True):
            done.append({"id": problem["id"], "group": problem["group"], "verdicts": [each.as_dict() for each in row]})
            verdicts.append(len(done) - 1, done[-1:])
            bar.update()
        bar.close()
        return done

    def _perplexity(self, coder: _Coder, work: Work) -> dict[str, float]:
        """Of the answers of held-out references; nothing where none has an answer."""
        path = work.scratch / "perplexity.json"
        if path.is_file():
            try:
                found: dict[str, float] = read_object(path)
                return found
            except UserError as error:
                log.warning("%s It is taken again.", error)
        records = in_turn(read_jsonl(work.input("prepare", "heldout.jsonl"))) if self.heldout else []
        found = self._perplexity_of(records, "heldout", coder, self.heldout)
        if found:
            write_json(path, found)
        return found

    def _perplexity_of(
        self, records: Sequence[Record], split: str, coder: _Coder, limit: int | None = None
    ) -> dict[str, float]:
        """Of the answers of the first records that have one; nothing where none has."""
        answered = self.domain.answered(records, f"evaluate: perplexity of split {split}")
        pairs: list[Sequence[Message]] = [self.domain.pair(record) for record in answered[:limit]]
        if not pairs:
            return {}
        from domino_lightning.evaluation.perplexity import answer_perplexity

        return answer_perplexity(*coder.local(), pairs)


class _Coder:
    """The model of a `finetune` directory, loaded when it is first needed."""

    def __init__(self, engine: Engine, directory: Path) -> None:
        self.engine, self.source = engine, ModelSource.of_coder(directory)
        self._model: LanguageModel | None = None

    @property
    def model(self) -> LanguageModel:
        """The loaded model."""
        if self._model is None:
            self._model = self.engine.load(self.source)
        return self._model

    def local(self) -> tuple[Any, Any]:
        """A transformers model and its tokenizer; where another engine generated, its model is unloaded first."""
        from domino_lightning.generation.local_model import LocalModel

        if not isinstance(self.model, LocalModel):
            self.unload()  # vLLM takes nine tenths of a GPU, beside which no second model fits
            self._model = TransformersEngine().load(self.source)
        model: Any = self.model
        return model.model, model.tokenizer

    def unload(self) -> None:
        """Free its memory for what comes next."""
        self._model = None
        give_back_memory()


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
