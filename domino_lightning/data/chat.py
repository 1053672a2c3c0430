"""Chats as tokens: prompts, and pairs that end with the assistant's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode_prompt(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of a conversation up to where the assistant is to speak; of none, what stands before any text.

    Raises:
        UserError: the tokenizer has no chat template, or one that refuses the conversation or drops its system message.
    """
    from jinja2 import TemplateError

    from domino_lightning.models.backbone import bos_ids

    if not messages:
        return bos_ids(tokenizer)
    backbone = f"backbone '{tokenizer.name_or_path}'"
    if not tokenizer.chat_template:
        raise UserError(f"{backbone}: its tokenizer has no chat template. Use an instruct model.")
    chat = [dict(each) for each in messages]
    system = [each["content"].strip() for each in chat if each["role"] == "system"]
    remedy = "Leave the system message out: domain.init_args.system=null." if system else "Use another instruct model."
    try:
        text = str(tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
    except TemplateError as error:
        told = f"its chat template refuses a conversation of {', '.join(each['role'] for each in chat)}"
        raise UserError(f"{backbone}: {told} ({error}). {remedy}") from None
    if any(content not in text for content in system):
        raise UserError(f"{backbone}: its chat template leaves the system message out without a word. {remedy}")
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special token that the chat template puts after an assistant's answer, if it puts one.

    In some families it is not the EOS (Llama 3 has `<|eot_id|>` beside `<|end_of_text|>`), and a model that is
    not stopped at it goes on to write the next turn.
    """
    if not tokenizer.chat_template:
        return None
    chat = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": "Answer"}]
    text = str(tokenizer.apply_chat_template(chat, tokenize=False)).rpartition("Answer")[2]
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
