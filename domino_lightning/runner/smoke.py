"""--smoke: any experiment in seconds, on a tiny random model, with every stage running for real."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domino_lightning.config.document import Config, Layer, class_of, lookup
from domino_lightning.data.source import Source
from domino_lightning.domains.base import Domain
from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, Prompt, Sampled
from domino_lightning.generation.sampling import Sampling
from domino_lightning.runner.step import construct
from domino_lightning.store.contents import HUB_DATASET, PIP
from domino_lightning.synthesis.generators.base import Generator, HeldoutReplay, generator_node

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 64  # raw rows that a smoke run looks at


class SmokeGenerator(Generator):
    """Runs another generator, then puts held-out texts in place of every other row.

    A random model writes nothing that parses; so the stages after synthesis would have nothing to do.

    Args:
        generator: the one to exercise.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.replay = HeldoutReplay()

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The inner generator's, and the held-out texts."""
        inner, inner_args = generator_node(init_args)
        return tuple(sorted({"prepare", *inner.inputs(inner_args)}))

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The inner generator's."""
        inner, inner_args = generator_node(init_args)
        return {f"generator.init_args.{key}": digest for key, digest in inner.contents(inner_args).items()}

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Open both."""
        self.generator.open(inputs)
        self.replay.open(inputs)

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Odd rows from the inner generator, even rows from the held-out texts."""
        self.generator.on_tokens = self.on_tokens
        sampled = self.generator.generate(rows, seed)
        replayed = self.replay.generate([row // 2 for row in rows], seed)
        return [own if row % 2 else text for row, own, text in zip(rows, sampled, replayed, strict=True)]


class SmokeEngine(Engine):
    """Runs another engine, then puts solutions that agree with each other in place of what a random model wrote.

    Args:
        domain: class path of the domain, whose `any_solution` it puts there.
        engine: the one to exercise; null: `TransformersEngine` with its defaults.
    """

    def __init__(self, domain: str, engine: Engine | None = None) -> None:
        self.domain: type[Domain] = class_of(domain, "domain")
        self.engine = engine or TransformersEngine()

    def load(self, source: ModelSource) -> LanguageModel:
        """Load the inner engine's model."""
        return _SmokeModel(self.engine.load(source), self.domain)


class _SmokeModel(LanguageModel):
    def __init__(self, model: LanguageModel, domain: type[Domain]) -> None:
        self.model, self.domain = model, domain

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """One solution a prompt."""
        sampled = self.model.complete(prompts, rows, seed, sampling, on_tokens, sample_tokens)
        asked = [prompt if isinstance(prompt, str) else prompt[-1]["content"] for prompt in prompts]
        return [each._replace(text=self.domain.any_solution(text)) for each, text in zip(sampled, asked, strict=True)]


def smoke_layer(config: Config, folder: Path) -> Layer:
    """Overrides that make an experiment small; its classes, losses and filters stay as they are."""
    from domino_lightning.models.tiny import save_tiny_backbone

    backbone = str(save_tiny_backbone(folder / "tiny-backbone").resolve())
    document, path = config.document, _small_source(config.document)
    trainer: dict[str, Any] = {"max_steps": 2, "max_epochs": None, "val_check_interval": 1}
    trainer |= {"check_val_every_n_epoch": None}
    trainer |= {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "precision": "32-true"}
    runtime = {"checkpoint_every_n_steps": 1, "num_workers": 0}
    tree: dict[str, Any] = {
        "root": str(folder),
        "backbone": backbone,
        "tracking": {"wandb": "disabled"},
        "prepare": {
            "source": {"path": path, "limit": ROWS, "fields": _small_fields(document, path)},
            "split": _small_split(config, path),
            **_small_noise(document),
        },
        "tune": {
            "model": {"backbone": backbone, **_small_init(document)},
            "data": {"tokenizer": backbone, "batch_size": 2, "max_length": 512, "too_long": "truncate"},
            "trainer": trainer,
            "runtime": runtime,
        },
        "synthesize": {
            "generator": _small_generator(document["synthesize"]["generator"], backbone),
            "block_size": 4,
            "stop": {"candidates": 8, "accepted": None},
        },
        "curate": {"filters": [_small_filter(node, backbone) for node in document["curate"]["filters"]]},
        **_small_solver(document, backbone),
        "finetune": {
            "model": {"backbone": backbone},
            "data": {"tokenizer": backbone, "batch_size": 2, "max_length": 2048},
            "trainer": trainer,
            "runtime": runtime,
        },
        "evaluate": {"limit": 4, "max_new_tokens": 4, "batch_size": 4, "heldout": 2, "engine": None},
    }
    return Layer("--smoke", tree)


def _small_filter(node: Any, backbone: str) -> Any:
    """A judge asks the tiny model, whose answers say nothing, so that it keeps what it cannot read."""
    init_args = node.get("init_args") if isinstance(node, dict) else None
    if not isinstance(init_args, dict) or "backbone" not in init_args:
        return node
    small: dict[str, Any] = {"backbone": backbone, "sampling": {"temperature": 0.0, "max_new_tokens": 4}}
    return {**node, "init_args": {**init_args, **small, "unparsable": "keep"}}


def _small_solver(document: dict[str, Any], backbone: str) -> dict[str, Any]:
    if not isinstance(document["answer"].get("solver"), dict):
        return {}
    init_args = {"domain": document["domain"]["class_path"], "engine": document["answer"]["solver"].get("engine")}
    engine = {"class_path": "domino_lightning.runner.smoke.SmokeEngine", "init_args": init_args}
    small = {"backbone": backbone, "samples": 2, "sampling": {"max_new_tokens": 4}, "block_size": 4, "engine": engine}
    return {"answer": {"solver": small, "agreement": {"own_tests": False}}}


def _small_source(document: dict[str, Any]) -> str:
    """The experiment's own data where it is at hand, or else the domain's embedded corpus."""
    path = str(document["prepare"]["source"]["path"])
    if _is_at_hand(path):
        return path
    corpus: str = class_of(document["domain"]["class_path"], "domain").corpus
    if not corpus:
        raise UserError(
            f"prepare.source.path: '{path}' is not at hand for --smoke, and the domain has no `corpus` in its place."
        )
    return corpus


def _small_fields(document: dict[str, Any], path: str) -> Any:
    """The field map belongs to the experiment's own data, not to the embedded corpus."""
    source = document["prepare"]["source"]
    return source.get("fields") if path == source["path"] else None


def _small_noise(document: dict[str, Any]) -> dict[str, Any]:
    """Foreign rows are left out where they are not at hand."""
    source = lookup(document, "prepare.noise.source")
    path = source.get("path") if isinstance(source, dict) else None
    return {} if path is None or _is_at_hand(str(path)) else {"noise": {"share": 0.0, "source": None}}


def _is_at_hand(path: str) -> bool:
    return path.startswith(PIP) or (not path.startswith(HUB_DATASET) and Path(path).is_file())


def _small_split(config: Config, path: str) -> dict[str, int | None]:
    """6, 4 and 4 groups, or fewer where the first rows hold fewer, which may all be of one date."""
    prepare: Any = construct("prepare", config)
    groups = set()
    fields = _small_fields(config.document, path)
    for where, row in Source(path, prepare.source.split, ROWS, fields).rows(skip_bad_lines=True):
        try:
            groups.add(prepare.domain.record(row, where)["group"])
        except UserError:  # the stage itself says what is wrong with the row
            continue
    others = max(1, min(4, len(groups) // 4))
    return {"reference": max(1, min(6, len(groups) - 2 * others)), "heldout": others, "test": others, "windows": None}


def _small_init(document: dict[str, Any]) -> dict[str, Any]:
    """Domain tokens of a larger model do not fit the tiny one, so they start from its vocabulary instead."""
    if lookup(document, "tune.model.domain_prompt.init_args.init") != "soft_prompt":
        return {}
    return {"domain_prompt": {"init_args": {"init": "vocabulary", "init_from": None}}}


def _small_generator(node: Any, backbone: str) -> dict[str, Any]:
    if not isinstance(node, dict) or "class_path" not in node:
        raise UserError(f"synthesize.generator: {node!r} names no class. Give generator.class_path.")
    init_args = dict(node.get("init_args") or {})
    for key, value in (("backbone", backbone), ("max_new_tokens", 8)):
        if key in init_args:
            init_args[key] = value
    if "engine" in init_args:  # a server or a GPU is not at hand in a smoke run
        init_args["engine"] = None
    inner = {"class_path": node["class_path"], "init_args": init_args}
    return {"class_path": "domino_lightning.runner.smoke.SmokeGenerator", "init_args": {"generator": inner}}
