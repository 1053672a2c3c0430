"""answer: accepted records → chat pairs, answered as their domain says: by running them, or by a language model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from domino_lightning.config.document import Config
from domino_lightning.config.nodes import ClassNode
from domino_lightning.curation.answer_judge import AnswerJudge
from domino_lightning.curation.card import PARQUET, UNKNOWN, Card, write_card, write_parquet
from domino_lightning.curation.filters.execution import without_addresses
from domino_lightning.curation.measures import CorpusMeasure, Embedding
from domino_lightning.curation.solver import Solution, Solver
from domino_lightning.domains.base import DEFAULT_AGREEMENT, Agreement, Domain
from domino_lightning.domains.rows import Pair
from domino_lightning.errors import UserError
from domino_lightning.generation.smoke import SmokeEngine
from domino_lightning.stages.base import Stage, first_rows, shown
from domino_lightning.store.store import lineage
from domino_lightning.store.work import Section, Work
from domino_lightning.utils.block_log import BlockLog
from domino_lightning.utils.conformance import fault_of
from domino_lightning.utils.contract import broken
from domino_lightning.utils.jsonl import Record, read_jsonl, read_object, write_json, write_jsonl
from domino_lightning.utils.progress import progress_bar
from domino_lightning.utils.ranges import UNIT, WORKERS, check_ranges

log = logging.getLogger(__name__)
SUMMARY, MEASURES, MAP = "answers.json", "corpus.json", "map.jsonl"
_BLOCK = 16  # records answered together; the unit of commit and resume


@dataclass(frozen=True)
class AnswerRuntime:
    """Settings that change no result.

    Args:
        workers: records worked on at a time, where the domain executes any.
    """

    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse no workers.

        Raises:
            OutOfRange: it names them.
        """
        check_ranges("runtime", self, workers=WORKERS)


class Answer(Stage):
    """Answer accepted records.

    Args:
        domain: answers records and makes chat pairs of them.
        solver: samples solutions, where the domain needs any.
        judge: rates sampled solutions and refuses some; the best come first, and a domain that takes the first takes
            the best. null: they are taken as they come.
        agreement: when solutions agree well enough.
        embedding: the vectors in which the corpus is measured; null: `HashedNgrams` with its defaults.
        measures: of the corpus, beside those that are always taken.
        card: licenses for the dataset card.
        seed: of the sampled solutions and of the inputs they are compared on.
        runtime: workers.
    """

    name = "answer"
    version = 5
    summary = "answer the accepted records and write chat pairs"
    artifact = "corpus"
    samples_key = "answer/answered/samples"
    panel = "Corpus"

    def __init__(
        self,
        domain: Domain,
        solver: Solver | None = None,
        judge: AnswerJudge | None = None,
        agreement: Agreement = DEFAULT_AGREEMENT,
        embedding: Embedding | None = None,
        measures: Sequence[CorpusMeasure] = (),
        card: Card = UNKNOWN,
        seed: int = 0,
        runtime: AnswerRuntime = AnswerRuntime(),
    ) -> None:
        if domain.needs_solutions and solver is None:
            raise UserError(
                f"answer.solver: {type(domain).__name__} records are answered from solutions that a language model "
                "samples; give answer.solver.backbone."
            )
        if domain.needs_solutions and type(domain).answer is Domain.answer:
            raise UserError(
                f"{type(domain).__name__}: needs_solutions is set, but its `answer` makes nothing of them. Write it."
            )
        self.domain, self.agreement, self.card, self.runtime = domain, agreement, card, runtime
        self.embedding, self.measures = embedding, tuple(measures)
        self.solver = solver if domain.needs_solutions else None
        self.judge = judge if domain.needs_solutions else None
        self.seed = seed

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """Accepted records and where they came from; splits to measure the corpus against."""
        return ("prepare", "curate")

    @classmethod
    def devices(cls, section: Section) -> int:
        """One where it names a backbone; those of solver and judge count only where the domain needs them."""
        if not _needs_solutions(section):
            section = {key: value for key, value in section.items() if key not in ("solver", "judge")}
        return super().devices(section)

    @classmethod
    def identity(cls, section: Section) -> Section:
        """No judge and no further measures are as if there were no such key: stages from before it are found.

        Where a language model answers, one from before answers that were cut or refused counted as none is another.
        """
        section = super().identity(section)
        kept = {key: value for key, value in section.items() if key not in ("judge", "measures") or value}
        return {**kept, "whole_answers": True} if _needs_solutions(section) else kept

    @classmethod
    def contents(cls, section: Section) -> dict[str, str]:
        """The solver's backbone, and what the arguments of embedding and measures name."""
        solver = section.get("solver")
        found = Solver.contents(solver, "answer.solver") if isinstance(solver, dict) else {}
        hashes = {f"solver.{key}": digest for key, digest in found.items()}
        if isinstance(judge := section.get("judge"), dict):
            found = AnswerJudge.contents(judge, "answer.judge.backbone")
            hashes |= {f"judge.{key}": digest for key, digest in found.items()}
        for key, (kind, node) in _looks(section).items():
            named = kind.contents(node.init_args)
            hashes |= {f"{key}.init_args.{name}": digest for name, digest in named.items()}
        return hashes

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """Two solutions of the tiny model, which agree; a corpus seen through a language model is seen through it."""
        section = config.document["answer"]
        small: dict[str, Any] = {}
        for key, (kind, node) in _looks(section).items():
            init_args = {**node.init_args, **kind.small(node.init_args, backbone)}
            made = {"class_path": node.path, "init_args": init_args}
            if key == "embedding":
                small[key] = made
            else:
                small.setdefault("measures", []).append(made)
        solver = section.get("solver")
        if not isinstance(solver, dict):
            return small
        if isinstance(section.get("judge"), dict):  # the tiny model's ratings say nothing
            rating = {"temperature": 0.0, "max_new_tokens": 4}
            small["judge"] = {"backbone": backbone, "sampling": rating, "engine": None, "unparsable": "keep"}
        init_args = {"domain": config.document["domain"]["class_path"], "engine": solver.get("engine")}
        engine = {"class_path": f"{SmokeEngine.__module__}.{SmokeEngine.__name__}", "init_args": init_args}
        asked = {"backbone": backbone, "samples": 2, "sampling": {"max_new_tokens": 4}, "block_size": 4}
        return {**small, "solver": {**asked, "engine": engine}, "agreement": {"own_tests": False}}

    @classmethod
    def numbers(cls, directory: Path) -> dict[str, float]:
        """Pairs, and the measures of their corpus beside the held-out floor."""
        metrics: dict[str, float] = {}
        if (path := directory / SUMMARY).is_file():
            metrics["answer/pairs/rows"] = read_object(path)["answered"]
        if (path := directory / MEASURES).is_file():
            for name, found in read_object(path)["measures"].items():
                values = {f"answer/pairs/{name}": found["value"], f"answer/heldout/{name}": found["floor_value"]}
                metrics |= {key: value for key, value in values.items() if value is not None}
        return metrics

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """Pairs."""
        return f"{shown(metrics, 'answer/pairs/rows')} pairs"

    @classmethod
    def samples(cls, directory: Path, section: Section | None = None) -> list[dict[str, str]]:
        """The first answered records, each with the domain's own answer field and what the assistant says."""
        rows, pairs = (first_rows(directory / name) for name in ("answered.jsonl", "pairs.jsonl"))
        node = ClassNode.read((section or {}).get("domain"))
        field = node.load(Domain, "answer.domain").answer_field if node else ""
        own = [field] if any(row.get(field) is not None for row in rows) else []
        return [
            {
                "id": str(row["id"]),
                "text": str(row["text"]),
                **{name: str(row.get(name, "")) for name in own},
                "answer": str(pair["messages"][-1]["content"]),
            }
            for row, pair in zip(rows, pairs, strict=True)
        ]

    def run(self, work: Work) -> None:
        """Write answered and rejected rows, pairs (.jsonl, .parquet), their card, answers, corpus and map."""
        records = read_jsonl(work.input("curate", "accepted.jsonl"))
        solutions: list[list[str]] = []
        judged: Record = {}
        cut = 0
        if self.solver is not None:
            prompts = {f"the prompt of '{record['id']}'": self.domain.prompt(record) for record in records}
            sampled = self.solver.sample(prompts, self.seed, work.scratch)
            write_jsonl(
                work.directory / "solutions.jsonl",
                [
                    {"id": r["id"], "completions": [s.text for s in found], "finished": [s.finished for s in found]}
                    for r, found in zip(records, sampled, strict=True)
                ],
            )
            solutions, cut = self._whole(sampled, self.solver.sampling.max_new_tokens)
            if self.judge is not None:
                solutions, judged = self.judge.ordered(list(prompts.values()), solutions, self.seed, work.scratch)
        results = self._answers(records, solutions, work)
        answered = [row["record"] for row in results if row["reason"] is None]
        rejected = [
            {**row["record"], "reason": row["reason"], "detail": row["detail"]}
            for row in results
            if row["reason"] is not None
        ]
        reasons = dict(Counter(row["reason"] for row in rejected).most_common())
        summary = {"accepted": len(records), "answered": len(answered), "rejected": reasons}
        if self.solver is not None:
            summary["cut"] = cut
        if self.judge is not None:
            summary["judge"] = judged
        pairs = self._pairs(answered, work)
        write_jsonl(work.directory / "answered.jsonl", answered)
        write_jsonl(work.directory / "rejected.jsonl", rejected)
        write_jsonl(work.directory / "pairs.jsonl", pairs)
        write_parquet(work.directory / PARQUET, pairs)
        write_json(work.directory / SUMMARY, summary)
        look = self._look(answered, work)
        write_jsonl(work.directory / MAP, look.pop("map"))
        write_json(work.directory / MEASURES, look)
        made_by = f"stage answer {work.fingerprint}, curate {work.inputs['curate'].name}"
        funnel = read_object(work.input("curate", "funnel.json"))
        write_card(work.directory / "README.md", self.domain, made_by, self.card, funnel, summary)

    def _whole(self, sampled: Sequence[Sequence[Solution]], limit: int) -> tuple[list[list[str]], int]:
        """The texts of solutions, and how many were cut, which have none where the domain takes whole answers alone."""
        taken = self.domain.takes_cut_answers
        cut = sum(not each.finished for found in sampled for each in found)
        if cut and not taken:
            log.warning(
                "answer: %d of %d sampled answers were cut at answer.solver.sampling.max_new_tokens (%d), and count as "
                "no answers.",
                cut,
                sum(map(len, sampled)),
                limit,
            )
        return [[each.text if each.finished or taken else "" for each in found] for found in sampled], cut

    def _answers(self, records: Sequence[Record], solutions: Sequence[Sequence[str]], work: Work) -> list[Record]:
        """Record, reason and detail of each, worked out in blocks that survive a kill."""
        blocks = BlockLog(work.scratch, "answers", _BLOCK, len(records))
        done = blocks.recover()
        bar = progress_bar(total=len(records), initial=len(done), desc="answer", unit="row")
        while len(done) < len(records):
            rows = slice(len(done), len(done) + _BLOCK)
            found = self.domain.answer(records[rows], self.runtime.workers, solutions[rows], self.rule)
            block = [
                {"record": each.record, "reason": each.reason, "detail": without_addresses(each.detail)}
                for each in found
            ]
            blocks.append(len(done), block)
            done += block
            bar.update(len(block))
        bar.close()
        return done

    @property
    def rule(self) -> Agreement:
        """The agreement rule under this stage's seed."""
        return replace(self.agreement, seed=self.seed)

    def _look(self, answered: Sequence[Record], work: Work) -> Record:
        """The corpus beside references and held-out records."""
        from domino_lightning.curation.corpus import look_at

        references, heldout = (read_jsonl(work.input("prepare", f"{name}.jsonl")) for name in ("reference", "heldout"))
        return look_at(self.domain, answered, references, heldout, self.seed, self.embedding, self.measures)

    def _pairs(self, answered: Sequence[Record], work: Work) -> list[Pair]:
        """Chat pairs, each with where it came from."""
        stages = lineage(work.inputs["curate"])
        curate, synthesize, tune = (stages.get(name, {}) for name in ("curate", "synthesize", "tune"))
        origin: dict[str, Any] = {
            "curate": work.inputs["curate"].name,
            "synthesize": synthesize.get("fingerprint"),
            "soft_prompt": tune.get("outputs", {}).get("soft_prompt.safetensors", {}).get("sha256"),
            "seed": synthesize.get("config", {}).get("seed"),
            "filters": [node["class_path"] for node in curate.get("config", {}).get("filters", [])],
            "answered_by": self.solver.backbone if self.solver else self.domain.answered_by,
        }
        return [
            {
                "messages": self.domain.pair(record),
                "source_id": record["id"],
                "provenance": {**origin, "agreement": self._rate(record)},
            }
            for record in answered
        ]

    def _rate(self, record: Record) -> float | None:
        """The share of solutions that agree on a record's answer; None where the domain's `answer` says nothing of it.

        Raises:
            BrokenContract: it says something else.
        """
        said = record.get("agreement")
        rate = said.get("rate") if isinstance(said, dict) else None
        fault = fault_of(said, dict | None) or fault_of(rate, Annotated[float, UNIT] | None, "['rate']")
        if fault is not None:
            told = (
                f"answer gave record '{record['id']}' a field 'agreement', and agreement{fault.path} is {fault.found}"
            )
            raise broken(self.domain, f"{told}: make it a dict with a 'rate' from 0 to 1, or rename it")
        return rate


def _needs_solutions(section: Section) -> bool:
    """Whether a language model answers; True where the section names no domain, as validation will say."""
    domain = ClassNode.read(section.get("domain"))
    return not (domain and "." in domain.path) or domain.load(Domain, "answer.domain").needs_solutions


def _looks(section: Section) -> dict[str, tuple[type[Embedding] | type[CorpusMeasure], ClassNode]]:
    """Class and node of a section's embedding and of each measure, by dotted key; nothing where there is none."""
    found: dict[str, tuple[type[Embedding] | type[CorpusMeasure], ClassNode]] = {}
    if node := ClassNode.read(section.get("embedding")):
        found["embedding"] = node.load(Embedding, "answer.embedding"), node
    listed = section.get("measures")
    for number, each in enumerate(listed if isinstance(listed, list) else []):
        if node := ClassNode.read(each):
            found[f"measures.{number}"] = node.load(CorpusMeasure, f"answer.measures.{number}"), node
    return found
