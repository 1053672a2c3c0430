"""Magpie: what an instruct model writes where its chat template has the user speak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domino_lightning.data.chat import Unfit, rendered
from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import Engine, Prompt
from domino_lightning.generation.sampling import Sampling
from domino_lightning.synthesis.generators.base import KEY
from domino_lightning.synthesis.generators.prompted import PromptedGenerator

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SAMPLING = Sampling(temperature=1.0, max_new_tokens=96)  # the paper's temperature
EXAMPLES = "Users send you texts such as these:"
_HERE = "WHERE-THE-USER-SPEAKS"  # a word that templates neither strip nor change


class Magpie(PromptedGenerator):
    """An instruct model continues its own chat template from where the user speaks (Xu et al. 2024, arXiv 2406.08464).

    Bare, it writes whatever users ask. For a domain, a system message says what they ask (`system`, the paper's
    section on domains), or shows it by references (`shots`).

    Args:
        backbone: backbone spec of an instruct model, as it is.
        shots: references in the system message, drawn anew for each row.
        system: system message; empty: what the template puts there by itself.
        sampling: how tokens are drawn.
        engine: what runs the model; null: `TransformersEngine` with its defaults.
    """

    def __init__(
        self,
        backbone: str,
        shots: int = 0,
        system: str = "",
        sampling: Sampling = SAMPLING,
        engine: Engine | None = None,
    ) -> None:
        super().__init__(backbone, shots, sampling, engine)
        self.system = system

    def read(self, texts: Sequence[str]) -> None:
        """Take the references and the template of the model's tokenizer.

        Raises:
            UserError: too few references, or a template that has no place for the user or the system message.
        """
        from domino_lightning.models.backbone import load_tokenizer

        super().read(texts)
        self.tokenizer = load_tokenizer(self.backbone)
        self.prompt(0, 0)  # a template that cannot do it is told before anything is sampled

    def prompt(self, row: int, seed: int) -> Prompt:
        """The template's text up to where the user's begins."""
        shown = "\n\n".join([EXAMPLES, *self.chosen(row, seed)]) if self.shots else ""
        return before_the_user(self.tokenizer, "\n\n".join(part for part in (self.system, shown) if part))


def before_the_user(tokenizer: PreTrainedTokenizerBase, system: str = "") -> str:
    """A chat template's text before the first user's, without BOS, which is put before every text.

    Raises:
        UserError: there is no template, or none with a place for `system`.
    """
    named = f"backbone '{tokenizer.name_or_path}'"
    if not tokenizer.chat_template:
        raise UserError(f"{named}: its tokenizer has no chat template. Use an instruct model.")
    given: list[Message] = [{"role": "system", "content": system}] if system else []
    remedy = "Set system='' and shots=0, or take another model." if system else "Take another model."
    try:
        before = rendered([*given, {"role": "user", "content": _HERE}], tokenizer, ask=False).partition(_HERE)[0]
    except Unfit as error:
        raise UserError(f"{KEY}: {named}: {error}. {remedy}") from None
    if system.strip() not in before:
        raise UserError(f"{KEY}: {named}: its chat template puts the system message behind the user's. {remedy}")
    return before.removeprefix(tokenizer.bos_token or "")
