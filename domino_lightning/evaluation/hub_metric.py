"""pass@k as an `evaluate.Metric`; usable offline, by import or as `evaluate.load("<path of this file>")`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

from domino_lightning.domains.fields import from_json
from domino_lightning.domains.problems import DOMAINS
from domino_lightning.errors import UserError
from domino_lightning.evaluation.intervals import CONFIDENCE
from domino_lightning.evaluation.statistics import score_problems

DESCRIPTION = """Unbiased pass@k with intervals over groups of related problems."""
INPUTS = """
Args:
    predictions: a list for each problem. In the configuration "verdicts" (the default) it says of every sample
        whether it passed; in that of a domain's kind it holds the samples themselves, as the model wrote them.
    references: one string for each problem. In "verdicts" it names the problem's group (problems that have
        nothing to do with each other have different names); in the others it is the problem as JSON, in any
        format that the domain reads.
    k: every k to report; by default all up to the smallest number of samples.
    confidence: of the intervals.
    workers: programs graded at a time, where there are any. They are run as `domino grade` runs them.
Returns:
    "pass@k", "pass@k_low" and "pass@k_high" for every k; "problems", "groups", "samples".
"""
CITATION = """@article{chen2021codex,
  title={Evaluating Large Language Models Trained on Code}, author={Mark Chen and others},
  journal={arXiv preprint arXiv:2107.03374}, year={2021}
}"""


class DominoPassAtK(evaluate.Metric):
    """pass@k of verdicts, or of completions that are graded here."""

    def _info(self) -> evaluate.MetricInfo:
        if self.config_name not in {"default", "verdicts", *DOMAINS}:
            raise UserError(
                f"configuration '{self.config_name}' is none of verdicts, {', '.join(DOMAINS)}. "
                f"Name one as evaluate.load(path, '{next(iter(DOMAINS))}')."
            )
        samples = datasets.Sequence(datasets.Value("string" if self.config_name in DOMAINS else "bool"))
        features = datasets.Features({"predictions": samples, "references": datasets.Value("string")})
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation=CITATION, inputs_description=INPUTS, features=features
        )

    def _compute(
        self,
        predictions: Sequence[Sequence[Any]],
        references: Sequence[str],
        k: Sequence[int] | None = None,
        confidence: float = CONFIDENCE,
        workers: int | None = None,
    ) -> dict[str, float]:
        groups, passed = references, predictions
        if self.config_name in DOMAINS:
            domain = DOMAINS[self.config_name]()
            rows = [(from_json(text, where := f"reference {number}"), where) for number, text in enumerate(references)]
            records = [domain.record(row, where) for row, where in rows]
            groups = [record["group"] for record in records]
            graded = domain.grade(records, predictions, workers or os.cpu_count() or 1)
            passed = [[verdict.passed for verdict in row] for row in graded]
        correct, total = [sum(map(bool, row)) for row in passed], [len(row) for row in passed]
        if min(total) == 0:
            raise UserError(f"prediction {total.index(0)}: a problem without samples. An empty one counts as a sample.")
        return score_problems(correct, total, groups, k, confidence)
