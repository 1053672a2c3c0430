"""One interface to whatever continues prompts: transformers in this process, or vLLM. Light to import."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from domino_lightning.config.nodes import ClassNode
from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError
from domino_lightning.generation.sampling import Sampling
from domino_lightning.store.contents import backbone_hash
from domino_lightning.utils.contract import Contract, one_each
from domino_lightning.utils.jsonl import read_object

if TYPE_CHECKING:
    from torch import Tensor

_MORE = "docs/synthesis.md says what an engine gives."

Prompt = str | Sequence[Message]  # a text to continue, or a chat for the assistant to answer


class Sampled(NamedTuple):
    """One text, whether it ended by itself (EOS), and its number of tokens without the EOS."""

    text: str
    finished: bool
    num_tokens: int

    def fault(self) -> str | None:
        """The field that cannot be what it is, if one cannot."""
        return "num_tokens" if self.num_tokens < 0 else None


@dataclass(frozen=True)
class ModelSource:
    """Which language model: a backbone, with an adapter on its weights or a soft prompt before every prompt.

    Args:
        backbone: backbone spec of the weights.
        tokenizer: backbone spec of the tokenizer; null: that of the backbone.
        adapter: directory of a PEFT adapter.
        soft_prompt: directory of a `tune` export.
    """

    backbone: str
    tokenizer: str | None = None
    adapter: Path | None = None
    soft_prompt: Path | None = None

    @classmethod
    def of_coder(cls, directory: Path) -> ModelSource:
        """The coder of a `finetune` directory: an adapter, a full model, or the untouched backbone.

        Raises:
            UserError: the backbone under it is another one now.
        """
        description, model = read_object(directory / "coder.json"), directory / "model"
        base = str(description["base"])
        known = description.get("base_hash")  # an earlier version does not name it
        if known is not None and backbone_hash(base, "finetune.model.backbone") != known:
            raise UserError(
                f"{directory / 'coder.json'}: made on backbone '{base}', which has changed since. Put it back, or run "
                "finetune again."
            )
        if description["adapter"]:
            return cls(base, adapter=model)
        return cls(str(model), tokenizer=base) if model.is_dir() else cls(base)

    @classmethod
    def of_soft_prompt(cls, directory: Path, backbone: str | None = None) -> ModelSource:
        """The domain tokens of a `tune` directory before the backbone they were learned on.

        Args:
            directory: holds `soft_prompt.safetensors` and `soft_prompt.json`.
            backbone: spec to use; by default the one named in the export. Another model is refused on loading.
        """
        return cls(backbone or str(read_object(directory / "soft_prompt.json")["backbone"]), soft_prompt=directory)


class LanguageModel(Contract, ABC, more=_MORE):
    """A loaded model that continues prompts.

    Attributes:
        queue: rows that it is best asked for at a time, for its slots to stay full; 0: as many as are committed.
    """

    queue: int = 0

    @abstractmethod
    @one_each
    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """One completion a prompt, in order.

        The call is a block: the same call gives the same texts, and what is in one call never touches another.

        Args:
            prompts: chats for the assistant to answer, or texts to continue; `""` continues the soft prompt alone.
            rows: the row number of each prompt; with `seed` it keys the row's noise.
            seed: of the noise.
            sampling: how tokens are drawn.
            on_tokens: called now and then with the number of tokens generated since the last call.
            sample_tokens: (S, H) soft tokens of each row, between the domain tokens and its prompt.

        Raises:
            UserError: a prompt for which the model has too few positions.
        """

    @one_each
    def stream(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> Iterator[Sampled]:
        """What `complete` gives, each text as soon as it and all before it are there, where a model can do that."""
        own = () if sample_tokens is None else (sample_tokens,)
        return iter(self.complete(prompts, rows, seed, sampling, on_tokens, *own))

    def check_prompts(self, prompts: Mapping[str, Prompt], sampling: Sampling, where: str) -> None:
        """Refuse, before anything is generated, a prompt for which the model has too few positions.

        Args:
            prompts: by the name of their row.
            sampling: says how many tokens will follow.
            where: key of the document that begins the message.

        Raises:
            UserError: it names the row. A model that lies elsewhere refuses the prompt itself.
        """
        return


class Engine(Contract, ABC, more=_MORE):
    """Settings of a way to run language models, named by `class_path`; light until `load`.

    Class attributes:
        remote: a model is known by its name alone: neither weights nor tokenizer are at hand to be hashed or looked at.
    """

    remote: ClassVar[bool] = False

    @abstractmethod
    def load(self, source: ModelSource) -> LanguageModel:
        """Bring a model into memory.

        Raises:
            UserError: it cannot be loaded, or its parts do not belong together.
        """

    def check_model(self, spec: str, where: str) -> None:
        """Refuse, before anything runs, a backbone that `load` could not load.

        Args:
            spec: of the backbone.
            where: key of the document that names it, which begins the message.

        Raises:
            UserError: it cannot be loaded, as far as that is known without its weights.
        """
        return


def backbone_contents(
    init_args: Mapping[str, Any], where: str, name: str = "backbone", engine: str = "engine"
) -> dict[str, str]:
    """The hash of the model that arguments of a class name, unless an engine runs it that knows it by name alone.

    Args:
        init_args: the arguments.
        where: dotted key that holds them.
        name: which of them names the model.
        engine: which of them is the engine.

    Raises:
        UserError: the model is not there, or the engine is none.
    """
    spec, node = init_args.get(name), ClassNode.read(init_args.get(engine))
    if not isinstance(spec, str):  # validation says what is wrong with it
        return {}
    if node is not None and node.load(Engine, f"{where}.{engine}").remote:
        return {}
    return {name: backbone_hash(spec, f"{where}.{name}")}
