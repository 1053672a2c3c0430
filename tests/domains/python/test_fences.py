"""Fenced blocks: where they begin and end, also where their own code holds fences."""

from __future__ import annotations

import pytest

from domino_lightning.domains.python.extraction import find_program
from domino_lightning.domains.python.fences import fenced_blocks

DOCUMENTED = '''def f(x):
    """Add one.

    ```python
    f(1)
    ```
    """
    return x + 1'''
AT_THE_MARGIN = '''PAGE = """
```
text
```

```python
f(1)
```
"""

def f(x):
    return x + 1'''


@pytest.mark.parametrize(
    ("text", "bodies"),
    [
        ("```python\na = 1\n```\nthen\n```\nb = 2\n```", ["a = 1\n", "b = 2\n"]),
        ("```python\na = 1\n```python\nb = 2\n```", ["a = 1\n", "b = 2\n"]),
        ("~~~\na = 1\n```\n~~~", ["a = 1\n```\n"]),
        ("```python\r\na = 1\r\n```\r\n", ["a = 1\r\n"]),
        ("```\na = 1", ["a = 1"]),
        ("```\na = 1```\nb", ["a = 1"]),
        ("```\nthat is no code\n```\nand\n```\nnone either\n```", ["that is no code\n", "none either\n"]),
        (f"```python\n{DOCUMENTED}\n```\n", [f"{DOCUMENTED}\n"]),
        ("no block", []),
    ],
)
def test_blocks_are_what_lies_between_fences(text: str, bodies: list[str]) -> None:
    assert [text[start:end] for _, start, end in fenced_blocks(text)] == bodies


@pytest.mark.parametrize("code", [DOCUMENTED, AT_THE_MARGIN, DOCUMENTED.replace('"""', "'''")])
@pytest.mark.parametrize(
    "shape",
    [
        "```python\n{}\n```",
        "Here:\n\n```python\n{}\n```\n\nIt adds one.",
        "```python\n{}\n```\n\nUse:\n\n```python\nprint(f(1))\n```\n",
        "First:\n```\npip install x\n```\nThen:\n```python\n{}\n```",
        "```python\n{}",
        "~~~python\n{}\n~~~",
        "```python\n{}\n```<|im_end|>",
    ],
)
def test_a_fence_in_a_string_ends_no_block(code: str, shape: str) -> None:
    assert find_program(shape.format(code), "", "f") == code
