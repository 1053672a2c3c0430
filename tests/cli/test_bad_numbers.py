"""Every number of an experiment has a range, and `domino check` knows it as its constructor does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from domino_lightning.config.document import load_config
from domino_lightning.config.layers import default_layer, lookup
from domino_lightning.errors import UserError
from domino_lightning.generation.sampling import Sampling
from domino_lightning.losses import LikelihoodOnly
from domino_lightning.modules import PromptTuningModule
from domino_lightning.nn import DomainPrompt
from domino_lightning.stages import STAGES, stage_class
from tests.conftest import refused

Write = Callable[..., Path]
NAN, INF = ".nan", ".inf"
COUNTS = (0, -1)  # of what has to be there
AMOUNTS = (-1,)  # of what may be none
RATES = (-1.0, NAN, INF)
SHARES = (-0.1, 1.5, NAN)
CODEGEN = "domain={class_path: domino_lightning.domains.CodeGen, init_args: {%s}}"
ANSWERED = CODEGEN % ""

BAD: dict[str, tuple[Any, ...]] = {
    "seed": (-1, 2**32),
    "prepare.seed": (-1,),
    "prepare.source.limit": COUNTS,
    "prepare.split.reference": COUNTS,
    "prepare.split.heldout": COUNTS,
    "prepare.split.test": COUNTS,
    "prepare.subset.share": (0.0, *SHARES),
    "prepare.noise.share": (1.0, *SHARES),
    "prepare.runtime.workers": COUNTS,
    "tune.model.num_sample_tokens": COUNTS,
    "tune.model.sample_rank": COUNTS,
    "tune.model.learning_rate": RATES,
    "tune.model.sample_learning_rate": (0.0, *RATES),
    "tune.model.warmup_steps": AMOUNTS,
    "tune.model.pair_micro_batch": COUNTS,
    "tune.model.domain_prompt.init_args.num_tokens": COUNTS,
    "tune.model.loss.init_args.weight": RATES,
    "tune.model.loss.init_args.temperature": (0.0, *RATES),
    "tune.model.loss.init_args.own_weight": RATES,
    "tune.model.loss.init_args.pairs": (0, -1, "bogus"),
    "tune.data.batch_size": COUNTS,
    "tune.data.max_length": (0, 1, -1),
    "tune.trainer.max_steps": (0, -1, -2),
    "tune.trainer.max_epochs": (0, -2),
    "tune.trainer.val_check_interval": (0, -1, 0.0, 1.5),
    "tune.trainer.check_val_every_n_epoch": (0, -1),
    "tune.trainer.gradient_clip_val": (-1.0, NAN),
    "tune.trainer.devices": (0, -2, "bogus", "[]", "[0, 0]"),
    "tune.trainer.num_nodes": COUNTS,
    "tune.trainer.accelerator": ("bogus",),
    "tune.trainer.strategy": ("bogus",),
    "tune.trainer.precision": ("bogus", "16-true"),
    "tune.trainer.accumulate_grad_batches": COUNTS,
    "tune.trainer.limit_train_batches": (0, -1, 1.5),
    "tune.trainer.max_time": ("soon",),
    "tune.trainer.profiler": ("bogus",),
    "tune.runtime.checkpoint_every_n_steps": COUNTS,
    "tune.runtime.checkpoint_every_seconds": (0.0, *RATES),
    "tune.runtime.log_every_n_steps": COUNTS,
    "tune.runtime.num_workers": AMOUNTS,
    "tune.runtime.divergence_nats": (0.0, *RATES),
    "tune.runtime.health_every_n_steps": AMOUNTS,
    "tune.runtime.probe_size": COUNTS,
    "tune.runtime.samples_every_n_steps": AMOUNTS,
    "tune.runtime.samples": COUNTS,
    "tune.runtime.sample_tokens": COUNTS,
    "synthesize.generator.init_args.temperature": RATES,
    "synthesize.generator.init_args.top_p": (0.0, *SHARES),
    "synthesize.generator.init_args.min_p": (1.0, *SHARES),
    "synthesize.generator.init_args.repetition_penalty": (0.0, *RATES),
    "synthesize.generator.init_args.max_new_tokens": COUNTS,
    "synthesize.generator.init_args.engine.init_args.batch_size": COUNTS,
    "synthesize.generator.init_args.engine.init_args.device": ("bogus",),
    "synthesize.block_size": COUNTS,
    "synthesize.stop.candidates": COUNTS,
    "synthesize.stop.accepted": COUNTS,
    "synthesize.stop.tokens": COUNTS,
    "synthesize.stop.min_screened": AMOUNTS,
    "curate.runtime.workers": COUNTS,
    "answer.solver.samples": (1, 0),
    "answer.solver.sampling.temperature": (0.0, *RATES),
    "answer.solver.sampling.top_p": (0.0, *SHARES),
    "answer.solver.sampling.max_new_tokens": COUNTS,
    "answer.solver.block_size": COUNTS,
    "answer.agreement.min_share": (0.0, *SHARES),
    "answer.agreement.inputs": COUNTS,
    "answer.runtime.workers": COUNTS,
    "finetune.model.learning_rate": RATES,
    "finetune.model.warmup_steps": AMOUNTS,
    "finetune.model.lora.rank": COUNTS,
    "finetune.model.lora.alpha": COUNTS,
    "finetune.model.lora.dropout": (1.0, 2.0, -0.1, NAN),
    "finetune.data.batch_size": COUNTS,
    "finetune.data.max_length": (0, 1, -1),
    "finetune.trainer.max_steps": (0, -1),
    "finetune.trainer.val_check_interval": (0, 1.5),
    "finetune.trainer.limit_val_batches": (-1, 1.5, -0.5),
    "finetune.trainer.gradient_clip_val": (-1.0, NAN),
    "finetune.trainer.devices": (0, -2),
    "finetune.trainer.num_nodes": COUNTS,
    "finetune.trainer.accelerator": ("bogus",),
    "finetune.trainer.precision": ("bogus", "16-true"),
    "finetune.runtime.checkpoint_every_n_steps": COUNTS,
    "finetune.runtime.checkpoint_every_seconds": (0.0, *RATES),
    "finetune.runtime.log_every_n_steps": COUNTS,
    "finetune.runtime.num_workers": AMOUNTS,
    "finetune.runtime.divergence_nats": (0.0, *RATES),
    "evaluate.samples": COUNTS,
    "evaluate.k": ("[]", "[0]", "[-1]", "[1, 1]"),
    "evaluate.temperature": RATES,
    "evaluate.top_p": (0.0, *SHARES),
    "evaluate.max_new_tokens": COUNTS,
    "evaluate.batch_size": COUNTS,
    "evaluate.limit": COUNTS,
    "evaluate.heldout": AMOUNTS,
    "evaluate.runtime.workers": COUNTS,
}
# Seeds of hashes: any whole number is as good as another.
ANY = {"prepare.subset.seed", "prepare.noise.seed"}
CASES = [(key, value) for key, values in BAD.items() for value in values]


def numbers(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys of a document whose values are numbers."""
    for name, value in node.items() if isinstance(node, dict) else ():
        key = f"{prefix}{name}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield key
        yield from numbers(value, f"{key}.")


def test_every_number_of_the_defaults_is_tried() -> None:
    assert set(numbers(default_layer().tree)) - ANY <= set(BAD)


@pytest.fixture(scope="module", autouse=True)
def _parsers_are_built_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in STAGES:
            patch.setattr(stage_class(name), "parser", staticmethod(kept(stage_class(name).parser)))
        yield


def kept(parser: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser depends on nothing of its section but the class that `model` names, which is never named here."""
    once = cache(lambda: parser({}))
    return lambda section: once()


def overrides(key: str, value: Any, backbone: str) -> list[str]:
    """What sets the key to the value in an experiment that uses it."""
    found = [f"{key}={value}"]
    if key.startswith("answer."):
        found.insert(0, ANSWERED)
    if key == "prepare.split.test":
        found.insert(0, "prepare.split.heldout=null")
    if key.startswith("synthesize.generator.init_args"):
        engine = "engine: {class_path: domino_lightning.synthesis.TransformersEngine, init_args: {batch_size: 4}}"
        generator = "class_path: domino_lightning.synthesis.SoftPromptGenerator"
        found.insert(0, f"synthesize.generator={{{generator}, init_args: {{backbone: {backbone}, {engine}}}}}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value"), CASES, ids=[f"{key}={value}" for key, value in CASES])
def test_a_number_out_of_range_is_refused_by_its_name(write_experiment: Write, key: str, value: Any) -> None:
    path = write_experiment()
    backbone = yaml.safe_load(path.read_text())["backbone"]
    config = load_config(path, overrides(key, value, backbone))
    section, _, name = key.rpartition(".")
    with pytest.raises(UserError) as caught:
        for stage in [key.split(".")[0]] if section else ["tune"]:
            made: Any = stage_class(stage).from_config(config)
            if stage == "prepare":
                made.splits(execute=False)
    message = str(caught.value)
    assert name in message or section.rpartition(".")[2] in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("prepare.source.limit=-1", "prepare.source: limit -1 must be 1 or more, or null for all rows."),
        ("evaluate.temperature=-1", "evaluate: temperature -1.0 must be 0 or more."),
        ("prepare.runtime.workers=0", "prepare.runtime: workers 0 must be from 1 to 1024."),
        ("tune.model.learning_rate=-1", "tune.model: learning_rate -1.0 must be 0 or more."),
        ("tune.model.learning_rate=.nan", "tune.model: learning_rate nan must be finite, and 0 or more."),
        ("tune.runtime.checkpoint_every_n_steps=0", "tune.runtime: checkpoint_every_n_steps 0 must be 1 or more."),
        ("synthesize.stop.accepted=0", "synthesize.stop: accepted 0 must be 1 or more."),
        ("finetune.model.lora.dropout=2", "finetune.model.lora: dropout 2.0 must be in [0, 1)."),
        ("evaluate.top_p=0.0", "evaluate: top_p 0.0 must be in (0, 1]."),
    ],
)
def test_check_names_origin_key_value_and_range(
    write_experiment: Write, capsys: Any, override: str, words: str
) -> None:
    assert refused(capsys, "check", write_experiment(), override) == f"override '{override}': {words}"


def test_the_constructor_says_what_check_says() -> None:
    with pytest.raises(UserError, match=r"tune.model: warmup_steps -1 must be 0 or more\."):
        PromptTuningModule("none", DomainPrompt(2), LikelihoodOnly(), warmup_steps=-1)
    with pytest.raises(UserError, match=r"sampling: temperature nan must be finite, and 0 or more\."):
        Sampling(temperature=float("nan"))


def test_lookup_finds_every_key_that_is_tried() -> None:
    tree = default_layer().tree
    absent = {key for key in BAD if "." in key and type(lookup(tree, key)) is object}
    assert all(key.split(".")[1] == "trainer" for key in absent)
    assert {key.split(".")[0] for key in BAD} == {"seed", *STAGES}
