"""Which marks are the model's own, and which belong to its code."""

from __future__ import annotations

import time

import pytest

from domino_lightning.domains.python.extraction import find_program
from domino_lightning.domains.python.marks import answer_part

ENDS = (
    "</s>", "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>",
    "<|EOT|>", "<end_of_turn>", "<｜end▁of▁sentence｜>", "<|END_OF_TURN_TOKEN|>",
)  # fmt: skip
MARKS = ("</think>", "</thinking>", *ENDS)


def code(mark: str) -> str:
    return f'def plain(text):\n    # takes {mark} out\n    return text.replace("{mark}", "")'


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(
    "shape",
    [
        "{code}",
        "Here it is:\n\n```python\n{code}\n```\n",
        "Here it is:\n\n```python\n{code}",  # cut off, or stopped at the fence
        "It's done.\n\n```\n{code}\n```\nIt's `plain` that removes `{mark}`, isn't it?",
        "I take '{mark}' out:\n```python\n{code}\n```",
        '<think>\nRemove "{mark}".\n</think>\n```python\n{code}\n```',
        "<think>\n```python\ndef plain(t): return t\n</think>\n\n```python\n{code}\n```<|im_end|>\n<|im_start|>user",
        "```python\n{code}\n```\n</s>\n```python\ndef plain(text): return 0\n```",
        "1. The program:\n\n    ```python\n    def plain(text):\n        return text.replace('{mark}', '')\n    ```\n",
        "[PYTHON]\n{code}\n[/PYTHON]</s>",
    ],
)
def test_a_program_may_handle_a_mark(mark: str, shape: str) -> None:
    found = find_program(shape.replace("{code}", code(mark)).replace("{mark}", mark), "", "plain")
    assert found is not None
    namespace: dict[str, object] = {}
    exec(found, namespace)
    assert namespace["plain"](f"a{mark}b") == "ab"  # type: ignore[operator]


@pytest.mark.parametrize("mark", ENDS)
def test_the_end_of_a_turn_is_none_of_the_program_in_any_familys_spelling(mark: str) -> None:
    program = "def f(x):\n    return x - 3"
    assert find_program(f"{program}{mark}", "", "f") == program
    assert find_program(f"Here:\n\n{program}\n{mark}\nuser\nthanks", "", "f") == program


def test_a_program_may_handle_code_llamas_tags() -> None:
    program = "def f(t):\n    return t.split('[PYTHON]')[1].split('[/PYTHON]')[0]"
    assert find_program(f"[PYTHON]\n{program}\n[/PYTHON]", "", "f") == program
    assert find_program(f"So:\n```python\n{program}\n```", "", "f") == program


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a</s>", "a"),
        ("a</s>\n<s>[INST] b", "a"),
        ("a</s>[INST] b", "a"),
        ("It's a.</s>It's b.", "It's a."),
        ("a<|im_end|> b", "a"),
        ("<s>old</s> new", "<s>old</s> new"),
        ("the </s> tag", "the </s> tag"),
        ("x</think>a", "a"),
        ("x</think>y</think>a<|eot_id|>b", "a"),
        ("```python\nx = 1\n<|im_end|>\ny = 2", "```python\nx = 1\n"),
        ("```python\nx = 1<|im_end|>\nnot python", "```python\nx = 1"),
        ("```python\nx = '<|im_end|>'\nnot python", "```python\nx = '<|im_end|>'\nnot python"),
        ("```python\nx = '''\n<|im_end|>'''\n```\nb</s>c", "```python\nx = '''\n<|im_end|>'''\n```\nb"),
        ("```\nno code </s>\n```", "```\nno code "),
        ("", ""),
    ],
)
def test_the_answer_lies_between_the_marks(text: str, left: str) -> None:
    assert answer_part(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "```python\n" + "x = '</s>' +\n" * 1500,
        "</think>" * 2400,
        "'\\" * 9000 + "</s>",
        "```python\nx(\n" + "</s> a\n" * 2500,
        '"' * 19_000 + "</s>",
    ],
)
def test_many_marks_take_no_time(text: str) -> None:
    started = time.process_time()
    answer_part(text)
    assert time.process_time() - started < 20  # seconds; without bounds these are minutes
