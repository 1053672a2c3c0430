"""curate: raw candidates → accepted records and rejected rows, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.config.nodes import ClassNode
from domino_lightning.curation.filters.base import Context, Filter
from domino_lightning.curation.funnel import curate
from domino_lightning.domains.base import Domain
from domino_lightning.stages.base import Stage, first_rows, shown, table
from domino_lightning.store.work import Section, Work
from domino_lightning.utils.jsonl import read_jsonl, read_object, write_json, write_jsonl
from domino_lightning.utils.ranges import WORKERS, check_ranges

FUNNEL = "funnel.json"


@dataclass(frozen=True)
class CurateRuntime:
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


class Curate(Stage):
    """Filter candidates.

    Args:
        domain: reads samples back.
        filters: in order, cheap before costly.
        runtime: workers.
    """

    name = "curate"
    version = 3
    summary = "filter the candidates, with a reason for every row that is rejected"
    artifact = "corpus"
    samples_key = "curate/rejected/samples"
    panel = "Funnel"

    def __init__(self, domain: Domain, filters: Sequence[Filter], runtime: CurateRuntime = CurateRuntime()) -> None:
        self.domain, self.filters, self.runtime = domain, filters, runtime

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """References and splits to compare with, and candidates."""
        return ("prepare", "synthesize")

    @classmethod
    def contents(cls, section: Section) -> dict[str, Any]:
        """What the filters' arguments name: benchmarks, a judge's backbone."""
        return {
            f"filters.{number}.init_args.{key}": digest
            for number, kind, node in _filters(section)
            for key, digest in kind.contents(node.init_args).items()
        }

    @classmethod
    def small(cls, config: Config, backbone: str) -> dict[str, Any]:
        """Filters that ask a language model ask the tiny one."""
        filters = list(config.document["curate"]["filters"])
        for number, kind, node in _filters(config.document["curate"]):
            init_args = {**node.init_args, **kind.small(node.init_args, backbone)}
            filters[number] = {"class_path": node.path, "init_args": init_args}
        return {"filters": filters}

    @classmethod
    def numbers(cls, directory: Path) -> dict[str, float]:
        """Rows that each filter rejected, and rows accepted."""
        path = directory / FUNNEL
        if not path.is_file():
            return {}
        funnel = read_object(path)
        rejected = {f"curate/rejected/{step['filter']}": step["rejected"] for step in funnel["steps"]}
        return {**rejected, "curate/accepted/rows": funnel["accepted"]}

    @classmethod
    def headline(cls, metrics: Mapping[str, float]) -> str:
        """Rows accepted."""
        return f"{shown(metrics, 'curate/accepted/rows')} accepted"

    @classmethod
    def samples(cls, directory: Path, section: Section | None = None) -> list[dict[str, str]]:
        """The first rows that were rejected, and why."""
        return table(first_rows(directory / "rejected.jsonl"))

    def run(self, work: Work) -> None:
        """Write accepted.jsonl, rejected.jsonl and funnel.json."""
        splits = {name: read_jsonl(work.input("prepare", f"{name}.jsonl")) for name in ("reference", "heldout", "test")}
        shards = sorted(work.inputs["synthesize"].glob("raw-*.jsonl"))
        rows = [row for shard in shards for row in read_jsonl(shard, required=("id", "text", "finished"))]
        context = Context(self.domain, splits.pop("reference"), splits, self.runtime.workers)
        curated = curate(rows, self.filters, context, work.scratch)
        write_jsonl(work.directory / "accepted.jsonl", curated.accepted)
        write_jsonl(work.directory / "rejected.jsonl", curated.rejected)
        write_json(work.directory / FUNNEL, curated.funnel)


def _filters(section: Section) -> Iterator[tuple[int, type[Filter], ClassNode]]:
    """Number, class and node of every filter in the section.

    Raises:
        UserError: a class path that names no filter.
    """
    nodes = section.get("filters")
    for number, each in enumerate(nodes if isinstance(nodes, list) else []):
        if node := ClassNode.read(each):
            yield number, node.load(Filter, f"curate.filters.{number}"), node
