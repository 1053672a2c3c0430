"""From prompts to token ids, the same way for every engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from domino_lightning.data.chat import encode_prompt
from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import Prompt
from domino_lightning.models.backbone import SHORTER, bos_ids, check_positions
from domino_lightning.models.lookups import kept_counts, positions_of, read_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class PromptIds:
    """Lays prompts out as the chat template or `[BOS] text` has it.

    Args:
        tokenizer: of the model.
        behind_domain: whether domain tokens stand before every prompt, and BOS before them.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, behind_domain: bool = False) -> None:
        self.tokenizer, self.behind_domain = tokenizer, behind_domain
        self.bos = bos_ids(tokenizer)

    def ids(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt; BOS before a text, unless it stands before the domain tokens.

        Raises:
            UserError: nothing to begin with.
        """
        if not isinstance(prompt, str):
            return encode_prompt(prompt, self.tokenizer)
        ids = list(self.tokenizer(prompt, add_special_tokens=False).input_ids)
        if self.behind_domain:
            return ids
        if not self.bos and not ids:
            raise UserError("engine: an empty prompt, and the tokenizer has no BOS to begin with.")
        return [*self.bos, *ids]


def check_lengths(backbone: str, prompts: Mapping[str, Prompt], new: int, where: str, remedy: str = SHORTER) -> None:
    """Refuse prompts behind which a backbone has too few positions for `new` tokens; its weights are not loaded.

    Raises:
        UserError: see `check_positions`; or what a chat template refuses.
    """

    def count() -> list[int]:
        laid_out = PromptIds(read_tokenizer(backbone))
        return [len(laid_out.ids(prompt)) for prompt in prompts.values()]

    tokens = kept_counts(backbone, ["prompt", *prompts.values()], count)
    check_positions(positions_of(backbone), dict(zip(prompts, tokens, strict=True)), new, where, remedy)


def end_ids(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel | None = None) -> frozenset[int]:
    """Ids that end a text: the EOS, what the model's generation settings name beside it, a chat's end of turn."""
    from domino_lightning.data.chat import end_of_turn

    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = {tokenizer.eos_token_id, end_of_turn(tokenizer), *(named if isinstance(named, list) else [named])}
    return frozenset(each for each in ids if isinstance(each, int))
