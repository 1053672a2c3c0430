from __future__ import annotations

import pytest

from domino_lightning.data.chat import end_of_turn
from domino_lightning.generation.prompts import end_ids
from domino_lightning.testing import byte_tokenizer, tiny_model

TURN = "{% for m in messages %}<|start|>{{ m['role'] }}\n\n{{ m['content'] | trim }}"


@pytest.mark.parametrize(
    ("template", "token"),
    [
        (None, "<|end|>"),  # the tiny tokenizer's own
        (TURN + "<|begin|>{% endfor %}", "<|begin|>"),  # as Llama 3: another token than the EOS
        (TURN + "\n<|begin|>\n{% endfor %}", "<|begin|>"),
        (TURN + "\n{% endfor %}", None),
        (TURN + "### End\n{% endfor %}", None),  # no token of its own
    ],
)
def test_the_token_that_ends_an_answer_is_read_off_the_template(template: str | None, token: str | None) -> None:
    tokenizer = byte_tokenizer()
    if template is not None:
        tokenizer.chat_template = template
    expected = None if token is None else tokenizer.convert_tokens_to_ids(token)
    assert end_of_turn(tokenizer) == expected
    ends = {tokenizer.eos_token_id} | ({expected} if expected is not None else set())
    assert end_ids(tokenizer, tiny_model()) == ends


def test_without_a_template_there_is_none() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = None
    assert end_of_turn(tokenizer) is None
