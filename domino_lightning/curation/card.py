"""The synthetic corpus as a data set: Parquet beside a card that `datasets.load_dataset` reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from domino_lightning.curation.licenses import UNKNOWN_LICENSE, check_license
from domino_lightning.domains.base import Domain
from domino_lightning.domains.rows import Pair
from domino_lightning.utils.jsonl import Record

PARQUET = "pairs.parquet"


@dataclass(frozen=True)
class Card:
    """What a dataset card cannot know by itself; licenses as the Hugging Face hub names them.

    Args:
        license: of the pairs.
        reference_license: of the reference data.
        backbone_license: of the models that wrote texts and answers.
    """

    license: str = UNKNOWN_LICENSE
    reference_license: str = UNKNOWN_LICENSE
    backbone_license: str = UNKNOWN_LICENSE

    def __post_init__(self) -> None:
        """Refuse names that the hub does not know; `unknown` is refused only when a run is released.

        Raises:
            UserError: it names the key.
        """
        for name, value in asdict(self).items():
            check_license(f"answer.card.{name}", value)


UNKNOWN = Card()


def write_parquet(path: Path, pairs: Sequence[Pair]) -> None:
    """Write chat pairs with one schema, whether or not there are any."""
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.string()
    provenance: dict[str, Any] = dict.fromkeys(("curate", "synthesize", "soft_prompt"), text)
    provenance |= {"seed": pyarrow.int64(), "filters": pyarrow.list_(text)}
    provenance |= {"answered_by": text, "agreement": pyarrow.float64()}
    schema = pyarrow.schema(
        {
            "messages": pyarrow.list_(pyarrow.struct({"role": text, "content": text})),
            "source_id": text,
            "provenance": pyarrow.struct(provenance),
        }
    )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(pairs), schema), path)


def write_card(path: Path, domain: Domain, made_by: str, card: Card, funnel: Record, summary: Record) -> None:
    """Write the card of a stage's directory: what loads the Parquet file, then counts, licenses and funnel.

    A release writes a fuller head above the same body (`release/dataset.py`).

    Args:
        path: the file, README.md beside the Parquet file.
        domain: of the records.
        made_by: names of the stages that made it.
        card: licenses.
        funnel: of `curate`.
        summary: of `answer`: accepted, answered, and rejected by reason.
    """
    head = {
        "license": card.license,
        "task_categories": ["text-generation"],
        "tags": ["synthetic", *domain.tags, domain.kind],
        "pretty_name": pretty_name(domain.kind),
        "configs": [{"config_name": "default", "data_files": PARQUET}],
    }
    body = card_body(domain.kind, made_by, license_table("these pairs", card), funnel, summary)
    path.write_text(f"---\n{_yaml(head)}---\n{body}", encoding="utf-8")


def pretty_name(kind: str) -> str:
    """What a corpus is called."""
    return f"Synthetic {kind} pairs"


def card_body(kind: str, made_by: str, licenses: str, funnel: Record, summary: Record, more: str = "") -> str:
    """The card below its head: what a row holds, `more` sections in Markdown, licenses and funnel."""
    steps = [*funnel["steps"], {"filter": "answer", "codes": summary["rejected"], **_counts(summary)}]
    rows = [
        f"| {step['filter']} | {step['in']} | {step['rejected']} | {step['out']} | {_codes(step.get('codes'))} |"
        for step in steps
    ]
    return (
        f"# {pretty_name(kind)}\n\n"
        f"{summary['answered']} chat pairs synthesized by domino_lightning from {funnel['candidates']} candidates "
        f"({made_by}). `messages` holds a conversation "
        "that ends with the answer, `source_id` the raw row, `provenance` the soft prompt (sha256), seed, filters and "
        f"stages it went through.\n\n{more}"
        f"## Licences\n\n{licenses}\n"
        "The texts were sampled from a language model; what may be done with them follows from the last two.\n\n"
        "## Funnel\n\n"
        f"| step | in | rejected | out | by code |\n| --- | ---: | ---: | ---: | --- |\n" + "\n".join(rows) + "\n"
    )


def license_table(what: str, card: Card, license: str = "") -> str:
    """The three licenses as a Markdown table; `license` stands for the first where its name says nothing."""
    return (
        f"| what | license |\n| --- | --- |\n| {what} | {license or card.license} |\n"
        f"| reference data | {card.reference_license} |\n| models that wrote texts and answers | "
        f"{card.backbone_license} |\n"
    )


def _counts(summary: Record) -> dict[str, int]:
    taken, out = summary["accepted"], summary["answered"]
    return {"in": taken, "rejected": taken - out, "out": out}


def _codes(codes: dict[str, int] | None) -> str:
    return ", ".join(f"{name} {number}" for name, number in (codes or {}).items())


def _yaml(tree: Record) -> str:
    import yaml

    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return text
