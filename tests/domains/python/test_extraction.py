"""Programs out of what models write. `SHAPES` are shapes that models were seen to answer in."""

from __future__ import annotations

import ast
import json
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_lightning.domains.python.extraction import find_program, insert_before
from domino_lightning.utils.jsonl import read_jsonl

DOUBLE = "def double(x):\n    return 2 * x"
READS = "n = int(input())\nprint(n * 2)"

# {code} is the program; everything else is what models put around it.
SHAPES = {
    "bare": "{code}",
    "byte order mark": "\ufeff{code}",
    "fenced": "```python\n{code}\n```",
    "blank lines": "\n\n```python\n\n{code}\n\n```\n\n",
    "prose around": "Sure! Here's a solution:\n\n```python\n{code}\n```\n\nIt runs in O(n) time. Isn't that nice?",
    "capitals": "```Python\n{code}\n```",
    "python3": "```python3\n{code}\n```",
    "py": "```py\n{code}\n```",
    "attributes": '```python title="main.py"\n{code}\n```',
    "no label": "```\n{code}\n```",
    "tildes": "~~~python\n{code}\n~~~",
    "four backticks": "````python\n{code}\n````",
    "unclosed": "Here you go:\n```python\n{code}",
    "closed on the last line": "```python\n{code}```",
    "next fence closes": "```python\n{code}\n```bash\npython main.py\n```",
    "indented in a list": "1. The program:\n\n    ```python\n{indented}\n    ```\n\n2. Run it.",
    "drafts first": "```python\ndef draft(): pass\n```\nNo, that is wrong:\n```python\n{code}\n```",
    "shell after": "```python\n{code}\n```\nRun it:\n```bash\npython main.py < input.txt\n```",
    "pip before": "```bash\npip install numpy\n```\n```python\n{code}\n```",
    "sample output after": "```python\n{code}\n```\nOutput:\n```\n42\n```",
    "output block first": "```\n3\n1 2 3\n```\n```python\n{code}\n```",
    "json after": '```python\n{code}\n```\n```json\n{{"complexity": "O(n)"}}\n```',
    "thinking": "<think>\n```python\ndef double(x): return 0\nprint(input())\n```\n</think>\n```python\n{code}\n```",
    "end marker": "```python\n{code}\n```<|im_end|>\n<|im_start|>user\n```python\nprint(input())\n```",
    "end of text": "{code}\n</s>",
    "tags": "[PYTHON]\n{code}\n[/PYTHON]",
    "tags on one line with prose": "Here: [PYTHON]\n{code}\n[/PYTHON] Done.",
    "heading": "### Answer:\n\n```python\n{code}\n```\n\n### Explanation\n\nSee `double`.",
    "inline code before": "Use `double` or ```x```.\n\n```python\n{code}\n```",
    "carriage returns": "```python\r\n{crlf}\r\n```\r\n",
    "prose without a fence": "Here is the program.\n\n{code}\n\nIt's simple, isn't it?",
    "prose that begins like code": "from the statement we see that it's easy\n\n{code}\n\nfor all n it's right.",
}


def shaped(shape: str, code: str) -> str:
    return SHAPES[shape].format(code=code, indented=textwrap.indent(code, "    "), crlf=code.replace("\n", "\r\n"))


def same(found: str | None, code: str) -> bool:
    return found is not None and ast.dump(ast.parse(found)) == ast.dump(ast.parse(code))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_function_is_found_in_every_shape(shape: str) -> None:
    assert same(find_program(shaped(shape, DOUBLE), "", "double"), DOUBLE)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_program_that_reads_its_input_is_found_in_every_shape(shape: str) -> None:
    assert same(find_program(shaped(shape, READS), "", None), READS)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_programs_of_real_models_are_found_in_every_shape(shared_data: Path, shape: str) -> None:
    rows = read_jsonl(shared_data / "lcb_public_dev.jsonl")
    names = {row["question_id"]: json.loads(row["metadata"]).get("func_name") for row in rows}
    starters = {row["question_id"]: row["starter_code"] for row in rows}
    programs = read_jsonl(shared_data / "lcb_model_solutions_dev.jsonl")
    lost = []
    for row in programs:
        name, code = names[row["question_id"]], row["code"]
        if "\n\n" in code and shape in UNFENCED and not code.startswith(("def", "class", "import", "from")):
            continue  # nothing tells where such a program begins
        if not same(find_program(shaped(shape, code), starters[row["question_id"]], name), code):
            lost.append(row["question_id"])
    assert len(programs) == 600
    assert lost == []


UNFENCED = ("prose without a fence", "prose that begins like code")


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("```python\n{code}\n```\nExample:\n```python\nprint(double(4))\n```", "{code}"),
        ("```python\ndef double(x):\n    return 0\n```\nBetter:\n```python\n{code}\n```", "{code}"),
        ("```python\nimport math\nTWO = 2\n```\nthen\n```python\ndef double(x):\n    return TWO * x\n```",
         "import math\nTWO = 2\ndef double(x):\n    return TWO * x"),
        ("```python\nTWO = 3\n```\nthen\n```python\nTWO = 2\ndef double(x):\n    return TWO * x\n```",
         "TWO = 2\ndef double(x):\n    return TWO * x"),
        ("```python\n{code}\n\ndef triple(x):\n    return 3 *", "{code}"),  # cut off at the length limit
        ("```python\ndouble = lambda x: 2 * x\n```", "double = lambda x: 2 * x"),
        ("```python\nif True:\n    {one}\nelse:\n    double = 0\n```", "if True:\n    {one}\nelse:\n    double = 0"),
        ("```python\nprint('no function')\n```", "print('no function')"),  # as it is, to fail with its own error
        ("class Solution:\n    def double(self, x):\n        return 2 * x",
         "class Solution:\n    def double(self, x):\n        return 2 * x"),
    ],
)  # fmt: skip
def test_the_block_with_the_entry_point_is_taken_and_made_whole(completion: str, expected: str) -> None:
    one = "def double(x): return 2 * x"
    filled = (text.replace("{code}", DOUBLE).replace("{one}", one) for text in (completion, expected))
    text, wanted = filled
    assert same(find_program(text, "", "double"), wanted)


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("```python\n{code}\n```\nFor example\n```python\nprint(4)\n```", "{code}"),
        ("```python\ndef solve(n):\n    return 2 * n\n```\n```python\nprint(solve(int(input())))\n```",
         "def solve(n):\n    return 2 * n\nprint(solve(int(input())))"),
        ("```python\nimport sys\nfor line in sys.stdin:\n    print(line)\n```\n```python\nprint(1)\n```",
         "import sys\nfor line in sys.stdin:\n    print(line)"),
        ("```python\nprint(1)\n```", "print(1)"),
    ],
)  # fmt: skip
def test_without_an_entry_point_the_block_that_reads_is_taken(completion: str, expected: str) -> None:
    text, wanted = (each.replace("{code}", READS) for each in (completion, expected))
    assert same(find_program(text, "", None), wanted)


STARTER = "import re\n\ndef double(x: int) -> int:\n    "


@pytest.mark.parametrize(
    "completion",
    [
        "    return 2 * x",
        "\n    return 2 * x\n\nThis doubles x, isn't it nice?",
        "```python\n    return 2 * x\n```",
        "```python\n    if x:\n        return 2 * x\n    return 0\n```\nDone.",
    ],
)
def test_a_continuation_of_the_starter_code_is_read_as_one(completion: str) -> None:
    found = find_program(completion, STARTER, "double")
    assert found is not None
    namespace: dict[str, object] = {}
    exec(found, namespace)
    assert namespace["double"](4) == 8  # type: ignore[operator]
    assert "re" in namespace


@pytest.mark.parametrize(
    "completion",
    ["", "I cannot do that.", "</s>", "It's: def", "```python\n```", "```\n42\n```", "Yes", "x" * 30_000,
     "```bash\nls -l\n```", "Thanks.\n\nimport this is a phrase",
     "<think>\n```python\nprint(input())\n</think>", "\ud800"],
)  # fmt: skip
def test_where_there_is_no_program_none_is_found(completion: str) -> None:
    assert find_program(completion, "", None) is None


@given(
    st.lists(
        st.sampled_from(
            ["```", "```python\n", "~~~", "\n", "def double(x):\n", "    return 2 * x", "\t", "import re\n", "(", "'",
             '"""', "[PYTHON]", "</think>", "<|im_end|>", "print(input())", "x = 1", "I", "\x00", "\ud800", "\r\n"]
        )
        | st.text(max_size=4),
        max_size=16,
    ).map("".join),
    st.sampled_from([None, "double"]),
    st.sampled_from(["", STARTER, "class Solution:\n    def double(self, x):\n        "]),
)  # fmt: skip
def test_any_text_gives_a_program_or_none(completion: str, entry_point: str | None, starter: str) -> None:
    found = find_program(completion, starter, entry_point)
    assert found is None or ast.parse(found).body


def test_lines_go_after_future_imports() -> None:
    code = '"""Doc."""\nfrom __future__ import annotations\nx = 1'
    assert insert_before("import re", code).splitlines()[1:3] == [
        "from __future__ import annotations",
        "import re",
    ]
    assert insert_before("import re", "x = 1") == "import re\nx = 1"
