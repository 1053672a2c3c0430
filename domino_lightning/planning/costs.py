"""What each stage costs, from its section, the data and the shapes of its models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.config.layers import lookup
from domino_lightning.models.attention import UnsupportedAttention
from domino_lightning.planning.cost import Cost, Growth
from domino_lightning.planning.decoding import decoding
from domino_lightning.planning.flops import ModelShape, Sequences, fed_tokens, flops, shared_sequences
from domino_lightning.planning.schedule import accumulated, prompts, share_of, steps, validations
from domino_lightning.planning.step_memory import predicted_coder_peak, predicted_peak
from domino_lightning.planning.weights import (
    BYTES,
    computed_dtype,
    frozen_dtype,
    mixed_bytes,
    model_bytes,
    shape_of,
)
from domino_lightning.stages import stage_class
from domino_lightning.stages.training import ranks
from domino_lightning.utils.jsonl import Record

ENGINE_ROWS = "evaluate.engine.init_args.batch_size"
TRAINING_SHARE = 0.65  # of the rate of matrix products, as measured on two CPU cores (docs/performance.md)


class Costs:
    """The estimates of an experiment's stages; call it with a stage's name.

    Args:
        config: the experiment.
        splits: its data as `prepare` splits it.
        gpu: plan for a GPU with bfloat16, whatever this machine has.
    """

    def __init__(self, config: Config, splits: Mapping[str, Sequence[Record]], gpu: bool = False) -> None:
        self.config, self.splits, self.gpu = config, splits, gpu
        self.built: dict[str, Any] = {}
        self.rough: dict[str, str] = {}  # what is said of backbones whose code cannot be followed

    def __call__(self, stage: str) -> Cost:
        """The estimate of a stage.

        Raises:
            UserError: its section, its data or its backbone is not fine.
            Unreachable: its backbone is on a hub that does not answer.
        """
        made: Cost = getattr(self, f"_{stage}")()
        return made

    def _stage(self, name: str) -> Any:
        if name not in self.built:
            self.built[name] = stage_class(name).from_config(self.config)
        return self.built[name]

    def _prepare(self) -> Cost:
        rows = sum(map(len, self.splits.values()))
        workers = self._stage("prepare").runtime.workers
        if not self._stage("prepare").domain.executes:
            return Cost(f"{rows} records")
        return Cost(f"{rows} records, checked by running them", programs=rows, workers=workers)

    def _tune(self) -> Cost:
        stage = self._stage("tune")
        model, data, trainer = stage.model, stage.data, stage.trainer
        if "domain_prompt" not in model:
            return self._tune_adapter(stage)
        shape = shape_of(spec := model["backbone"])
        batch, S = int(data["batch_size"]), int(model["num_sample_tokens"])
        D = int(model["domain_prompt"].num_tokens)
        rows, L = len(self.splits["reference"]), self.text_tokens
        world = ranks(self.config.document["tune"]) * int(trainer.get("num_nodes") or 1)
        met = batch // world if model["negatives"] == "local" else batch  # texts whose prompts a text may meet
        K = prompts(model["loss"].pairs, met)
        S = S if K else 0
        count, together = steps(trainer, rows, batch), accumulated(trainer, rows, batch)
        step = shared_sequences(batch, D, S, L, K)  # of a batch; a step has `together` of them
        held = len(self.splits["heldout"])
        looks = validations(trainer, count, rows, batch) * share_of(trainer, held, batch)
        watched = [Sequences(looks * held, L, D, L)]
        if every := stage.runtime.health_every_n_steps:
            n = min(stage.runtime.probe_size, rows)
            watched.append(Sequences(count // every * (n + (n * n if K else 0)), L, D + S, L))
        work = count * together * flops(shape, step, backward=1) + flops(shape, watched)
        mine = max(1, batch // world)  # texts of a rank
        if (micro := model.get("pair_micro_batch")) and mine * (1 + K) > micro:  # one more forward pass of the texts
            work += count * together * flops(shape, [part for part in step if part.scored])
        dtype, longest = frozen_dtype(model, trainer, self.gpu), max(self.text_lengths)
        bos, numbers = self._bos(model["backbone"]), S * (model.get("sample_rank") or shape.hidden)
        kept = 12.0 * math.ceil(self._samples() / world) * numbers + 16 * D * shape.hidden
        kept += mixed_bytes(shape, dtype, trainer, 1 if micro is None else 2)

        def memory(b: int) -> float:
            met = b if model["negatives"] == "local" else b * world
            each = prompts(model["loss"].pairs, met)
            size = (b, D + bos, S, longest, each, dtype if dtype == "nf4" else computed_dtype(dtype, trainer))
            fed = [Sequences(1, D), Sequences(b, longest, D, longest), Sequences(min(met, b * each), S)]
            fed += [Sequences(min(b * each, micro) if micro else b * each, longest)]
            rough = model_bytes(shape, dtype) + fed_tokens(fed) * shape.kept * BYTES[computed_dtype(dtype, trainer)]
            return kept + self._or_rough(spec, lambda: predicted_peak(_config(spec), *size, micro, met), rough)

        peak = memory(mine)
        pairs = f", each under {K} sample prompts too" if K else ""
        return Cost(
            f"{count} steps of {batch * together} texts of {L:.0f} tokens{pairs}{self.rough.get(spec, '')}",
            tokens=count * together * fed_tokens(step) + fed_tokens(watched),
            flops=work,
            share=TRAINING_SHARE,
            memory=peak,
            dtype=computed_dtype(dtype, trainer),
            ranks=world,
            growth=Growth("tune.data.batch_size", mine, world, memory),
        )

    def _synthesize(self) -> Cost:
        stage = self._stage("synthesize")
        generator, rows = stage.generator, stage.stop.candidates
        sampling, backbone = getattr(generator, "sampling", None), getattr(generator, "backbone_spec", None)
        if sampling is None or backbone is None:
            return Cost(f"at most {rows} rows of {type(generator).__name__}, which is not estimated")
        length = min(sampling.max_new_tokens, self.text_tokens)
        tune = self._stage("tune").model
        D = int(tune["domain_prompt"].num_tokens) if generator.learned == "soft_prompt" else 1
        what = f"at most {rows} rows, if they are as long as references: {length:.0f} tokens"
        key = "synthesize.generator.init_args.engine.init_args.batch_size"
        return self._decoding(what, backbone, generator.engine, key, rows, D, 0, length, sampling.max_new_tokens)

    def _curate(self) -> Cost:
        stage = self._stage("curate")
        rows = self._candidates()
        names = [type(each).__name__ for each in stage.filters]
        runs = 2 * names.count("Executes") if stage.domain.executes else 0
        what = f"at most {rows} rows" + (f", each run {runs} times" if runs else "")
        judged = "; a judge is not estimated" if "LMJudge" in names else ""
        return Cost(what + judged, programs=runs * rows, workers=stage.runtime.workers)

    def _answer(self) -> Cost:
        stage = self._stage("answer")
        found = self._answered(stage)
        return found if stage.judge is None else replace(found, what=f"{found.what}; a judge is not estimated")

    def _answered(self, stage: Any) -> Cost:
        """What answering costs but for the judge."""
        rows, solver = self._candidates(), stage.solver
        if solver is None and not stage.domain.executes:
            return Cost(f"at most {rows} records")
        if solver is None:
            return Cost(f"at most {rows} records, executed", programs=rows, workers=stage.runtime.workers)
        new, count = solver.sampling.max_new_tokens, rows * solver.samples
        if solver.engine is not None and solver.engine.remote:
            return Cost(f"at most {count} requests to an API, which are not estimated", programs=count)
        asked = self._prompt_tokens(stage.domain, solver.backbone)
        what = f"at most {rows} records × {solver.samples} solutions of {new} tokens"
        key = "answer.solver.engine.init_args.batch_size"
        found = self._decoding(what, solver.backbone, solver.engine, key, count, 0, asked, new, new)
        return self._executing(found, count, stage)

    def _finetune(self) -> Cost:
        stage = self._stage("finetune")
        if stage.source == "none":
            return Cost("the untouched backbone")
        L, answered, longest = self._pair_tokens(stage.domain, stage.model["backbone"])
        rows = {"reference": len(self.splits["reference"]), "synthetic": self._candidates()}
        rows["both"] = sum(rows.values())
        size = stage.data.get("size") or rows[stage.source]
        return self._fitted(stage, min(size, rows[stage.source]), "pairs", L, answered, longest)

    def _tune_adapter(self, stage: Any) -> Cost:
        """A `tune` that trains an adapter on whole texts."""
        if "lora" not in stage.model:
            return Cost(f"{type(stage.described()).__name__}, which is not estimated")
        texts = self.text_lengths
        return self._fitted(stage, len(texts), "texts", self.text_tokens, self.text_tokens, max(texts))

    def _fitted(self, stage: Any, rows: int, unit: str, L: float, scored: float, longest: int) -> Cost:
        """Training weights or an adapter on so many rows of L tokens, of which some are scored."""
        model, data, trainer = stage.model, stage.data, stage.trainer
        shape, batch = shape_of(spec := model["backbone"]), int(data["batch_size"])
        count, together = steps(trainer, rows, batch), accumulated(trainer, rows, batch)
        step = [Sequences(batch, L, 0, scored)]
        held = len(self.splits["heldout"])
        looks = validations(trainer, count, rows, batch) * share_of(trainer, held, batch)
        watched = [Sequences(looks * held, L, 0, scored)]
        world = ranks({"trainer": trainer}) * int(trainer.get("num_nodes") or 1)
        lora, dtype = model.get("lora"), frozen_dtype(model, trainer, self.gpu)
        computed = dtype if dtype == "nf4" else computed_dtype(dtype, trainer)
        again = bool(getattr(stage.runtime, "gradient_checkpointing", False))
        trained = shape.parameters if lora is None else _lora_weights(shape, lora.rank)
        kept, mine = mixed_bytes(shape, dtype, trainer, 1), max(1, batch // world)

        def memory(b: int) -> float:
            activations = b * longest * shape.kept * BYTES[computed_dtype(computed)]
            rough = model_bytes(shape, dtype) + 12 * trained + activations
            size = (b, longest, min(longest, math.ceil(scored)), lora, computed, again)
            return kept + self._or_rough(spec, lambda: predicted_coder_peak(_config(spec), *size), rough)

        peak = memory(mine)
        kind = "all weights" if lora is None else f"LoRA of rank {lora.rank}"
        work = flops(shape, step, backward=2 if lora is None else 1) + again * flops(shape, step)
        return Cost(
            f"{count} steps of {batch * together} {unit} of {L:.0f} tokens, {kind}{self.rough.get(spec, '')}",
            tokens=count * together * batch * L + fed_tokens(watched),
            flops=count * together * work + flops(shape, watched),
            share=TRAINING_SHARE,
            memory=peak,
            dtype=computed_dtype(dtype, trainer),
            ranks=world,
            growth=Growth(f"{stage.name}.data.batch_size", mine, world, memory),
        )

    def _evaluate(self) -> Cost:
        stage = self._stage("evaluate")
        problems = min(len(self.splits["test"]), stage.limit or math.inf)
        if not stage.domain.graded:
            return Cost(f"perplexity of {int(problems)} texts")
        backbone = self._stage("finetune").model["backbone"]
        count, new = int(problems) * stage.completions, stage.sampling.max_new_tokens
        asked = self._prompt_tokens(stage.domain, backbone)
        what = f"{int(problems)} problems × {stage.completions} completions of at most {new} tokens"
        key = "evaluate.batch_size" if lookup(self.config.document, "evaluate.engine") is None else ENGINE_ROWS
        found = self._decoding(what, backbone, stage.engine, key, count, 0, asked, new, new)
        return self._executing(found, count, stage)

    def _executing(self, found: Cost, count: int, stage: Any) -> Cost:
        """The cost with that of executing what was decoded, where the domain executes."""
        if not stage.domain.executes:
            return found
        return Cost(**{**vars(found), "programs": count, "workers": stage.runtime.workers})

    def _decoding(self, what: str, backbone: str, engine: Any, key: str, *sizes: float) -> Cost:
        rows, shared, asked, new, limit = sizes
        shape, told = shape_of(backbone), key if hasattr(engine, "batch_size") else ""
        return decoding(what, shape, engine, rows, shared, asked, new, int(limit), self.gpu, told, backbone)

    def _or_rough(self, backbone: str, predict: Callable[[], int], rough: float) -> float:
        """The predicted bytes; those worked out from sizes where the model's code asks what its tensors hold."""
        try:
            return float(predict())
        except (RuntimeError, UnsupportedAttention):
            self.rough[backbone] = "; memory is worked out from the model's sizes, roughly"
            return rough

    def _candidates(self) -> int:
        return int(self._stage("synthesize").stop.candidates)

    def _samples(self) -> int:
        return len({row.get("group", row["id"]) for row in self.splits["reference"]})

    @property
    def text_tokens(self) -> float:
        """Mean tokens of a reference with its EOS, as `tune` cuts it."""
        return sum(self.text_lengths) / len(self.text_lengths)

    @cached_property
    def text_lengths(self) -> list[int]:
        """Tokens of every reference with its EOS, as `tune` cuts it."""
        from domino_lightning.data.text import encode_texts
        from domino_lightning.models.lookups import read_tokenizer

        data = self._stage("tune").data
        tokenizer = read_tokenizer(data["tokenizer"])
        rows = self.splits["reference"]
        texts = encode_texts(rows, tokenizer, data["max_length"], data["too_long"], "split reference")
        return list(map(len, texts))

    def _bos(self, backbone: str) -> int:
        from domino_lightning.models.backbone import bos_ids
        from domino_lightning.models.lookups import read_tokenizer

        return len(bos_ids(read_tokenizer(backbone)))

    def _prompt_tokens(self, domain: Any, backbone: str) -> float:
        """Mean tokens of a question, over the test problems that are evaluated first."""
        from domino_lightning.data.chat import encode_prompt
        from domino_lightning.models.lookups import read_tokenizer

        tokenizer = read_tokenizer(backbone)
        asked = [len(encode_prompt(domain.prompt(row), tokenizer)) for row in self.splits["test"][:200]]
        return sum(asked) / len(asked)

    def _pair_tokens(self, domain: Any, backbone: str) -> tuple[float, float, int]:
        """Mean tokens of a reference as a chat pair and of its answer, and those of the longest pair.

        Where none is answered, those of questions.
        """
        from domino_lightning.data.chat import encode_pair
        from domino_lightning.models.lookups import read_tokenizer

        tokenizer = read_tokenizer(backbone)
        rows = [row for row in self.splits["reference"] if domain.has_answer(row)]
        pairs = [encode_pair(domain.pair(row), tokenizer) for row in rows]
        if not pairs:
            new = self._stage("evaluate").sampling.max_new_tokens
            whole = self._prompt_tokens(domain, backbone) + new
            return whole, new, math.ceil(whole)
        tokens = [len(ids) for ids, _ in pairs]
        whole = sum(tokens) / len(tokens)
        return whole, whole - sum(start for _, start in pairs) / len(pairs), max(tokens)


@cache
def _config(spec: str) -> Any:
    from domino_lightning.models.backbone import causal_config

    return causal_config(spec)


def _lora_weights(shape: ModelShape, rank: int) -> float:
    """Weights of adapters on all linear layers, taken as square: 2 · rank · side each."""
    return 2 * rank * shape.linear / shape.hidden
