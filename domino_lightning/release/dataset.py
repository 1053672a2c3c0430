"""The synthetic corpus as a dataset repository: Parquet, a card with every field the hub reads, Croissant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from domino_lightning.config.layers import lookup
from domino_lightning.curation.card import PARQUET, card_body, pretty_name
from domino_lightning.errors import UserError
from domino_lightning.release.bundle import Bundle
from domino_lightning.release.croissant import PAPER, croissant
from domino_lightning.release.origin import FOLDER, Origin, as_json, hub_dataset, is_local
from domino_lightning.release.terms import Terms

_POWERS = {3: "1K", 4: "10K", 5: "100K", 6: "1M", 7: "10M", 8: "100M", 9: "1B"}


def dataset_bundle(origin: Origin, terms: Terms, repo_id: str, endpoint: str) -> Bundle:
    """The repository of the pairs.

    Args:
        origin: of stage `answer`.
        terms: licenses.
        repo_id: `user/name`.
        endpoint: of the hub.

    Raises:
        UserError: there are no pairs.
    """
    funnel = origin.funnel or {}
    if not funnel["answer"]["answered"]:
        raise UserError(f"push: {origin.directory}: no candidate was answered, so there are no pairs to release.")
    card = _card(origin, terms, repo_id)
    files: dict[str, bytes | Path] = {
        "README.md": card.encode(),
        "croissant.json": as_json(croissant(origin, terms, repo_id, endpoint)).encode(),
        PARQUET: origin.directory / PARQUET,
        **origin.files,
    }
    notes = list(origin.notes)
    solver = lookup(origin.manifest["config"], "solver.backbone")
    if origin.domain.needs_solutions and is_local(solver):
        notes.append(f"{PARQUET}: every row names '{solver}', a path of this machine, in provenance.answered_by")
    return Bundle(repo_id, "dataset", f"domino_lightning: {origin.title}", files, notes)


def size_category(rows: int) -> str:
    """The hub's name for a number of rows."""
    exponent = next((power for power in _POWERS if rows < 10**power), None)
    if exponent is None:
        return f"n>{_POWERS[9]}"
    return f"n<{_POWERS[3]}" if exponent == 3 else f"{_POWERS[exponent - 1]}<n<{_POWERS[exponent]}"


def _card(origin: Origin, terms: Terms, repo_id: str) -> str:
    from huggingface_hub import DatasetCardData

    domain, funnel = origin.domain, origin.funnel or {}
    head = DatasetCardData(
        language=list(domain.languages),
        annotations_creators=["machine-generated"],
        language_creators=["machine-generated"],
        size_categories=[size_category(funnel["answer"]["answered"])],
        source_datasets=[hub_dataset(origin.source) or "original"],
        task_categories=["text-generation"],
        pretty_name=pretty_name(domain.kind),
        tags=["synthetic", *domain.tags, domain.kind, "domino"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": PARQUET}]}],
        **terms.head,
    )
    _add_info(head, origin.directory / PARQUET)
    use = f"""## Use

```python
from datasets import load_dataset

pairs = load_dataset("{repo_id}", split="train")
```

References: `{origin.source}`. `croissant.json` describes the data for machines; `{FOLDER}/` has the configuration,
the fingerprints, seeds and versions of all stages, content hashes of data and models, and the funnel.

"""
    licenses = terms.table("these pairs")
    body = card_body(domain.kind, f"stage {origin.title}", licenses, funnel["curate"], funnel["answer"], use)
    return f"---\n{head.to_yaml()}\n---\n{body}\n## Citation\n\n```bibtex\n{PAPER}\n```\n"


def _add_info(head: Any, parquet: Path) -> None:
    """Features, rows and bytes, as `datasets` writes them into a card."""
    import pyarrow.parquet
    from datasets import DatasetInfo, Features, SplitDict, SplitInfo
    from datasets.info import DatasetInfosDict

    table = pyarrow.parquet.read_table(parquet)
    splits = SplitDict({"train": SplitInfo("train", num_bytes=table.nbytes, num_examples=table.num_rows)})
    info = DatasetInfo(
        features=Features.from_arrow_schema(table.schema),
        splits=splits,
        download_size=parquet.stat().st_size,
        dataset_size=table.nbytes,
    )
    DatasetInfosDict({"default": info}).to_dataset_card_data(head)
