"""The synthetic corpus beside the held-out floor, from `corpus.json` of the answer stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from domino_lightning.reporting.collect import StageDir, number, read_optional, whole

# Measure → what it is called, how many digits it is shown with, and what a reader should know.
MEASURES = {
    "length": ("Length", 1, "tokens of what is particular to a record"),
    "distinct_1": ("distinct-1", 3, "different tokens as a share of all"),
    "distinct_2": ("distinct-2", 3, "different bigrams as a share of all"),
    "distinct_3": ("distinct-3", 3, "different trigrams as a share of all"),
    "distinct_4": ("distinct-4", 3, "different 4-grams as a share of all"),
    "compression_ratio": ("Compression ratio", 2, "bytes over compressed bytes; more is more repetitive"),
    "self_bleu": ("Self-BLEU", 1, "of each text against the others, 0 to 100; more is less varied"),
    "vendi": ("Vendi score", 1, "items that have nothing in common would be so many; at most the number compared"),
    "remote_clique": ("Remote clique", 3, "mean cosine distance between two texts"),
    "chamfer": ("Chamfer distance", 3, "mean cosine distance of a text to the nearest other"),
    "novelsum": ("NovelSum", 3, "distance to the others, near ones first, weighted by how dense the references are"),
    "reference_similarity": ("Nearest-reference similarity", 3, "1 is the same token sequence as a reference"),
    "memorised": ("Memorised share", 3, "copied from references beyond what the memorisation filter allows by default"),
    "precision": ("Precision", 3, "share of texts that lie among the references"),
    "recall": ("Recall", 3, "share of references that lie among the texts"),
    "density": ("Density", 3, "how many references a text lies beside, over five; 1 is as close as they are packed"),
    "coverage": ("Coverage", 3, "share of references that have a text beside them"),
    "novelty": ("Novelty", 3, "mean cosine distance to the nearest reference"),
    "g_vendi": ("G-Vendi", 1, "texts that would change a model in unlike ways would be so many"),
    "mauve": ("MAUVE", 3, "1 where texts and references are spread alike over clusters"),
    "support": ("Support", 3, "share of held-out texts to which a text is nearer than any of as many references"),
}


@dataclass(frozen=True)
class CorpusRow:
    """One measure of the corpus and of held-out data, as text; `intervals` is "apart", "overlap" or "–"."""

    name: str
    about: str
    value: str
    interval: str
    floor: str
    floor_interval: str
    intervals: str


def corpus_rows(answer: StageDir) -> tuple[dict[str, int], list[CorpusRow]]:
    """Counts (rows, functions, references, compared) and a row for each measure; both empty without `corpus.json`."""
    corpus = read_optional(answer, "corpus.json") or {}
    counts = {name: whole(corpus.get(name)) or 0 for name in ("rows", "functions", "references", "compared")}
    measures = corpus.get("measures")
    listed = measures.items() if isinstance(measures, dict) else ()
    rows = [_row(str(name), values) for name, values in listed if isinstance(values, dict)]
    return (counts if corpus else {}), rows


def _row(name: str, values: dict[str, Any]) -> CorpusRow:
    label, digits, about = MEASURES.get(name, (name, 3, ""))
    low, high, floor_low, floor_high = (number(values.get(key)) for key in ("low", "high", "floor_low", "floor_high"))
    return CorpusRow(
        name=label,
        about=about,
        value=_text(number(values.get("value")), digits),
        interval=_interval(low, high, digits),
        floor=_text(number(values.get("floor_value")), digits),
        floor_interval=_interval(floor_low, floor_high, digits),
        intervals=_compared(low, high, floor_low, floor_high),
    )


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(low: float | None, high: float | None, digits: int) -> str:
    return "–" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"


def _compared(low: float | None, high: float | None, floor_low: float | None, floor_high: float | None) -> str:
    if low is None or high is None or floor_low is None or floor_high is None:
        return "–"
    return "apart" if low > floor_high or high < floor_low else "overlap"
