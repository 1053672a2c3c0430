"""A first look at a synthetic corpus: how varied it is, and how close to the references, beside real held-out data.

Most such numbers depend on how much text they are taken over, and none means much by itself. So each is taken over
equally many functions (or problems) of the synthetic and of the held-out records, one row of each (distinct-n and
compression over equally many tokens of them), and the held-out ones are the floor: what fresh data of the domain has
in common with the references and with itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from domino_lightning.curation.filters.base import Context
from domino_lightning.curation.filters.copies import Memorised
from domino_lightning.curation.measures.base import NOTHING, Floats, Measured, among, distances, mean_of, named
from domino_lightning.curation.measures.coverage import coverage, support
from domino_lightning.curation.measures.embedding import Embedding, HashedNgrams
from domino_lightning.curation.measures.extra import CorpusMeasure, Group
from domino_lightning.curation.measures.projection import components
from domino_lightning.curation.measures.variety import variety
from domino_lightning.curation.measures.wording import wording
from domino_lightning.curation.similarity import Nearest, tokens
from domino_lightning.domains.base import Domain
from domino_lightning.errors import UserError
from domino_lightning.utils.conformance import shown
from domino_lightning.utils.contract import broken, returned
from domino_lightning.utils.jsonl import Record, sha256_text

MAX_COMPARED = 100  # self-BLEU takes quadratic time


def look_at(
    domain: Domain,
    synthetic: Sequence[Record],
    references: Sequence[Record],
    heldout: Sequence[Record],
    seed: int = 0,
    embedding: Embedding | None = None,
    further: Sequence[CorpusMeasure] = (),
) -> dict[str, Any]:
    """What `corpus.json` holds: counts, and each measure of the synthetic records beside that of held-out ones.

    Measures: `length` (tokens of a text), `distinct_n` (share of n-grams that differ), `compression_ratio` (bytes
    over compressed bytes; more is more repetitive), `self_bleu` (mean BLEU of each text against the others, 0 to 100),
    `reference_similarity` (mean similarity of each text to its nearest reference, 0 to 1), `memorised` (share that
    the filter `Memorised` with its defaults would reject); and over vectors of the texts those of `variety` and
    `coverage`, and `support`.

    With it comes `map`, a row for each text compared and each reference: `id`, `group`, its coordinates `at` on the
    principal axes of the references (`components`), and `nearest`, its similarity to the nearest reference.

    Args:
        domain: of the records.
        synthetic: the corpus.
        references: what it was learned from.
        heldout: real records of other groups.
        seed: of the choice of functions and the resampling.
        embedding: makes the vectors; `HashedNgrams` by default.
        further: measures beside these.

    Raises:
        UserError: two measures of one name.
    """
    ours, real, known = (_one_of_each(rows, domain, seed) for rows in (synthetic, heldout, references))
    compared = min(len(ours), len(real), MAX_COMPARED)
    embedding = embedding or HashedNgrams()
    result: dict[str, Any] = {
        "rows": len(synthetic),
        "functions": len(ours),
        "references": len(known),
        "compared": compared,
        "supporting": max(0, min(compared - 1, len(known))),
        "embedding": type(embedding).__name__,
        "measures": {},
        "map": [],
    }
    if compared:
        nearest = Nearest([(str(row["id"]), domain.subject(row)) for row in references])
        rule = Memorised()
        rule.open(Context(domain, references))
        texts = [[domain.subject(row) for row in rows] for rows in (known, ours[:compared], real[:compared])]
        budget = min(sum(len(tokens(text)) for text in each) for each in texts[1:])
        around, mine, theirs = _checked_vectors(embedding, texts, embedding.embed(*texts))
        similar = [[near[2] if (near := nearest.find(text)) else 0.0 for text in each] for each in texts[1:]]
        places, explained = components(around, theirs, mine)
        result["explained"] = np.round(explained, 4).tolist()
        result["map"] = [
            *_placed("reference", known, places[0]),
            *_placed("heldout", real[:compared], places[1], similar[1]),
            *_placed("synthetic", ours[:compared], places[2], similar[0]),
        ]
        supports = _supports(around, mine, theirs, result["supporting"])
        both = [
            {
                **_of_texts(words, found, rule, seed, budget),
                **variety(vectors, around, seed),
                **coverage(vectors, around),
                "support": supported,
            }
            for words, found, vectors, supported in zip(texts[1:], similar, (mine, theirs), supports, strict=True)
        ]
        base, groups = Group(texts[0], around), (Group(texts[1], mine), Group(texts[2], theirs))
        for each in further:
            values = (each.measure(group, base, seed) for group in groups)
            found = [returned(each, "measure", value, dict[str, Measured]) for value in values]
            if found[0].keys() != found[1].keys():
                names = " and ".join(", ".join(sorted(value)) or "nothing" for value in found)
                raise broken(each, f"measure must give the same names for every group, and gave {names}")
            for measured, value in zip(both, found, strict=True):
                _add(measured, value)
        result["measures"] = {name: {**named(both[0][name]), **named(both[1][name], "floor_")} for name in both[0]}
    return result


def _checked_vectors(embedding: Embedding, texts: Sequence[Sequence[str]], found: object) -> Sequence[Floats]:
    """What an embedding gave for groups of texts.

    Raises:
        BrokenContract: it is no such vectors.
    """
    if not isinstance(found, list | tuple) or len(found) != len(texts):
        raise broken(embedding, f"embed must return one array for each of {len(texts)} groups, and gave {shown(found)}")
    for group, each in zip(texts, found, strict=True):
        if not isinstance(each, np.ndarray) or each.ndim != 2 or each.dtype.kind != "f":
            raise broken(embedding, f"embed must return arrays of (n, d) numbers with a point, and gave {shown(each)}")
        if each.shape != (len(group), found[0].shape[1]):
            wanted = f"({len(group)}, {found[0].shape[1]})"
            raise broken(embedding, f"embed must return an array of shape {wanted} here, and it has {each.shape}")
        lengths = np.linalg.norm(each.astype(np.float64), axis=1)
        off = lengths[~((np.abs(lengths - 1) < 0.01) | (lengths == 0))]  # NaN among them
        if len(off):
            told = f"and one has length {off[0]:.4g}"
            raise broken(embedding, f"embed must return vectors of length 1, or of zeros, {told}")
    return found


def _add(measured: dict[str, Measured], values: Mapping[str, Measured]) -> None:
    """Put further values beside the others.

    Raises:
        UserError: a name that is taken.
    """
    for name, value in values.items():
        if name in measured:
            raise UserError(f"answer.measures: two measures are called '{name}'. Rename one, or leave it out.")
        measured[name] = value


def _placed(group: str, rows: Sequence[Record], places: Floats, similar: Sequence[float] | None = None) -> list[Record]:
    """What is kept of each record for a map, and of one that is no reference, how close it is to the nearest one."""
    kept = [
        {"id": str(row["id"]), "group": group, "at": np.round(place, 4).tolist()}
        for row, place in zip(rows, places, strict=True)
    ]
    return (
        kept
        if similar is None
        else [{**row, "nearest": round(near, 4)} for row, near in zip(kept, similar, strict=True)]
    )


def _of_texts(
    texts: Sequence[str], similar: Sequence[float], rule: Memorised, seed: int, budget: int
) -> dict[str, Measured]:
    """Every measure over tokens of the subjects of groups."""
    words = [tokens(text) for text in texts]
    return {
        "length": mean_of([float(len(each)) for each in words]),
        **wording(words, budget, seed),
        "reference_similarity": mean_of(similar, 1.0),
        "memorised": mean_of([float(rule.problem(each) is not None) for each in words], 1.0),
    }


def _supports(known: Floats, ours: Floats, real: Floats, size: int) -> tuple[Measured, Measured]:
    """`support` of `size` synthetic items, and as its floor of the `size` held-out items beside each one.

    Both are taken over the first `size` + 1 held-out items and against the first `size` references.
    """
    if size < 1:
        return NOTHING, NOTHING
    looked_at = real[: size + 1]
    to_references = distances(looked_at, known[:size])
    others = among(looked_at)
    np.fill_diagonal(others, np.inf)
    tables = distances(looked_at, ours[:size]), others
    value, floor = (mean_of(support(table, to_references), 1.0) for table in tables)
    return value, floor


def _one_of_each(rows: Sequence[Record], domain: Domain, seed: int) -> list[Record]:
    """The first record of each group, groups in the order of their hash."""
    first: dict[str, Record] = {}
    for row in rows:
        first.setdefault(str(row.get("group") or domain.subject(row)), row)
    return [first[group] for group in sorted(first, key=lambda group: sha256_text(f"corpus/{seed}/{group}"))]
