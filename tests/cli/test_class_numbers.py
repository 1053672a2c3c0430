"""Numbers that a section gives to its classes have ranges, which `domino check` and the constructors know alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.curation import Executes, NearDuplicate
from domino_lightning.curation.answer_judge import AnswerJudge, Criterion
from domino_lightning.curation.measures.embedding import HashedNgrams, HiddenStates
from domino_lightning.curation.measures.extra import GVendi, Mauve
from domino_lightning.domains import AskedText, CodeExec, CodeGen, FreeText
from domino_lightning.errors import OutOfRange, UserError
from domino_lightning.nn.domain_prompt import VariationalDomainPrompt
from domino_lightning.sweep.launchers.cluster.fleet import Patience
from domino_lightning.sweep.launchers.cluster.pools import Pool
from domino_lightning.sweep.launchers.cluster.slurm import SlurmLauncher
from domino_lightning.sweep.launchers.local import LocalLauncher
from tests.conftest import refused

NAN, INF = float("nan"), float("inf")


def slurm(**settings: Any) -> SlurmLauncher:
    return SlurmLauncher({"cpu": Pool()}, **settings)


@pytest.mark.parametrize(
    ("made", "name", "values"),
    [
        (CodeExec, "max_output", (0, -7)),
        (FreeText, "min_words", (-2,)),
        (AskedText, "min_words", (-2,)),
        (CodeGen, "timeout_s", (0.0, -1.0, NAN, INF, 1e9)),
        (CodeGen, "memory_mb", (0, 63, 10**15)),
        (Executes, "timeout_s", (0.0, NAN, 1e9)),
        (Executes, "memory_mb", (63,)),
        (NearDuplicate, "threshold", (0.0, 1.2, NAN)),
        (NearDuplicate, "ngram", (0,)),
        (NearDuplicate, "num_perm", (1, 10**9)),
        (HashedNgrams, "dimensions", (1, 10**12)),
        (lambda **given: HiddenStates("tiny", **given), "batch_size", (0, 10**9)),
        (lambda **given: HiddenStates("tiny", **given), "max_length", (0,)),
        (lambda **given: GVendi("tiny", **given), "side", (0, 10**6)),
        (Mauve, "buckets", (1, -3)),
        (slurm, "idle", (-1.0, NAN, INF)),
        (slurm, "max_losses", (0, -1)),
        (Patience, "lost_s", (-1.0, NAN)),
        (Patience, "beat_s", (0.0,)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_class_refuses_a_number_out_of_range_by_its_name(
    made: Callable[..., Any], name: str, values: tuple[float, ...]
) -> None:
    for value in values:
        with pytest.raises(OutOfRange) as caught:
            made(**{name: value})
        assert f": {name} {value} must be " in str(caught.value)


@pytest.mark.parametrize("gpus", [[-1], [0, 0]])
def test_local_gpus_are_different_numbers(gpus: list[int]) -> None:
    with pytest.raises(UserError, match=r"launcher\.init_args\.gpus: \[.*\] must be different numbers of 0 or more"):
        LocalLauncher(gpus=gpus)


def test_a_scale_that_does_not_rise_rates_nothing() -> None:
    with pytest.raises(UserError, match=r"answer\.judge: the scale from 4 to 4 must rise"):
        AnswerJudge("tiny", criteria=[Criterion("clear", "Is it clear?", 4)], lowest=4, highest=4)


def test_an_infinite_weight_of_a_domain_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="beta inf must be 0 or more"):
        VariationalDomainPrompt(beta=INF)


@pytest.mark.parametrize("value", [0, -5])
def test_check_names_the_key_of_a_domains_number(
    write_experiment: Callable[..., Path], capsys: pytest.CaptureFixture[str], value: int
) -> None:
    domain = f"{{class_path: domino_lightning.domains.CodeExec, init_args: {{max_output: {value}}}}}"
    told = refused(capsys, "check", write_experiment(), f"domain={domain}")
    assert told.endswith(f"prepare.domain.init_args: max_output {value} must be 1 or more.")
