"""The numbers of a sweep's trials that came to no verdict, for example because too few texts passed the filters.

`domino sweep --export` writes finished trials alone; what the others did say is a row each here.

    python results/unfinished.py STORE/sweeps/NAME --out unfinished.csv
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from domino_lightning import open_sweep

NUMBERS = {
    "candidates": "synthesize/raw/candidates",
    "screened_in": "synthesize/raw/screened_in",
    "duplicate": "curate/rejected/duplicate",
    "copied": "curate/rejected/copied",
    "near_duplicate": "curate/rejected/near_duplicate",
    "memorised": "curate/rejected/memorised",
    "accepted": "curate/accepted/rows",
    "pairs": "answer/pairs/rows",
    "nll": "tune/heldout/nll",
    "nll_best": "tune/heldout/nll_best",
    "own_gain": "tune/health/own_gain",
}


def main() -> None:
    """Write a row a trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="STORE/sweeps/NAME")
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    given = parser.parse_args()
    with open(given.out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["arm", "seed", *NUMBERS])
        for run in open_sweep(given.sweep).runs():
            if "evaluate/test/pass@1" not in run.metrics:
                numbers = [run.metrics.get(metric, "") for metric in NUMBERS.values()]
                writer.writerow([run.trial["arm"], run.trial["seed"], *numbers])


if __name__ == "__main__":
    main()
