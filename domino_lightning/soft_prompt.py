"""The exported domain tokens: safetensors beside JSON, checked against backbone and tokenizer when loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.records import read_json, sha256_text, write_json
from domino_lightning.resources import backbone_hash
from domino_lightning.synthesis.engine import Sampling, decode, row_noise
from domino_lightning.synthesis.generators import Sampled

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


class SoftPrompt:
    """Domain tokens with the backbone they were learned on, ready to generate.

    Attributes:
        domain: (D, H) float32.
        description: content of `soft_prompt.json`.
    """

    def __init__(self, domain: Tensor, description: dict[str, Any], backbone: str) -> None:
        from domino_lightning.backbone import bos_ids, load_backbone, load_tokenizer

        self.domain, self.description = domain, description
        self.model = load_backbone(backbone)
        if torch.cuda.is_available():
            self.model.to("cuda")  # type: ignore[arg-type]
        self.tokenizer = load_tokenizer(backbone)
        embed = self.model.get_input_embeddings()
        start = embed(torch.tensor(bos_ids(self.tokenizer), dtype=torch.long, device=self.model.device))
        self.prefix = torch.cat([start, domain.to(self.model.device, start.dtype)]).detach()
        self.eos_ids = frozenset({self.tokenizer.eos_token_id})

    @classmethod
    def load(cls, directory: str | Path, backbone: str | None = None) -> SoftPrompt:
        """Read an export and its backbone.

        Args:
            directory: holds `soft_prompt.safetensors` and `soft_prompt.json`.
            backbone: spec to use; by default the one named in the export.

        Raises:
            UserError: files missing, or the backbone or tokenizer differs from the one D was learned on.
        """
        from safetensors.torch import load_file

        folder = Path(directory)
        description = read_json(folder / DESCRIPTION)
        spec = backbone or description["backbone"]
        found = backbone_hash(spec, "backbone")
        if found != description["backbone_hash"]:
            raise UserError(
                f"{folder / DESCRIPTION}: learned on backbone '{description['backbone']}' with hash "
                f"{description['backbone_hash'][:12]}; '{spec}' has {found[:12]}. Use that backbone, or tune again."
            )
        soft_prompt = cls(load_file(str(folder / WEIGHTS))["domain"], description, spec)
        if tokenizer_hash(soft_prompt.tokenizer) != description["tokenizer_hash"]:
            raise UserError(f"{folder / DESCRIPTION}: the tokenizer of '{spec}' differs from the one used in tuning.")
        return soft_prompt

    def sample(self, rows: Sequence[int], seed: int, sampling: Sampling) -> list[Sampled]:
        """Texts of the given row numbers, decoded as one batch."""
        noise = row_noise(rows, sampling.max_new_tokens, seed)
        decoded = decode(self.model, self.prefix, [[] for _ in rows], noise, sampling, self.eos_ids)
        return [
            Sampled(str(self.tokenizer.decode(ids, skip_special_tokens=True)), done, len(ids)) for ids, done in decoded
        ]

    def generate(
        self, count: int, temperature: float = 0.8, max_new_tokens: int = 128, seed: int = 0, top_p: float = 1.0
    ) -> list[str]:
        """`count` texts from the domain tokens."""
        sampling = Sampling(temperature, top_p, max_new_tokens)
        return [sampled.text for sampled in self.sample(range(count), seed, sampling)]
