"""Whose functions does a generator write: a probe that guesses which real function each of its texts is nearest to.

References and held-out rows come from one distribution, and only references were seen in training. A generator that
learned the domain and nothing of single references writes texts that are as near to the ones as to the others: half
of their nearest neighbours among equally many of both are references. What is above half is information about the
references (a membership probe, after Shokri et al. 2017, arXiv 1610.05820). Two sets of 48 are not equally central, so
the floor is not a half but what real test functions give, the rows without a seed, one for every set of references.
Where the two sides are not equally many, the larger is drawn from, `DRAWS` times. Taken from what passes the screen,
before filters remove copies. `reached` is the perplexity of the nearest references: how many of them the texts are
spread over.

    python results/membership.py STORE/sweeps/NAME --out membership.csv

The store must hold the texts; results that were imported have none.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from domino_lightning.curation.similarity import Nearest
from domino_lightning.domains import CodeExec, Unparsable
from domino_lightning.utils.jsonl import Record, read_jsonl, read_object

DRAWS = 20
FIELDS = ("arm", "seed", "references", "texts", "nearest_is_reference", "to_references", "to_heldout", "reached")


def subjects(rows: Sequence[Record], domain: CodeExec, most: int) -> list[str]:
    """The first distinct functions among sampled rows."""
    found: dict[str, None] = {}
    for row in rows:
        if row["screen"] == "ok" and len(found) < most:
            try:
                found.setdefault(domain.subject(domain.parse(str(row["text"]))))
            except Unparsable:
                continue
    return list(found)


def probe(texts: Sequence[str], references: Sequence[str], heldout: Sequence[str], seed: int = 0) -> Record:
    """Which of equally many references and held-out functions each text is nearest to."""
    size = min(len(references), len(heldout))
    dice = random.Random(seed)
    wins: list[float] = []
    close: list[tuple[float, float]] = []
    reached: list[float] = []
    for _ in range(1 if len(references) == len(heldout) else DRAWS):
        near = [
            Nearest([(f"{number:03d}", text) for number, text in enumerate(dice.sample(list(side), size))])
            for side in (references, heldout)
        ]
        found = [(near[0].find(text), near[1].find(text)) for text in texts]
        pairs = [(one, other) for one, other in found if one and other]
        wins += [1.0 if one[2] > other[2] else 0.5 if one[2] == other[2] else 0.0 for one, other in pairs]
        close += [(one[2], other[2]) for one, other in pairs]
        counts = Counter(one[0] for one, _ in pairs)
        reached.append(math.exp(-sum(n / len(pairs) * math.log(n / len(pairs)) for n in counts.values())))
    return {
        "references": len(references),
        "texts": len(texts),
        "nearest_is_reference": round(fmean(wins), 4),
        "to_references": round(fmean(one for one, _ in close), 4),
        "to_heldout": round(fmean(other for _, other in close), 4),
        "reached": round(fmean(reached), 2),
    }


def main() -> None:
    """Probe the corpus of every trial of a sweep; the domain is CodeExec."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="STORE/sweeps/NAME")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    parser.add_argument("--most", type=int, default=200, help="functions of a corpus (default: 200)")
    given = parser.parse_args()
    stages, domain = given.sweep.parents[1] / "stages", CodeExec()
    rows: list[Record] = []
    floors: dict[Path, Record] = {}
    for trial in read_object(given.sweep / "trials.json")["trials"]:
        keys = trial["stages"]
        raw = sorted((stages / "synthesize" / keys.get("synthesize", "-")).glob("raw-*.jsonl"))
        if not raw:
            continue  # of references, or of none
        sampled = subjects([row for path in raw for row in read_jsonl(path)], domain, given.most)
        if len(sampled) < 2:
            sys.stdout.write(f"left out: {trial['trial']}, {len(sampled)} functions pass the screen\n")
            continue
        real = stages / "prepare" / keys["prepare"]
        names = ("reference", "heldout", "test")
        references, heldout, test = (
            sorted({domain.subject(row) for row in read_jsonl(real / f"{name}.jsonl")}) for name in names
        )
        rows.append({"arm": trial["arm"], "seed": trial["seed"], **probe(sampled, references, heldout)})
        if real not in floors:
            floors[real] = {"arm": "real functions", "seed": "", **probe(test, references, heldout)}
        sys.stdout.write(f"{rows[-1]}\n")
    with open(given.out, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, *floors.values()])


if __name__ == "__main__":
    main()
