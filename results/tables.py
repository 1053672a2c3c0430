"""Every table of docs/results.md, computed from the rows beside this file: `python -m results.tables` prints them."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import spearmanr, ttest_1samp

from domino_lightning.evaluation.crossed import components, group_table, lent
from domino_lightning.evaluation.intervals import difference_interval, score_interval, two_sided_p
from domino_lightning.evaluation.statistics import holm, independent_mean
from results.rows import BASELINE, LOSSES, NAMES, SIZES, WRITERS, arms, read_csv, table, values

# Of the pairs of an arm, taken over 48 functions of each: (metric, heading, decimals).
MEASURES = [
    ("reference_similarity", 3),
    ("novelty", 3),
    ("vendi", 1),
    ("support", 3),
    ("coverage", 3),
]


def points(value: Any, sign: str = "") -> str:
    """A share in percent, a difference of shares in points."""
    return f"{100 * float(value):{sign}.1f}"


def arm_lines(sweep: str = "evidence", baseline: str = BASELINE) -> list[str]:
    """Every arm's pass@1 and what it is over the baseline, p by Holm over the table."""
    found = arms(sweep)
    names = [name for name in NAMES if name in found]
    own = {name: table(name, sweep=sweep) for name in names}
    gains = {name: table(name, baseline, sweep) for name in names if name != baseline}
    loan = lent(gains.values())
    corrected = dict(zip(gains, holm([float(two_sided_p(one, loan)) for one in gains.values()]), strict=True))
    lines = []
    for name in names:
        # Decoding is greedy and nothing is trained, so the untouched coder is one and the same under every seed.
        alone = name == "source=none"
        only = found[name][0]
        one = components(group_table(np.array([only["scores"]]), only["groups"])) if alone else own[name]
        low, high = score_interval(one)
        cells = [NAMES[name], str(len(found[name])), points(one.value), f"{points(low)} to {points(high)}"]
        if name == baseline:
            cells += ["–", "–"]
        else:
            least, most = difference_interval(gains[name], loan)
            p = corrected[name]
            cells += [
                f"{points(gains[name].value, '+')} ({points(least, '+')} to {points(most, '+')})",
                "< 0.001" if p < 0.001 else f"{p:.2f}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def embedded_lines() -> list[str]:
    """The same of the embedded corpus."""
    return arm_lines("evidence_embedded")


def contrast_lines() -> list[str]:
    """What InfoNCE does to tokens and texts where there are few or many references: means over seeds."""
    sweep = "evidence_references"
    rows = read_csv(f"{sweep}_membership.csv")
    lines = []
    for size, both in SIZES.items():
        (floor,) = (r["nearest_is_reference"] for r in rows if not r["seed"] and r["references"] == str(size))
        for loss, arm in both.items():
            shares = [float(row["nearest_is_reference"]) for row in rows if row["arm"] == arm]
            cells = [str(size), LOSSES[loss], str(len(shares))]
            for metric, decimals in (
                ("tune/heldout/nll_best", 2),
                ("synthesize/raw/screened_in", 0),
                ("curate/rejected/copied", 1),
                ("curate/rejected/memorised", 1),
                ("answer/pairs/rows", 0),
                ("answer/pairs/novelty", 3),
                ("answer/pairs/support", 3),
            ):
                cells.append(f"{fmean(values(arm, metric, sweep).values()):.{decimals}f}")
            lines.append("| " + " | ".join([*cells, of_seeds(shares, 3), f"{float(floor):.3f}"]) + " |")
    return lines


def reference_lines() -> list[str]:
    """pass@1 of likelihood and InfoNCE for each number of references and their difference, p by Holm over these."""
    sweep = "evidence_references"
    own = {arm: table(arm, sweep=sweep) for both in SIZES.values() for arm in both.values()}
    gains = {size: table(both["infonce"], both["likelihood"], sweep) for size, both in SIZES.items()}
    loan = lent(gains.values())
    corrected = dict(zip(gains, holm([float(two_sided_p(one, loan)) for one in gains.values()]), strict=True))
    lines = []
    for size, both in SIZES.items():
        cells = [str(size)]
        for arm in both.values():
            low, high = score_interval(own[arm])
            cells.append(f"{points(own[arm].value)} ({points(low)} to {points(high)})")
        low, high = difference_interval(gains[size], loan)
        cells.append(f"{points(gains[size].value, '+')} ({points(low, '+')} to {points(high, '+')})")
        lines.append("| " + " | ".join([*cells, f"{corrected[size]:.2f}"]) + " |")
    return lines


def capacity_lines() -> list[str]:
    """What is left of 768 texts where D can memorise its references: means over seeds."""
    lines = []
    for loss in LOSSES:
        rows = [row for row in read_csv("evidence_capacity.csv") if row["arm"] == f"loss={loss}"]
        names = [name for name in rows[0] if name != "arm" and all(row[name] for row in rows)]
        mean = {name: fmean(float(row[name]) for row in rows) for name in names}
        copies = mean["copied"] + mean["memorised"]
        cells = [LOSSES[loss], str(len(rows)), f"{mean['nll_best']:.2f}", f"{mean['nll']:.2f}"]
        cells += [f"{mean[name]:.0f}" for name in ("candidates", "duplicate", "screened_in")]
        lines.append("| " + " | ".join([*cells, f"{copies:.0f}", f"{mean['pairs']:.1f}"]) + " |")
    return lines


def readme_lines() -> list[str]:
    """The first four columns and the difference."""
    rows = [line.split(" | ") for line in arm_lines()]
    return [" | ".join([row[0], row[2], row[3], row[4]]) + " |" for row in rows]


def of_seeds(values: Sequence[float], decimals: int, sign: str = "") -> str:
    """The mean of a number over seeds with its t interval."""
    estimate = independent_mean(values)
    low, high = (f"{end:{sign}.{decimals}f}" for end in (estimate.low, estimate.high))
    return f"{estimate.value:{sign}.{decimals}f}" + ("" if low == high else f" ({low} to {high})")


def tuning_lines() -> list[str]:
    """What objectives do to the tokens, and how many texts and pairs come of it."""
    lines = []
    for name in WRITERS:
        metrics = [
            ("tune/heldout/nll", 3, ""),
            ("tune/health/own_gain", 2, "+"),
            ("tune/health/other_gap", 2, "+"),
        ]
        cells = [NAMES[name]]
        for metric, decimals, sign in metrics:
            found = list(values(name, metric).values())
            cells.append(of_seeds(found, decimals, sign) if found else "–")
        counts = {key: list(values(name, key).values()) for key in ("synthesize/raw/screened_in", "answer/pairs/rows")}
        for row in read_csv("evidence_failed.csv"):  # what came too short is counted too
            if row["arm"] == name:
                counts["synthesize/raw/screened_in"].append(float(row["screened_in"]))
                counts["answer/pairs/rows"].append(float(row["pairs"]))
        screened, pairs = map(fmean, counts.values())
        candidates = fmean(values(name, "synthesize/raw/candidates").values())
        cells += [f"{candidates:.0f}", f"{screened:.0f}", f"{pairs:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def corpus_lines() -> list[str]:
    """Measures of the pairs, means over seeds."""
    lines = []
    for name in WRITERS:
        cells = [NAMES[name]]
        for metric, decimals in MEASURES:
            cells.append(f"{fmean(values(name, f'answer/pairs/{metric}').values()):.{decimals}f}")
        lines.append("| " + " | ".join(cells) + " |")
    held = [
        f"{fmean(values(BASELINE, f'answer/heldout/{metric}').values()):.{decimals}f}" for metric, decimals in MEASURES
    ]
    return [*lines, "| " + " | ".join(["held-out data", *held]) + " |"]


def claim_lines() -> list[str]:
    """Differences from likelihood alone, paired by seed, with t intervals over seeds; a star where Holm's p < 0.05."""
    probe: dict[str, dict[int, float]] = defaultdict(dict)
    for row in read_csv("evidence_membership.csv"):
        if row["seed"]:
            probe[row["arm"]][int(row["seed"])] = float(row["nearest_is_reference"])
    cells: list[tuple[str, str, float]] = []
    for name in WRITERS:
        of = [(probe[name], probe[BASELINE], 3)]
        for metric, decimals in (("reference_similarity", 3), ("novelty", 3), ("support", 3), ("vendi", 1)):
            of.append((values(name, f"answer/pairs/{metric}"), values(BASELINE, f"answer/pairs/{metric}"), decimals))
        for own, base, decimals in of if name != BASELINE else ():
            gains = [own[seed] - base[seed] for seed in sorted(own.keys() & base.keys())]
            cells.append((name, of_seeds(gains, decimals, "+"), float(ttest_1samp(gains, 0).pvalue)))
    corrected = holm([p for _, _, p in cells])
    rows: dict[str, list[str]] = {}
    for (name, text, _), p in zip(cells, corrected, strict=True):
        rows.setdefault(name, [NAMES[name]]).append(text + " *" * (p < 0.05))
    return ["| " + " | ".join(row) + " |" for row in rows.values()]


def probe_lines() -> list[str]:
    """Shares of texts whose nearest real function is a reference."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_csv("evidence_membership.csv"):
        rows[row["arm"]].append(row)
    lines = []
    for name in [*WRITERS, "real functions"]:
        shares, reached = ([float(row[key]) for row in rows[name]] for key in ("nearest_is_reference", "reached"))
        share = of_seeds(shares, 3) if len(shares) > 1 else f"{shares[0]:.3f}"
        lines.append(f"| {NAMES.get(name, 'test functions')} | {share} | {fmean(reached):.0f} |")
    return lines


def correlation_lines() -> list[str]:
    """Spearman's ρ of corpus measures and pass@1: over the means of arms, and over trials with arm means taken off."""
    names = [
        key.removeprefix("answer/pairs/") for key in arms()[BASELINE][0]["metrics"] if key.startswith("answer/pairs/")
    ]
    scores = {name: {seed: fmean(trial["scores"]) for seed, trial in arms()[name].items()} for name in WRITERS}
    found = []
    for metric in names:
        of = {name: values(name, f"answer/pairs/{metric}") for name in WRITERS}
        if len({value for found_in in of.values() for value in found_in.values()}) == 1:
            continue  # memorised: 0 everywhere, since the filters took such texts out
        across = spearmanr([fmean(of[n].values()) for n in WRITERS], [fmean(scores[n].values()) for n in WRITERS])
        within: list[tuple[float, float]] = []
        for name in WRITERS:
            middle, level = fmean(of[name].values()), fmean(scores[name].values())
            within += [(of[name][seed] - middle, scores[name][seed] - level) for seed in of[name]]
        inside = spearmanr(*zip(*within, strict=True))
        found.append(
            (metric, float(across.statistic), float(across.pvalue), float(inside.statistic), float(inside.pvalue))
        )
    adjusted = holm([row[2] for row in found]), holm([row[4] for row in found])
    rows = [(*row, first, second) for row, first, second in zip(found, *adjusted, strict=True)]
    rows.sort(key=lambda row: -abs(row[1]))
    return [
        f"| {name} | {across:+.2f} | {p:.2f} | {inside:+.2f} | {q:.2f} |" for name, across, _, inside, _, p, q in rows
    ]


TABLES = {
    "arms": arm_lines,
    "tuning": tuning_lines,
    "probe": probe_lines,
    "claims": claim_lines,
    "corpora": corpus_lines,
    "correlations": correlation_lines,
    "embedded": embedded_lines,
    "contrast": contrast_lines,
    "references": reference_lines,
    "capacity": capacity_lines,
}


def _printed() -> Iterator[str]:
    for name, lines in {**TABLES, "readme": readme_lines}.items():
        yield from (f"\n{name}", *lines())


if __name__ == "__main__":
    sys.stdout.write("\n".join(_printed()) + "\n")
