"""Where candidate texts come from. Light to import: torch is loaded when a generator is opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domino_lightning.config.nodes import ClassNode
from domino_lightning.domains.rows import CandidateRow
from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, Sampled, backbone_contents
from domino_lightning.generation.sampling import Sampling
from domino_lightning.store.work import Section
from domino_lightning.utils.contract import Contract, one_each
from domino_lightning.utils.jsonl import read_jsonl
from domino_lightning.utils.seeding import derived_seed

if TYPE_CHECKING:
    from torch import Tensor


KEY = "synthesize.generator.init_args"


class Generator(Contract, ABC, more="docs/synthesis.md says what a generator gives."):
    """A source of candidate texts, named by `class_path` under `synthesize.generator`.

    Attributes:
        learned: what it samples of a `tune` stage, as `DomainLearner.learned` has it; empty: nothing.
        on_tokens: what to call with the number of tokens generated since the last call; set by the stage.
    """

    learned: str = ""
    on_tokens: Callable[[int], None] | None = None

    def __init_subclass__(cls) -> None:
        """A class that says anew how it generates, and not how it streams, streams what it generates."""
        super().__init_subclass__()
        if "generate" in vars(cls) and "stream" not in vars(cls):
            cls.stream, cls.queue = Generator.stream, Generator.queue  # type: ignore[method-assign]

    @property
    def queue(self) -> int:
        """Rows that it is best asked for at a time; 0: a block."""
        return 0

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """Stages whose directories `open` is given."""
        return ()

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """Keys of `init_args` that name outside content, with its hash."""
        return {}

    @classmethod
    def small(cls, init_args: Mapping[str, Any], backbone: str) -> dict[str, Any]:
        """Arguments of a smoke run over `init_args`: a tiny model in this process, few tokens."""
        small = {"backbone": backbone, "max_new_tokens": 8, "engine": None}
        return {key: value for key, value in small.items() if key in init_args}

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Load what generation needs. `inputs` maps stage names to finished directories."""
        return

    def check_rows(self, rows: Sequence[int], seed: int) -> None:
        """Refuse, before any is generated, rows that cannot be: prompts too long for their model, for example.

        Raises:
            UserError: it names the first row that cannot be, and how many others.
        """
        return

    def remember(self, rows: Sequence[CandidateRow]) -> None:
        """What was generated before: all rows of earlier runs after `open`, then each block once it is committed."""
        return

    @abstractmethod
    @one_each
    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Texts of the given row numbers; the same (rows, seed), and rows remembered, give the same texts."""

    @one_each
    def stream(self, rows: Sequence[int], seed: int) -> Iterator[Sampled]:
        """What `generate` gives, each text as soon as it and all before it are there, where that can be done."""
        return iter(self.generate(rows, seed))


class ModelGenerator(Generator):
    """Samples every row, by itself, from one language model; a subclass says how, by `ask`.

    Attributes:
        language_model: set by `open`.
    """

    language_model: LanguageModel

    @abstractmethod
    def ask(self, rows: Sequence[int], seed: int) -> Iterator[Sampled]:
        """The rows, in order, as one queue of the language model."""

    @property
    def queue(self) -> int:
        """The language model's."""
        return self.language_model.queue

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Sample the rows as one queue."""
        return list(self.ask(rows, seed))

    def stream(self, rows: Sequence[int], seed: int) -> Iterator[Sampled]:
        """Sample the rows as one queue."""
        return self.ask(rows, seed)


class SoftPromptGenerator(ModelGenerator):
    """Samples the backbone from the domain tokens alone: `[BOS] D`, then tokens until EOS.

    Args:
        backbone: backbone spec; it must be the one that D was tuned on.
        temperature: 0 is greedy.
        top_p: nucleus; 1 keeps all tokens.
        min_p: drops tokens less likely than this share of the likeliest; 0 keeps all.
        repetition_penalty: above 1 it lowers the logits of tokens that the row has generated.
        max_new_tokens: a row that reaches it is not finished.
        sample_tokens: soft tokens between D and a text, for ablations: none, those of a random reference for every
            row (`random`), or the mean over all references (`dummy`).
        engine: what runs the backbone; null: `TransformersEngine` with its defaults.
    """

    learned = "soft_prompt"

    def __init__(
        self,
        backbone: str,
        temperature: float = 0.8,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        max_new_tokens: int = 96,
        sample_tokens: Literal["none", "random", "dummy"] = "none",
        engine: Engine | None = None,
    ) -> None:
        self.backbone_spec, self.sample_tokens, self.engine = backbone, sample_tokens, engine
        self.sampling = Sampling(temperature, top_p, min_p, repetition_penalty, max_new_tokens)

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The tuned soft prompt."""
        return ("tune",)

    @classmethod
    def contents(cls, init_args: Mapping[str, Any]) -> dict[str, str]:
        """The backbone."""
        return backbone_contents(init_args, KEY)

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Load the backbone and the soft prompt, which must belong together."""
        self.samples: Tensor | None = None  # (N, S, H)
        if self.sample_tokens != "none":
            from domino_lightning.models.soft_prompt import read_sample_tokens

            self.samples = read_sample_tokens(inputs["tune"])
            if self.sample_tokens == "dummy":
                self.samples = self.samples.mean(dim=0, keepdim=True)
        engine = self.engine or TransformersEngine()
        self.language_model = engine.load(ModelSource.of_soft_prompt(inputs["tune"], self.backbone_spec))

    def ask(self, rows: Sequence[int], seed: int) -> Iterator[Sampled]:
        """Behind the domain tokens."""
        own = None
        if self.samples is not None:  # whose tokens a row gets is a function of (seed, row), as its noise is
            own = [self.samples[derived_seed("sample", seed, row) % len(self.samples)] for row in rows]
        return self.language_model.stream([""] * len(rows), rows, seed, self.sampling, self.on_tokens, own)


class HeldoutReplay(Generator):
    """Gives the held-out texts themselves, in turn: an upper bound for any learned generator."""

    @classmethod
    def inputs(cls, init_args: Mapping[str, Any]) -> tuple[str, ...]:
        """The prepared splits."""
        return ("prepare",)

    def open(self, inputs: Mapping[str, Path]) -> None:
        """Read the held-out texts."""
        self.texts = [row["text"] for row in read_jsonl(inputs["prepare"] / "heldout.jsonl", required=("text",))]

    def generate(self, rows: Sequence[int], seed: int) -> list[Sampled]:
        """Text k modulo their number."""
        texts = [self.texts[row % len(self.texts)] for row in rows]
        return [Sampled(text, True, len(text.split())) for text in texts]


def generator_node(section: Section) -> tuple[type[Generator], ClassNode]:
    """Class and node of the `generator` in a section, or in another generator's arguments.

    Raises:
        UserError: it names no generator.
    """
    node = ClassNode.read(section.get("generator"))
    if node is None:
        named = f"synthesize.generator: {section.get('generator')!r} names no class"
        raise UserError(f"{named}. Give generator.class_path.")
    return node.load(Generator, "synthesize.generator"), node
