"""Every table in docs/results.md, and the README's, is computed again from the rows under results/.

`python -m tests.test_results` prints the tables, and with a folder as argument draws the pictures into it.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr, ttest_1samp

from domino_lightning.evaluation.crossed import (
    Components,
    components,
    difference_interval,
    group_table,
    lent,
    score_interval,
    two_sided_p,
)
from domino_lightning.evaluation.statistics import holm, independent_mean
from domino_lightning.utils.jsonl import Record, read_jsonl, read_object, sha256_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
DOMINO = "source=synthetic,generator=domino,loss={},pairs=48"
BASELINE = DOMINO.format("likelihood")
NAMES = {
    "source=none": "untouched",
    "source=reference,pairs=48": "48 references",
    BASELINE: "DOMINO, likelihood",
    DOMINO.format("infonce"): "DOMINO, InfoNCE",
    DOMINO.format("released"): "DOMINO, released",
    DOMINO.format("paper"): "DOMINO, paper",
    "source=synthetic,generator=lora,learner=adapter,pairs=48": "LoRA on the references",
    "source=synthetic,generator=few-shot,pairs=48": "few-shot",
    "source=synthetic,generator=oss-instruct,candidates=1536,pairs=48": "OSS-Instruct",
}
WRITERS = [name for name in NAMES if name.startswith("source=synthetic")]
# Of the pairs of an arm, taken over 48 functions of each: (metric, heading, decimals).
MEASURES = [
    ("reference_similarity", 3),
    ("novelty", 3),
    ("vendi", 1),
    ("support", 3),
    ("coverage", 3),
]


def read_csv(name: str) -> list[dict[str, str]]:
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@lru_cache
def arms(sweep: str = "evidence") -> dict[str, dict[int, dict[str, Any]]]:
    """Arm → seed → its scores, their problems and groups, and its numbers."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for path in sorted((RESULTS / sweep).iterdir()):
        record: Record = read_object(path / "trial.json")
        rows = sorted(read_jsonl(path / "verdicts.jsonl"), key=lambda row: str(row["id"]))
        found[record["arm"]][record["seed"]] = {
            "scores": [fmean(float(each["passed"]) for each in row["verdicts"]) for row in rows],
            "ids": [str(row["id"]) for row in rows],
            "groups": [str(row["group"]) for row in rows],
            "metrics": read_object(path / "metrics.json"),
        }
    return found


def table(arm: str, other: str | None = None, sweep: str = "evidence") -> Components:
    """Variance components of an arm's scores, or of its differences from another one on the seeds of both."""
    own = arms(sweep)[arm]
    seeds = sorted(own if other is None else own.keys() & arms(sweep)[other].keys())
    rows = np.array([own[seed]["scores"] for seed in seeds])
    if other is not None:
        rows = rows - np.array([arms(sweep)[other][seed]["scores"] for seed in seeds])
    return components(group_table(rows, own[seeds[0]]["groups"]))


def points(value: Any, sign: str = "") -> str:
    return f"{100 * float(value):{sign}.1f}"


def arm_lines(sweep: str = "evidence", baseline: str = BASELINE) -> list[str]:
    found = arms(sweep)
    names = [name for name in NAMES if name in found]
    own = {name: table(name, sweep=sweep) for name in names}
    seeded = [one for name, one in own.items() if name != "source=none"]
    gains = {name: table(name, baseline, sweep) for name in names if name != baseline}
    means = {name: one.difference(lent(gains.values())) for name, one in gains.items()}
    corrected = dict(zip(means, holm([float(two_sided_p(mean)) for mean in means.values()]), strict=True))
    lines = []
    for name in names:
        # Decoding is greedy and nothing is trained, so the untouched coder is one and the same under every seed.
        alone = name == "source=none"
        only = found[name][0]
        one = components(group_table(np.array([only["scores"]]), only["groups"])) if alone else own[name]
        low, high = score_interval(one.mean(None if alone else lent(seeded)))
        cells = [NAMES[name], str(len(found[name])), points(one.value), f"{points(low)} to {points(high)}"]
        if name == baseline:
            cells += ["–", "–"]
        else:
            least, most = difference_interval(means[name])
            p = corrected[name]
            cells += [
                f"{points(means[name].value, '+')} ({points(least, '+')} to {points(most, '+')})",
                "< 0.001" if p < 0.001 else f"{p:.2f}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def embedded_lines() -> list[str]:
    return arm_lines("evidence_embedded")


def reference_lines() -> list[str]:
    """One row a number of references: means over seeds, and each seed's pass@1."""
    found = arms("evidence_references")
    own = {name: table(name, sweep="evidence_references") for name in found}
    lines = []
    for name in sorted(found, key=lambda name: int(name.partition(",")[0].partition("=")[2])):
        numbers = [trial["metrics"] for trial in found[name].values()]
        low, high = score_interval(own[name].mean(lent(own.values())))
        cells = [name.partition(",")[0].partition("=")[2], str(len(numbers))]
        for key, form in (
            ("tune/heldout/nll_best", "{:.2f}"),
            ("synthesize/raw/screened_in", "{:.0f}"),
            ("curate/accepted/rows", "{:.0f}"),
            ("answer/pairs/novelty", "{:.3f}"),
            ("answer/pairs/support", "{:.3f}"),
        ):
            cells.append(form.format(fmean(each[key] for each in numbers)))
        lines.append("| " + " | ".join([*cells, points(own[name].value), f"{points(low)} to {points(high)}"]) + " |")
    return lines


def readme_lines() -> list[str]:
    """The first four columns and the difference."""
    rows = [line.split(" | ") for line in arm_lines()]
    return [" | ".join([row[0], row[2], row[3], row[4]]) + " |" for row in rows]


def of_seeds(values: Sequence[float], decimals: int, sign: str = "") -> str:
    estimate = independent_mean(values)
    low, high = (f"{end:{sign}.{decimals}f}" for end in (estimate.low, estimate.high))
    return f"{estimate.value:{sign}.{decimals}f}" + ("" if low == high else f" ({low} to {high})")


def values(arm: str, metric: str) -> dict[int, float]:
    return {seed: trial["metrics"][metric] for seed, trial in sorted(arms()[arm].items()) if metric in trial["metrics"]}


def tuning_lines() -> list[str]:
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
    "references": reference_lines,
}
SWEEPS = ("evidence", "evidence_embedded", "evidence_references")


@pytest.mark.parametrize("sweep", SWEEPS)
def test_the_rows_are_those_that_were_exported(sweep: str) -> None:
    for trial in (RESULTS / sweep).iterdir():
        for name, digest in read_object(trial / "trial.json")["sha256"].items():
            assert sha256_file(trial / name) == digest, trial


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_arm_answered_the_same_problems(sweep: str) -> None:
    problems = {(tuple(trial["ids"]), tuple(trial["groups"])) for arm in arms(sweep).values() for trial in arm.values()}
    assert len(problems) == 1


def test_every_trial_is_there_or_among_those_that_failed() -> None:
    assert set(arms()) == set(NAMES)
    failed: Mapping[str, set[int]] = defaultdict(set)
    for row in read_csv("evidence_failed.csv"):
        failed[row["arm"]].add(int(row["seed"]))
    for name, trials in arms().items():
        assert set(trials) | failed[name] == set(range(10)), name


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_computed_again(name: str) -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    missing = [line for line in TABLES[name]() if line not in page]
    assert not missing


def test_the_table_of_the_readme_is_computed_again() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [line for line in readme_lines() if line not in page]
    assert not missing


Rows = Sequence[tuple[str, float, float, float]]  # label, value, low, high


def _intervals(rows: Rows, x_label: str, title: str, path: Path, zero: float | None = 0.0) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 0.9 + 0.34 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (_, value, low, high) in enumerate(reversed(rows)):
        axes.errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", color="#1f6fb4", capsize=3)
    if zero is not None:
        axes.axvline(zero, color="#888888", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
    axes.set_xlabel(x_label)
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context({"svg.hashsalt": path.name}):
        figure.savefig(path, metadata={"Date": None})


def draw(folder: Path) -> None:
    """One picture a question."""
    gains = {name: table(name, BASELINE) for name in NAMES if name != BASELINE}
    scored = []
    for name, one in gains.items():
        mean = one.difference(lent(gains.values()))
        low, high = difference_interval(mean)
        scored.append((NAMES[name], 100 * float(mean.value), 100 * float(low), 100 * float(high)))
    label = "points of pass@1 over DOMINO with likelihood alone, 95% intervals"
    _intervals(scored, label, "The coder", folder / "results_arms.svg")
    rows: dict[str, list[float]] = defaultdict(list)
    for row in read_csv("evidence_membership.csv"):
        rows[row["arm"]].append(float(row["nearest_is_reference"]))
    (floor,) = rows["real functions"]
    shares = [(NAMES[name], estimate.value, estimate.low, estimate.high)
              for name in WRITERS for estimate in [independent_mean(rows[name])]]  # fmt: skip
    label = "share of texts nearest to a reference; dashed: of real test functions"
    _intervals(shares, label, "Whose functions do they write?", folder / "results_probe.svg", floor)
    support = []
    for name in WRITERS[1:]:
        own, base = (values(each, "answer/pairs/support") for each in (name, BASELINE))
        estimate = independent_mean([own[seed] - base[seed] for seed in sorted(own.keys() & base.keys())])
        support.append((NAMES[name], estimate.value, estimate.low, estimate.high))
    label = "support of held-out functions, less that under likelihood alone"
    _intervals(support, label, "Does the support expand?", folder / "results_support.svg")


def _printed() -> Iterator[str]:
    for name, lines in {**TABLES, "readme": readme_lines}.items():
        yield from (f"\n{name}", *lines())


if __name__ == "__main__":
    if sys.argv[1:]:
        draw(Path(sys.argv[1]))
    sys.stdout.write("\n".join(_printed()) + "\n")
