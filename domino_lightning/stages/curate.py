"""curate: raw candidates → accepted records and rejected rows, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from domino_lightning.curation.filters import Context, Filter
from domino_lightning.curation.funnel import curate
from domino_lightning.domains.base import Domain
from domino_lightning.progress import progress_bar
from domino_lightning.records import read_jsonl, write_json, write_jsonl
from domino_lightning.stages.base import Section, Stage, Work


class Curate(Stage):
    """Filter candidates.

    Args:
        domain: reads samples back.
        filters: in order, cheap before dear.
    """

    name = "curate"
    summary = "filter the candidates, with a reason for every row that is rejected"

    def __init__(self, domain: Domain, filters: Sequence[Filter]) -> None:
        self.domain, self.filters = domain, filters

    @classmethod
    def inputs(cls, section: Section) -> tuple[str, ...]:
        """References to compare with, and candidates."""
        return ("prepare", "synthesize")

    def run(self, work: Work) -> None:
        """Write accepted.jsonl, rejected.jsonl and funnel.json."""
        references = read_jsonl(work.input("prepare", "reference.jsonl"))
        shards = sorted(work.inputs["synthesize"].glob("raw-*.jsonl"))
        rows = [row for shard in shards for row in read_jsonl(shard, required=("id", "text", "finished"))]
        bar = progress_bar(iterable=rows, desc="curate", unit="row")
        curated = curate(bar, self.filters, Context(self.domain, references))
        write_jsonl(work.directory / "accepted.jsonl", curated.accepted)
        write_jsonl(work.directory / "rejected.jsonl", curated.rejected)
        write_json(work.directory / "funnel.json", curated.funnel)
