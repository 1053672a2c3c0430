"""What each stage costs, from its section, the data and the shapes of its models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from domino_lightning.config.document import Config
from domino_lightning.nn.prompted_nll import LOGITS_BYTES
from domino_lightning.planning.flops import (
    ModelShape,
    Sequences,
    fed_tokens,
    flops,
    model_shape,
    shared_sequences,
)
from domino_lightning.stages import stage_class
from domino_lightning.stages.epochs import limited
from domino_lightning.stages.training import ranks
from domino_lightning.utils.jsonl import Record

# Shares of the rate of matrix products, as measured on two CPU cores (docs/performance.md).
TRAINING_SHARE, DECODING_SHARE = 0.65, 0.45
SLOTS = 96  # rows at a time, for engines that do not say


@dataclass(frozen=True)
class Cost:
    """An estimate; zeros where there is nothing of the kind.

    Attributes:
        what: what it was worked out from, in words.
        tokens: that a model is fed, given or generated.
        flops: of all ranks together.
        share: of the rate of matrix products that this kind of work reaches.
        read: bytes of weights and states that decoding reads, which bounds it where it is not bound by FLOPs.
        memory: bytes of one process at its peak, without Python and libraries.
        dtype: that products are computed in.
        programs: executed.
        workers: of them at a time.
        ranks: processes that share the FLOPs.
    """

    what: str
    tokens: float = 0.0
    flops: float = 0.0
    share: float = 1.0
    read: float = 0.0
    memory: float = 0.0
    dtype: str = "float32"
    programs: float = 0.0
    workers: int = 1
    ranks: int = 1


class Costs:
    """The estimates of an experiment's stages; call it with a stage's name.

    Args:
        config: the experiment.
        splits: its data as `prepare` splits it.
    """

    def __init__(self, config: Config, splits: Mapping[str, Sequence[Record]]) -> None:
        self.config, self.splits = config, splits
        self.built: dict[str, Any] = {}

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
        return Cost(f"{rows} records, checked by running them", programs=rows, workers=workers)

    def _tune(self) -> Cost:
        stage = self._stage("tune")
        model, data, trainer = stage.model, stage.data, stage.trainer
        if "domain_prompt" not in model:
            return self._tune_adapter(stage)
        shape = _shape(model["backbone"])
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
        looks = validations(trainer, count, rows, batch) * _share_of(trainer, held, batch)
        watched = [Sequences(looks * held, L, D, L)]
        if every := stage.runtime.health_every_n_steps:
            n = min(stage.runtime.probe_size, rows)
            watched.append(Sequences(count // every * (n + (n * n if K else 0)), L, D + S, L))
        work = count * together * flops(shape, step, backward=1) + flops(shape, watched)
        micro = model.get("pair_micro_batch")
        if micro and K:  # one more forward pass of the pairs
            work += count * together * flops(shape, step[-1:])
        kept = fed_tokens(step) / world
        if micro and K:
            kept = fed_tokens(step[:-1]) / world + min(micro, batch * K / world) * L
        numbers = S * (model.get("sample_rank") or shape.hidden)
        memory = (
            _weights(shape, model, trainer)
            + kept * shape.kept * _number_bytes(model, trainer)
            + _logits(shape, fed_tokens([part for part in step if part.scored]) / world)
            + 12 * math.ceil(self._samples() / world) * numbers
            + 16 * D * shape.hidden
        )
        pairs = f", each under {K} sample prompts too" if K else ""
        return Cost(
            f"{count} steps of {batch * together} texts of {L:.0f} tokens{pairs}",
            tokens=count * together * fed_tokens(step) + fed_tokens(watched),
            flops=work,
            share=TRAINING_SHARE,
            memory=memory,
            dtype=_dtype(model, trainer),
            ranks=world,
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
        return decoding(what, _shape(backbone), generator.engine, rows, D, 0, length, sampling.max_new_tokens)

    def _curate(self) -> Cost:
        stage = self._stage("curate")
        rows = self._candidates()
        names = [type(each).__name__ for each in stage.filters]
        runs = 2 * names.count("Executes")
        what = f"at most {rows} rows" + (f", each run {runs} times" if runs else "")
        judged = "; a judge is not estimated" if "LMJudge" in names else ""
        return Cost(what + judged, programs=runs * rows, workers=stage.runtime.workers)

    def _answer(self) -> Cost:
        stage = self._stage("answer")
        rows, solver = self._candidates(), stage.solver
        if solver is None:
            return Cost(f"at most {rows} records, executed", programs=rows, workers=stage.runtime.workers)
        new, count = solver.sampling.max_new_tokens, rows * solver.samples
        if solver.engine is not None and solver.engine.remote:
            return Cost(f"at most {count} requests to an API, which are not estimated", programs=count)
        asked = self._prompt_tokens(stage.domain, solver.backbone)
        what = f"at most {rows} records × {solver.samples} solutions of {new} tokens"
        found = decoding(what, _shape(solver.backbone), solver.engine, count, 0, asked, new, new)
        return Cost(**{**vars(found), "programs": count, "workers": stage.runtime.workers})

    def _finetune(self) -> Cost:
        stage = self._stage("finetune")
        if stage.source == "none":
            return Cost("the untouched backbone")
        L, answered = self._pair_tokens(stage.domain, stage.model["backbone"])
        rows = {"reference": len(self.splits["reference"]), "synthetic": self._candidates()}
        rows["both"] = sum(rows.values())
        return self._fitted(stage, rows[stage.source], "pairs", L, answered)

    def _tune_adapter(self, stage: Any) -> Cost:
        """A `tune` that trains an adapter on whole texts."""
        if "lora" not in stage.model:
            return Cost(f"{stage.module_class.__name__}, which is not estimated")
        return self._fitted(stage, len(self.splits["reference"]), "texts", self.text_tokens, self.text_tokens)

    def _fitted(self, stage: Any, rows: int, unit: str, L: float, scored: float) -> Cost:
        """Training weights or an adapter on so many rows of L tokens, of which some are scored."""
        model, data, trainer = stage.model, stage.data, stage.trainer
        shape, batch = _shape(model["backbone"]), int(data["batch_size"])
        count, together = steps(trainer, rows, batch), accumulated(trainer, rows, batch)
        step = [Sequences(batch, L, 0, scored)]
        held = len(self.splits["heldout"])
        looks = validations(trainer, count, rows, batch) * _share_of(trainer, held, batch)
        watched = [Sequences(looks * held, L, 0, scored)]
        world = ranks({"trainer": trainer}) * int(trainer.get("num_nodes") or 1)
        lora = model.get("lora")
        trained = shape.parameters if lora is None else _lora_weights(shape, lora.rank)
        memory = (
            _weights(shape, model, trainer)
            + 12 * trained  # gradient and two moments
            + batch * L / world * shape.kept * _number_bytes(model, trainer)
            + _logits(shape, batch * scored / world)
        )
        kind = "all weights" if lora is None else f"LoRA of rank {lora.rank}"
        return Cost(
            f"{count} steps of {batch * together} {unit} of {L:.0f} tokens, {kind}",
            tokens=count * together * batch * L + fed_tokens(watched),
            flops=count * together * flops(shape, step, backward=2 if lora is None else 1) + flops(shape, watched),
            share=TRAINING_SHARE,
            memory=memory,
            dtype=_dtype(model, trainer),
            ranks=world,
        )

    def _evaluate(self) -> Cost:
        stage = self._stage("evaluate")
        problems = min(len(self.splits["test"]), stage.limit or math.inf)
        backbone = self._stage("finetune").model["backbone"]
        count, new = int(problems) * stage.completions, stage.sampling.max_new_tokens
        asked = self._prompt_tokens(stage.domain, backbone)
        what = f"{int(problems)} problems × {stage.completions} completions of at most {new} tokens"
        found = decoding(what, _shape(backbone), stage.engine, count, 0, asked, new, new)
        return Cost(**{**vars(found), "programs": count, "workers": stage.runtime.workers})

    def _candidates(self) -> int:
        return int(self._stage("synthesize").stop.candidates)

    def _samples(self) -> int:
        return len({row.get("group", row["id"]) for row in self.splits["reference"]})

    @cached_property
    def text_tokens(self) -> float:
        """Mean tokens of a reference with its EOS, as `tune` cuts it."""
        from domino_lightning.data.reference import encode_texts
        from domino_lightning.models.backbone import load_tokenizer

        data = self._stage("tune").data
        tokenizer = load_tokenizer(data["tokenizer"])
        rows = self.splits["reference"]
        texts = encode_texts(rows, tokenizer, data["max_length"], data["too_long"], "split reference")
        return sum(map(len, texts)) / len(texts)

    def _prompt_tokens(self, domain: Any, backbone: str) -> float:
        """Mean tokens of a question, over the test problems that are evaluated first."""
        from domino_lightning.data.chat import encode_prompt
        from domino_lightning.models.backbone import load_tokenizer

        tokenizer = load_tokenizer(backbone)
        asked = [len(encode_prompt(domain.prompt(row), tokenizer)) for row in self.splits["test"][:200]]
        return sum(asked) / len(asked)

    def _pair_tokens(self, domain: Any, backbone: str) -> tuple[float, float]:
        """Mean tokens of a reference as a chat pair, and of its answer; of questions alone where none is answered."""
        from domino_lightning.data.chat import encode_pair
        from domino_lightning.models.backbone import load_tokenizer

        tokenizer = load_tokenizer(backbone)
        rows = [row for row in self.splits["reference"] if domain.has_answer(row)]
        pairs = [encode_pair(domain.pair(row), tokenizer) for row in rows]
        if not pairs:
            new = self._stage("evaluate").sampling.max_new_tokens
            return self._prompt_tokens(domain, backbone) + new, new
        whole = sum(len(ids) for ids, _ in pairs) / len(pairs)
        return whole, whole - sum(start for _, start in pairs) / len(pairs)


def decoding(
    what: str, shape: ModelShape, engine: Any, rows: float, shared: float, asked: float, new: float, limit: int
) -> Cost:
    """Generating `new` tokens a row, and room for `limit`, behind `shared` tokens encoded once and `asked` own ones."""
    slots = min(getattr(engine, "batch_size", SLOTS), max(1, rows))
    dtype = dtype_here(getattr(engine, "dtype", "auto"))
    size = 4 if dtype == "float32" else 2
    passes = [Sequences(1, shared), Sequences(rows, asked, shared), Sequences(rows, new, shared + asked, new)]
    states = shape.cached * size
    held = states * (shared + slots * (asked + limit))
    turns = rows / slots * new
    return Cost(
        what,
        tokens=fed_tokens(passes),
        flops=flops(shape, passes),
        share=DECODING_SHARE,
        read=turns * (shape.parameters * size + states * (shared + slots * (asked + new / 2))),
        memory=shape.parameters * size + held + 8 * slots * shape.vocabulary,
        dtype=dtype,
    )


def prompts(pairs: str | int, batch: int) -> int:
    """K, the sample prompts that a text is scored under."""
    named = {"none": 0, "own": 1, "all": batch}
    return named[pairs] if isinstance(pairs, str) else 1 + min(pairs, batch - 1)


def steps(trainer: Mapping[str, Any], rows: int, batch: int) -> int:
    """Optimizer steps that a trainer section takes on so many rows."""
    together = int(trainer.get("accumulate_grad_batches") or 1)
    batches = limited(trainer.get("limit_train_batches"), math.ceil(rows / batch))
    limit, epochs = trainer.get("max_steps", -1), trainer.get("max_epochs")
    if epochs is None:
        epochs = 1000 if limit < 0 else -1  # as Lightning reads it
    counts = [limit] if limit >= 0 else []
    if epochs >= 0:
        counts.append(epochs * math.ceil(batches / together))
    return min(counts, default=0)


def validations(trainer: Mapping[str, Any], count: int, rows: int, batch: int) -> float:
    """How often held-out data is looked at in `count` steps."""
    interval = trainer.get("val_check_interval") or 1.0
    epoch = math.ceil(rows / batch)
    every = interval * epoch if isinstance(interval, float) else interval
    return count * accumulated(trainer, rows, batch) // max(1, every)


def accumulated(trainer: Mapping[str, Any], rows: int, batch: int) -> int:
    """Batches of a step; no more than an epoch has, since Lightning takes a step at its end."""
    batches = limited(trainer.get("limit_train_batches"), math.ceil(rows / batch))
    return max(1, min(int(trainer.get("accumulate_grad_batches") or 1), batches))


def _share_of(trainer: Mapping[str, Any], rows: int, batch: int) -> float:
    """The share of held-out rows that `limit_val_batches` leaves."""
    limit = trainer.get("limit_val_batches")
    if isinstance(limit, int) and rows:
        return min(1.0, limit * batch / rows)
    return limit if isinstance(limit, float) else 1.0


@cache
def _shape(spec: str) -> ModelShape:
    return model_shape(spec)


def _dtype(model: Mapping[str, Any], trainer: Mapping[str, Any]) -> str:
    return "bfloat16" if "16" in str(trainer.get("precision")) else _frozen_dtype(model)


def _frozen_dtype(model: Mapping[str, Any]) -> str:
    """Of the backbone's weights; a coder without an adapter trains them, in float32."""
    trained = "lora" in model and model["lora"] is None
    return "float32" if trained else dtype_here(model["backbone_dtype"])


def dtype_here(dtype: str) -> str:
    """The dtype that `auto` comes to on this machine."""
    import torch

    from domino_lightning.models.backbone import weights_dtype

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return str(weights_dtype(dtype, device)).removeprefix("torch.")


def _number_bytes(model: Mapping[str, Any], trainer: Mapping[str, Any]) -> int:
    return 2 if _dtype(model, trainer) == "bfloat16" else 4


def _weights(shape: ModelShape, model: Mapping[str, Any], trainer: Mapping[str, Any]) -> int:
    """Under mixed precision the weights themselves stay in the backbone's dtype."""
    half = str(trainer.get("precision")) in {"bf16-true", "16-true"} or _frozen_dtype(model) == "bfloat16"
    return shape.parameters * (2 if half else 4)


def _logits(shape: ModelShape, scored: float) -> float:
    return min(LOGITS_BYTES, 4 * scored * shape.vocabulary)


def _lora_weights(shape: ModelShape, rank: int) -> float:
    """Weights of adapters on all linear layers, taken as square: 2 · rank · side each."""
    return 2 * rank * shape.linear / shape.hidden
