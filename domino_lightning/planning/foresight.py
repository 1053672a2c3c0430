"""What will go wrong or have no effect, told from configuration, data and tokenizers before a model is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.config.layers import ABSENT, lookup
from domino_lightning.curation import Contaminated, GVendi, HiddenStates, LMJudge
from domino_lightning.data.lengths import bos_count, pair_lengths, text_lengths
from domino_lightning.data.samples import sample_indices
from domino_lightning.data.settings import drawn
from domino_lightning.data.source import Source
from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError
from domino_lightning.evaluation.breakdown import Breakdown
from domino_lightning.generation.api_engine import APIEngine
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.prompts import check_lengths
from domino_lightning.models.backbone import (
    SHORTER,
    check_nf4,
    check_positions,
)
from domino_lightning.models.lookups import check_weights, positions_of
from domino_lightning.modules.settings import SHORTER_PAIRS, PromptTuningSettings
from domino_lightning.stages import Stage
from domino_lightning.synthesis import BARE
from domino_lightning.synthesis.generators.prompted import PromptedGenerator
from domino_lightning.synthesis.read_back import read_back
from domino_lightning.utils.jsonl import Record

# Keys that may ask for weights in four bits.
NF4_KEYS = (
    "tune.model.backbone_dtype",
    "tune.model.init_args.backbone_dtype",
    "synthesize.generator.init_args.engine.init_args.dtype",
    "answer.solver.engine.init_args.dtype",
    "finetune.model.backbone_dtype",
    "evaluate.backbone_dtype",
    "evaluate.engine.init_args.dtype",
)
# Attributes of what samples or rates that name a model, and those that say what runs it.
MODELS = (("backbone_spec", "engine"), ("backbone", "engine"), ("base", "base_engine"))
FEW_GROUPS = 4  # of references: less than a batch of as many samples
# Of `evaluate`: how answers are generated and scored, where a domain grades them.
ANSWERED = ("samples", "k", "temperature", "top_p", "max_new_tokens", "breakdown")
ASKED = 2000  # questions whose length is looked at


class Foresight:
    """Looks ahead at one stage after the other; call it with a stage's name.

    Args:
        config: the experiment.
        splits: its data as `prepare` splits it.
        stages: as its sections describe them.
    """

    def __init__(self, config: Config, splits: Mapping[str, Sequence[Record]], stages: Mapping[str, Stage]) -> None:
        self.config, self.splits, self.stages = config, splits, stages

    def __call__(self, stage: str) -> list[str]:
        """Settings of a stage that will have no effect.

        Raises:
            UserError: what the stage would end with after hours.
            Unreachable: its backbone is on a hub that does not answer.
        """
        look = getattr(self, f"_{stage}", None)
        found: list[str] = look(self._stage(stage)) if look else []
        return found + self._quantized(stage)

    def _quantized(self, stage: str) -> list[str]:
        """Weights in four bits on a machine without a GPU."""
        keys = [key for key in NF4_KEYS if key.startswith(f"{stage}.") and self._says(key, "nf4")]
        if not keys:
            return []
        import torch

        for key in keys:
            check_nf4(key)
        there = torch.cuda.is_available()
        return [] if there else [f"{key}: nf4 needs an NVIDIA GPU, and this machine has none." for key in keys]

    def _loadable(self, holder: Any, where: str) -> None:
        """Refuse models that what runs them for a generator, solver or judge could not load."""
        for name, engine in MODELS:
            spec = getattr(holder, name, None)
            if isinstance(spec, str) and hasattr(holder, engine):
                runs = getattr(holder, engine) or TransformersEngine()
                runs.check_model(spec, f"{where}.{name.removesuffix('_spec')}")

    def _says(self, key: str, value: str) -> bool:
        return bool(lookup(self.config.document, key) == value)

    def _stage(self, name: str) -> Any:
        return self.stages[name]

    def _given(self, key: str) -> bool:
        """Whether anyone but the package has set the key."""
        return any(lookup(layer.tree, key) is not ABSENT for layer in self.config.layers[1:])

    def _prepare(self, stage: Any) -> list[str]:
        notes, references = [], self.splits["reference"]
        groups = len({record["group"] for record in references})
        if stage.subset.share < 1 and groups < FEW_GROUPS:
            left = f"{groups} group{'s'[groups == 1 :]} of references, {len(references)} rows"
            notes.append(f"prepare.subset.share {stage.subset.share} leaves {left}.")
        if stage.noise.source is not None and not any(record.get("foreign") for record in references):
            notes.append(f"prepare.noise.source has no effect: share {stage.noise.share} replaces no group.")
        sources = {"prepare.source": stage.source, "prepare.noise.source": stage.noise.source}
        return notes + _idle_splits({key: source for key, source in sources.items() if source is not None})

    def _tune(self, stage: Any) -> list[str]:
        data, model = stage.data, stage.described()
        check_weights(model.backbone_spec, f"tune.model{'' if stage.named is None else '.init_args'}.backbone")
        spec, cut = data["tokenizer"], (data["max_length"], data["too_long"])
        lengths = [text_lengths(self.splits[name], spec, *cut, f"split {name}") for name in ("reference", "heldout")]
        longest = max(tokens for split in lengths for tokens in split)
        model.check_context(longest, positions_of(model.backbone_spec), bos_count(spec))
        stage.check_samples()
        owners = sample_indices(self.splits["reference"])
        idle = stage.idle_settings(owners)
        if isinstance(model, PromptTuningSettings) and model.loss.pairs == "none":
            keys = ("num_sample_tokens", "sample_init", "sample_rank", "sample_learning_rate")
            given = [f"tune.model.{key}" for key in keys if self._given(f"tune.model.{key}")]
            idle += [f"{key} has no effect: the loss asks for no sample tokens." for key in given]
        return idle

    def _finetune(self, stage: Any) -> list[str]:
        if stage.source == "none":
            return []
        check_weights(stage.model["backbone"], "finetune.model.backbone")
        # Where `prepare` completes the records by running them, all are answered by then.
        answered = self.splits if stage.domain.fills_answers else stage.answered(self.splits)
        notes: list[str] = []
        kept: dict[str, dict[str, int]] = {}
        for name in ("reference", "heldout"):
            records = [] if name == "reference" and stage.source == "synthetic" else answered[name]
            kept[name] = self._kept_pairs(stage, name, records, notes)
        references = len(kept["reference"])
        self._check_size(stage, references)
        limit = positions_of(stage.model["backbone"])
        check_positions(limit, kept["reference"] | kept["heldout"], 0, "finetune.data.max_length", SHORTER_PAIRS)
        owners = list(range(stage.data["size"] or references)) if stage.source == "reference" else None
        notes += stage.idle_settings(owners)
        if limit is not None and stage.data["max_length"] > limit and stage.source != "reference":
            longer = f"finetune.data.max_length {stage.data['max_length']} is more than the model's {limit} positions"
            notes.append(f"{longer}: a synthetic pair between the two would end the stage.")
        return notes

    def _kept_pairs(self, stage: Any, split: str, records: Sequence[Record], notes: list[str]) -> dict[str, int]:
        """Tokens of the pairs that are no longer than `data.max_length`, by name; the others are noted, or refused."""
        most, key = stage.data["max_length"], "finetune.data.max_length"
        lengths = pair_lengths([_pair(stage.domain, record) for record in records], stage.data["tokenizer"])
        tokens = {f"the pair of '{record['id']}'": count for record, (count, _) in zip(records, lengths, strict=True)}
        kept = {name: count for name, count in tokens.items() if count <= most}
        long, longest = len(tokens) - len(kept), max(tokens.values(), default=0)
        told = (
            f"{key} {most}: {long} of {len(tokens)} pairs of split {split} are longer, the longest of {longest} tokens"
        )
        if long and stage.data["too_long"] == "error":
            raise UserError(f"{told}. Raise it, or set finetune.data.too_long=drop.")
        if long and not kept and split == stage.source:
            raise UserError(f"{told}, and none is left to train on. Raise it.")
        if long:
            notes.append(f"{told}; they are left out.")
        return kept

    def _check_size(self, stage: Any, references: int) -> None:
        """Refuse a `size` that a stage's data cannot have, whatever becomes of the candidates."""
        most = {"reference": references, "synthetic": 0, "both": references}[stage.source]
        if stage.source != "reference":
            most += self._stage("synthesize").stop.candidates
        if stage.data["size"] is not None:
            drawn(most, stage.data["size"], 0)

    def _synthesize(self, stage: Any) -> list[str]:
        generator, stop = stage.generator, stage.stop
        notes = read_back(stage.domain, self.splits["reference"]) + self._keys(generator)
        self._loadable(generator, "synthesize.generator.init_args")
        if isinstance(generator, PromptedGenerator):
            generator.read([str(row["text"]) for row in self.splits["reference"]])
            generator.check_rows(range(min(stop.candidates, ASKED)), stage.seed)
        sampling, backbone = getattr(generator, "sampling", None), getattr(generator, "backbone_spec", None)
        if sampling is None:
            return notes
        most = stop.candidates * sampling.max_new_tokens
        if not isinstance(generator, BARE) and most < (stop.tokens or 0):
            raise UserError(
                f"synthesize.stop.tokens {stop.tokens} is never reached: {stop.candidates} candidates "
                f"(stop.candidates) of at most {sampling.max_new_tokens} tokens have {most}. Raise stop.candidates."
            )
        if backbone is None:
            return notes
        name, prompt = "the first token", 1
        if generator.learned == "soft_prompt":
            name, tune = "the prompt of soft tokens", self._stage("tune")
            sampled = getattr(generator, "sample_tokens", "none") != "none"
            if sampled and tune.described().loss.pairs == "none":
                raise UserError(
                    f"synthesize.generator.init_args.sample_tokens: {generator.sample_tokens}, and the loss of `tune` "
                    "asks for no sample tokens. Set it to none, or name another tune.model.loss."
                )
            prompt = bos_count(backbone) + tune.model["domain_prompt"].num_tokens
            prompt += tune.described().num_sample_tokens if sampled else 0
        where = "synthesize.generator.init_args.max_new_tokens"
        limit = positions_of(backbone)
        check_positions(limit, {name: prompt}, sampling.max_new_tokens, where, SHORTER)
        return notes + self._greedy("synthesize.generator.init_args", sampling)

    def _curate(self, stage: Any) -> list[str]:
        notes: list[str] = []
        for number, judge in enumerate(stage.filters):
            self._loadable(judge, f"curate.filters.{number}.init_args")
            if isinstance(judge, Contaminated):
                where = f"curate.filters.{number}.init_args.benchmarks"
                notes += _idle_splits({f"{where}.{n}": source for n, source in enumerate(judge.benchmarks)})
            if isinstance(judge, LMJudge) and not (judge.engine is not None and judge.engine.remote):
                prompts = {
                    f"the question about '{record['id']}'": judge.question(record["text"])
                    for record in self.splits["reference"][:ASKED]
                }
                where = f"curate.filters.{number}.init_args.sampling.max_new_tokens"
                check_lengths(judge.backbone, prompts, judge.sampling.max_new_tokens, where)
        return notes

    def _answer(self, stage: Any) -> list[str]:
        for holder, key in ((stage.solver, "solver"), (stage.judge, "judge")):
            self._loadable(holder, f"answer.{key}")
        named = {"embedding": stage.embedding, **{f"measures.{n}": each for n, each in enumerate(stage.measures)}}
        for key, measure in named.items():
            if isinstance(measure, (GVendi, HiddenStates)):
                check_weights(measure.backbone, f"answer.{key}.init_args.backbone")
        domain, settings = stage.domain, [field.name for field in fields(stage.agreement) if field.name != "seed"]
        used = domain.agreement_settings if domain.needs_solutions else frozenset()
        idle = [f"answer.agreement.{name}" for name in settings if used is not None and name not in used]
        kind = type(domain).__name__
        told = [f"{key} has no effect: {kind} compares no answers with it." for key in idle if self._given(key)]
        if stage.solver is None:
            keys = [key for key in ("answer.solver", "answer.judge") if lookup(self.config.document, key)]
            return told + [f"{key} has no effect: {kind} asks no language model." for key in filter(self._given, keys)]
        solver, where = stage.solver, "answer.solver.sampling"
        if solver.engine is not None and solver.engine.remote:  # what it can take is not known here
            return told + self._keys(solver)
        self._questions(domain, self.splits["reference"], solver.backbone, solver.sampling, where)
        return told

    def _evaluate(self, stage: Any) -> list[str]:
        from domino_lightning.stages.evaluate import in_turn

        backbone = self._stage("finetune").model["backbone"]
        stage.engine.check_model(backbone, "finetune.model.backbone")
        problems = in_turn(self.splits["test"])[: stage.limit] if stage.domain.graded else []
        self._questions(stage.domain, problems, backbone, stage.sampling, "evaluate")
        if not stage.domain.graded:
            kind = type(stage.domain).__name__
            given = [f"evaluate.{key}" for key in ANSWERED if self._given(f"evaluate.{key}")]
            return [f"{key} has no effect: {kind} grades no answers, so that none are generated." for key in given]
        for problem in problems[:1]:  # what it measures by is seen to be that before there is an answer to measure
            stage.domain.measures(problem, stage.domain.smoke_answer(stage.domain.prompt(problem)[-1]["content"]))
        notes = self._greedy("evaluate", stage.sampling)
        above = [k for k in stage.k or () if k > stage.completions]
        notes += self._breakdown(stage.breakdown, problems)
        return notes + [f"evaluate.k: pass@{k} is left out, since samples is {stage.completions}." for k in above]

    def _breakdown(self, breakdown: Breakdown, problems: Sequence[Record]) -> list[str]:
        """Settings of parts that someone has asked for, and of which there will be none."""
        parts, date_field = breakdown.parts(problems), breakdown.date_field
        asked = [("fields", name) for name in breakdown.fields] + [
            ("date_field", date_field),
            ("boundaries", date_field),
        ]
        return [
            f"evaluate.breakdown.{key} has no effect: the problems do not differ in '{name}', if they have it."
            for key, name in asked
            if self._given(f"evaluate.breakdown.{key}") and not any(part.startswith(f"{name}=") for part in parts)
        ]

    def _questions(self, domain: Any, records: Sequence[Record], backbone: str, sampling: Any, where: str) -> None:
        prompts = {f"the prompt of '{record['id']}'": domain.prompt(record) for record in records[:ASKED]}
        check_lengths(backbone, prompts, sampling.max_new_tokens, f"{where}.max_new_tokens")

    def _keys(self, holder: Any) -> list[str]:
        """Keys of APIs that are not set on this machine."""
        engines = [each for each in vars(holder).values() if isinstance(each, APIEngine)]
        names = [each.api_key_env for each in engines if each.api_key_env and not os.environ.get(each.api_key_env)]
        user = type(holder).__name__
        return [f"the environment variable {name}, whose key {user} needs, is not set here." for name in names]

    def _greedy(self, group: str, sampling: Any) -> list[str]:
        if sampling.temperature:
            return []
        given = [f"{group}.{key}" for key in ("top_p", "min_p") if self._given(f"{group}.{key}")]
        return [f"{key} has no effect at temperature 0, which is greedy." for key in given]


def _idle_splits(sources: Mapping[str, Source]) -> list[str]:
    """Splits that someone has named of files, which have none."""
    return [
        f"{key}.split has no effect: '{source.path}' is a file, and {source.split} a split of a hub dataset."
        for key, source in sources.items()
        if source.split != Source.split and not source.has_splits
    ]


def _pair(domain: Any, record: Record) -> list[Message]:
    """A record's chat pair; with an empty answer where it is not known yet, so that it has no more tokens."""
    if domain.has_answer(record):
        found: list[Message] = domain.pair(record)
        return found
    return [*domain.prompt(record), {"role": "assistant", "content": ""}]
