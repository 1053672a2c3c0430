"""The exported domain tokens: safetensors beside JSON, checked against backbone and tokenizer when loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.records import read_json, sha256_text, write_json
from domino_lightning.resources import backbone_hash
from domino_lightning.synthesis.engines import TransformersEngine
from domino_lightning.synthesis.language_model import Engine, LanguageModel, ModelSource, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WEIGHTS, DESCRIPTION = "soft_prompt.safetensors", "soft_prompt.json"


def save_soft_prompt(
    directory: Path, domain: Tensor, backbone: str, tokenizer: PreTrainedTokenizerBase, **extra: Any
) -> None:
    """Write (D, H) domain tokens with the identity of what they belong to."""
    from safetensors.torch import save_file

    temporary = directory / f".{WEIGHTS}"
    save_file({"domain": domain.detach().float().cpu().contiguous()}, str(temporary))
    temporary.replace(directory / WEIGHTS)
    description = {
        "backbone": backbone,
        "backbone_hash": backbone_hash(backbone, "backbone"),
        "tokenizer_hash": tokenizer_hash(tokenizer),
        "num_tokens": domain.shape[0],
        "hidden_size": domain.shape[1],
        **extra,
    }
    write_json(directory / DESCRIPTION, description)


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of the vocabulary and its ids, which is what token embeddings depend on."""
    return sha256_text("\n".join(f"{index}\t{token}" for token, index in sorted(tokenizer.get_vocab().items())))


def read_soft_prompt(directory: Path, backbone: str) -> tuple[Tensor, dict[str, Any]]:
    """(D, H) float32 domain tokens of an export and the content of its `soft_prompt.json`.

    Raises:
        UserError: files missing, or the backbone or tokenizer differs from the one D was learned on.
    """
    from safetensors.torch import load_file

    from domino_lightning.backbone import load_tokenizer

    description = read_json(directory / DESCRIPTION)
    found = backbone_hash(backbone, "backbone")
    if found != description["backbone_hash"]:
        raise UserError(
            f"{directory / DESCRIPTION}: learned on backbone '{description['backbone']}' with hash "
            f"{description['backbone_hash'][:12]}; '{backbone}' has {found[:12]}. Use that backbone, or tune again."
        )
    if tokenizer_hash(load_tokenizer(backbone)) != description["tokenizer_hash"]:
        raise UserError(
            f"{directory / DESCRIPTION}: the tokenizer of '{backbone}' differs from the one used in tuning."
        )
    return load_file(str(directory / WEIGHTS))["domain"], description


class SoftPrompt:
    """Domain tokens with the backbone they were learned on, ready to generate.

    Attributes:
        domain: (D, H) float32.
        description: content of `soft_prompt.json`.
        language_model: the backbone behind them.
    """

    def __init__(self, domain: Tensor, description: dict[str, Any], language_model: LanguageModel) -> None:
        self.domain, self.description, self.language_model = domain, description, language_model

    @classmethod
    def load(cls, directory: str | Path, backbone: str | None = None, engine: Engine | None = None) -> SoftPrompt:
        """Read an export and its backbone.

        Args:
            directory: holds `soft_prompt.safetensors` and `soft_prompt.json`.
            backbone: spec to use; by default the one named in the export.
            engine: what runs the backbone; by default transformers in this process.

        Raises:
            UserError: files missing, or the backbone or tokenizer differs from the one D was learned on.
        """
        source = ModelSource.of_soft_prompt(Path(directory), backbone)
        domain, description = read_soft_prompt(Path(directory), source.backbone)
        return cls(domain, description, (engine or TransformersEngine()).load(source))

    def generate(
        self, count: int, temperature: float = 0.8, max_new_tokens: int = 128, seed: int = 0, top_p: float = 1.0
    ) -> list[str]:
        """`count` texts from the domain tokens."""
        sampling = Sampling(temperature, top_p, max_new_tokens=max_new_tokens)
        sampled = self.language_model.complete([""] * count, range(count), seed, sampling)
        return [each.text for each in sampled]
