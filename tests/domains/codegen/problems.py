"""Code-generation rows and problems that several tests share."""

from __future__ import annotations

import json
from typing import Any

from domino_lightning.domains import CodeGen, Verdict

DOMAIN = CodeGen()
WHERE = "rows.jsonl, row 3"
DOUBLE = "def double(x):\n    return 2 * x"
HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": (
        "from typing import List\n\ndef helper(x):\n    return -x\n\n"
        'def total(xs: List[int]) -> int:\n    """ Sum of the\n    negatives of xs.\n    """\n'
    ),
    "entry_point": "total",
    "canonical_solution": "    return sum(map(helper, xs))\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == -3\n    assert candidate([]) == 0\n",
}
LIVECODEBENCH = {
    "question_id": "q1",
    "question_content": "Add the numbers.",
    "starter_code": "class Solution:\n    def addUp(self, xs: List[int], by: str) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": '[1, 2]\n"a"', "output": "3", "testtype": "functional"}]),
    "metadata": '{"func_name": "addUp"}',
}


def problem(*tests: Any, **fields: Any) -> dict[str, Any]:
    made = [{"type": "assert", "code": test} if isinstance(test, str) else test for test in tests]
    return DOMAIN.read({"id": "p", "prompt": "Do it.", "tests": made, **fields}, WHERE)


def stdin(given: str, wanted: str) -> dict[str, str]:
    return {"type": "stdin", "input": given, "output": wanted}


def functional(given: str, wanted: str) -> dict[str, str]:
    return {"type": "functional", "input": given, "output": wanted}


def verdict(record: dict[str, Any], completion: str) -> Verdict:
    ((found,),) = DOMAIN.grade([record], [[completion]], workers=1)
    return found
