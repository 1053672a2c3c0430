"""Prompts as a chat template writes them: nothing of what was said is lost, and a refusal names what would help."""

from __future__ import annotations

import pytest

from domino_lightning.data.chat import encode_prompt, end_of_turn
from domino_lightning.domains.rows import Message
from domino_lightning.errors import UserError
from domino_lightning.models.tiny import CHAT_TEMPLATE, byte_tokenizer

ASKED: Message = {"role": "user", "content": "What is two and three?"}
EXAMPLE: list[Message] = [{"role": "user", "content": "One and one?"}, {"role": "assistant", "content": "Two."}]
SYSTEM: Message = {"role": "system", "content": "Be brief."}
WITHOUT_SYSTEM = "Leave the system message out: domain.init_args.system=null."
SHOWN = "A generator that shows examples needs another model."
WITHOUT_EXAMPLE = f"Leave the worked example out: domain.init_args.example=false. {SHOWN}"
WITHOUT_BOTH = (
    "Leave system message and worked example out: domain.init_args.system=null and domain.init_args.example=false. "
    f"{SHOWN}"
)
OTHER = "Use another instruct model."
NO_ASSISTANT = (
    "{% for m in messages if m.role == 'assistant' %}{{ raise_exception('only you and me') }}{% endfor %}"
    + CHAT_TEMPLATE
)
NO_SYSTEM = CHAT_TEMPLATE.replace("for message in messages", "for message in messages if message['role'] != 'system'")
LAST = "{% set messages = messages[-1:] %}" + CHAT_TEMPLATE
BROKEN = "{% if messages %}"
CONSTANT = "Good morning"
LOUD = "{% for m in messages %}{{ m.content | upper }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "chat", "remedy"),
    [
        (NO_SYSTEM, [SYSTEM, *EXAMPLE, ASKED], WITHOUT_SYSTEM),
        (NO_ASSISTANT, [SYSTEM, *EXAMPLE, ASKED], WITHOUT_EXAMPLE),
        (NO_ASSISTANT, [*EXAMPLE, ASKED], WITHOUT_EXAMPLE),
        (LAST, [*EXAMPLE, ASKED], WITHOUT_EXAMPLE),
        (LAST, [SYSTEM, ASKED], WITHOUT_SYSTEM),
        (LAST, [SYSTEM, *EXAMPLE, ASKED], WITHOUT_BOTH),
        (BROKEN, [SYSTEM, *EXAMPLE, ASKED], OTHER),
        (CONSTANT, [SYSTEM, *EXAMPLE, ASKED], OTHER),
        (CONSTANT, [ASKED], OTHER),
        (LOUD, [ASKED], OTHER),
    ],
)
def test_a_template_that_refuses_or_drops_what_was_said_is_told_with_what_helps(
    template: str, chat: list[Message], remedy: str
) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(UserError) as caught:
        encode_prompt(chat, tokenizer)
    assert str(caught.value).endswith(remedy)
    omitted = [*[SYSTEM] * ("system" in remedy), *EXAMPLE * ("example" in remedy)]
    if omitted:
        encode_prompt([each for each in chat if each not in omitted], tokenizer)


def test_thoughts_of_earlier_answers_may_be_left_out() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m.content.split('</think>')[-1] | trim }}]{% endfor %}"
    thought: Message = {"role": "assistant", "content": "<think>Easy.</think>\n\nTwo."}
    assert tokenizer.decode(encode_prompt([EXAMPLE[0], thought, ASKED], tokenizer)).count("[") == 3


def test_a_template_that_takes_no_answers_ends_none() -> None:
    tokenizer = byte_tokenizer()
    usual = end_of_turn(tokenizer)
    tokenizer.chat_template = LAST
    assert usual is not None and end_of_turn(tokenizer) == usual
    tokenizer.chat_template = NO_ASSISTANT
    assert end_of_turn(tokenizer) is None
