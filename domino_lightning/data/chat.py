"""Chats as tokens: prompts, and pairs that end with the assistant's answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_THOUGHT = "</think>"  # templates of reasoning models keep what comes after it

_SHOWN = "A generator that shows examples needs another model."
# What a domain may leave out of its prompts, and how that is said, the least first.
_OMISSIONS = (
    (True, False, "Leave the system message out: domain.init_args.system=null."),
    (False, True, f"Leave the worked example out: domain.init_args.example=false. {_SHOWN}"),
    (
        True,
        True,
        "Leave system message and worked example out: domain.init_args.system=null and domain.init_args.example=false. "
        + _SHOWN,
    ),
)


class Unfit(ValueError):
    """A conversation that a chat template refuses, or of which it leaves something out; the words go on "its ..."."""


def rendered(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, ask: bool) -> str:
    """The chat template's text of a conversation, in which everything is that was said.

    Args:
        messages: what was said; of an assistant's, what comes before the end of its thoughts may be left out.
        tokenizer: it has a chat template.
        ask: end it where the assistant is to speak.

    Raises:
        Unfit: there is no such text.
    """
    text = _text(messages, tokenizer, ask)
    for each in messages:
        said = each["content"]
        if (said.rpartition(_THOUGHT)[2] if each["role"] == "assistant" else said).strip() not in text:
            raise Unfit(f"its chat template leaves the {each['role']} message out, or alters it, without a word")
    return text


def _text(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, ask: bool) -> str:
    from jinja2 import TemplateError

    chat = [dict(each) for each in messages]
    try:
        return str(tokenizer.apply_chat_template(chat, add_generation_prompt=ask, tokenize=False))
    except TemplateError as error:
        roles = ", ".join(each["role"] for each in messages)
        raise Unfit(f"its chat template refuses a conversation of {roles} ({error})") from None


def encode_prompt(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of a conversation up to where the assistant is to speak; of none, what stands before any text.

    Raises:
        UserError: the tokenizer has no chat template, or one that refuses the conversation or drops a part of it.
    """
    from domino_lightning.models.backbone import bos_ids

    if not messages:
        return bos_ids(tokenizer)
    backbone = f"backbone '{tokenizer.name_or_path}'"
    if not tokenizer.chat_template:
        raise UserError(f"{backbone}: its tokenizer has no chat template. Use an instruct model.")
    try:
        text = rendered(messages, tokenizer, ask=True)
    except Unfit as error:
        raise UserError(f"{backbone}: {error}. {_remedy(messages, tokenizer)}") from None
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def _remedy(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    """What to leave out so that the template takes the rest; another model where nothing helps."""
    for system, earlier, words in _OMISSIONS:
        omitted = [system if each["role"] == "system" else earlier for each in messages[:-1]]
        kept = [each for each, out in zip(messages, [*omitted, False], strict=True) if not out]
        if len(kept) < len(messages):
            with suppress(Unfit):
                rendered(kept, tokenizer, ask=True)
                return words
    return "Use another instruct model."


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that the chat template puts after an assistant's answer, if it puts one.

    In some families it is not the EOS (Llama 3 has `<|eot_id|>` beside `<|end_of_text|>`), and a model that is
    not stopped at it goes on to write the next turn.
    """
    if not tokenizer.chat_template:
        return None
    chat: list[Message] = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": "Answer"}]
    try:
        text = _text(chat, tokenizer, ask=False).rpartition("Answer")[2]
    except Unfit:  # it takes no answers, so nothing comes after one
        return None
    ids = tokenizer(text.lstrip(), add_special_tokens=False).input_ids
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return ids[0] if ids and ids[0] in special else None


def encode_pair(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], int]:
    """Token ids of a conversation with its answer and one EOS, and where the answer starts.

    A single message is a raw text, without chat template; its first token is not scored unless a BOS predicts it.
    """
    prompt = encode_prompt(messages[:-1], tokenizer)
    answer = tokenizer(messages[-1]["content"], add_special_tokens=False).input_ids
    return [*prompt, *answer, tokenizer.eos_token_id], max(1, len(prompt))
