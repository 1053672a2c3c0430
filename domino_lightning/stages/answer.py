"""answer: accepted records → chat pairs whose answers come from the domain, for code execution from running it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from domino_lightning.domains.base import Domain
from domino_lightning.progress import progress_bar
from domino_lightning.records import Record, read_json, read_jsonl, write_json, write_jsonl
from domino_lightning.stages.base import Section, Stage, Work


@dataclass(frozen=True)
class AnswerRuntime:
    """Settings that change no result.

    Args:
        workers: programs executed at a time.
    """

    workers: int = 2


class Answer(Stage):
    """Answer accepted records.

    Args:
        domain: answers records and makes chat pairs of them.
        runtime: workers.
    """

    name = "answer"
    summary = "answer the accepted records and write chat pairs"

    def __init__(self, domain: Domain, runtime: AnswerRuntime = AnswerRuntime()) -> None:
        self.domain, self.runtime = domain, runtime

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """Accepted records, and where they came from."""
        return ("curate",)

    def run(self, work: Work) -> None:
        """Write answered.jsonl, pairs.jsonl, pairs.parquet, rejected.jsonl, answers.json and the dataset card."""
        records = read_jsonl(work.input("curate", "accepted.jsonl"))
        answered: list[Record] = []
        rejected: list[Record] = []
        results = self.domain.answer(records, self.runtime.workers)
        for result in progress_bar(iterable=results, total=len(records), desc="answer", unit="row"):
            if result.reason is None:
                answered.append(result.record)
            else:
                rejected.append({**result.record, "reason": result.reason, "detail": result.detail})
        reasons = dict(Counter(row["reason"] for row in rejected).most_common())
        summary = {"accepted": len(records), "answered": len(answered), "rejected": reasons}
        pairs = [
            {
                "messages": self.domain.pair(record),
                "source_id": record["id"],
                "provenance": {"curate": work.inputs["curate"].name, "answered_by": self.domain.kind},
            }
            for record in answered
        ]
        write_jsonl(work.directory / "answered.jsonl", answered)
        write_jsonl(work.directory / "rejected.jsonl", rejected)
        write_jsonl(work.directory / "pairs.jsonl", pairs)
        _write_parquet(work, pairs)
        write_json(work.directory / "answers.json", summary)
        (work.directory / "README.md").write_text(_card(work, self.domain.kind, summary), encoding="utf-8")


def _write_parquet(work: Work, pairs: list[Record]) -> None:
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    schema = pyarrow.schema(
        {
            "messages": pyarrow.list_(pyarrow.struct({"role": text, "content": text})),
            "source_id": text,
            "provenance": pyarrow.struct({"curate": text, "answered_by": text}),
        }
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(pairs, schema), work.directory / "pairs.parquet")


def _card(work: Work, kind: str, summary: Record) -> str:
    """A dataset card with counts and funnel; `datasets.load_dataset` reads the configuration at its head."""
    funnel = read_json(work.input("curate", "funnel.json"))
    lines = [f"| {step['filter']} | {step['in']} | {step['rejected']} | {step['out']} |" for step in funnel["steps"]]
    failed = summary["accepted"] - summary["answered"]
    lines.append(f"| answer | {summary['accepted']} | {failed} | {summary['answered']} |")
    table = "\n".join(lines)
    return (
        "---\nconfigs:\n- config_name: default\n  data_files: pairs.parquet\n---\n"
        f"# Synthetic {kind} pairs\n\n{summary['answered']} chat pairs synthesised by domino_lightning from "
        f"{funnel['candidates']} candidates (stage answer {work.fingerprint}, curate "
        f"{work.inputs['curate'].name}).\n\n"
        "The texts were sampled from a language model; their licence follows from the backbone's and the "
        "reference data's, which this card does not know.\n\n"
        f"| step | in | rejected | out |\n| --- | ---: | ---: | ---: |\n{table}\n"
    )
