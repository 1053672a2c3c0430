"""Code generation: a problem in words with tests, answered by a program (MBPP, HumanEval, LiveCodeBench)."""

from __future__ import annotations

import ast
import builtins
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from domino_lightning.domains.base import DEFAULT_AGREEMENT, Agreement, Answered, Domain, Unparsable, Verdict
from domino_lightning.domains.codegen.assertions import asserts_nothing
from domino_lightning.domains.codegen.rows import called_name, read_problem, starter_entry_point
from domino_lightning.domains.python.source import parse_python, source_lines
from domino_lightning.domains.rows import Message
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.utils.jsonl import Record, sha256_text
from domino_lightning.utils.ranges import MEMORY_MB, SECONDS, check_ranges

if TYPE_CHECKING:
    from domino_lightning.execution.unit_test import Rules

log = logging.getLogger(__name__)

INSTRUCTION = "Solve this problem in Python. Give the whole program in one ```python block."
EXAMPLE = {
    "prompt": "Return the second largest of a list of distinct numbers, or None if there are fewer than two.",
    "starter_code": "def second_largest(numbers):",
    "entry_point": "second_largest",
    "tests": [
        {"type": "assert", "code": "assert second_largest([4, 9, 7]) == 7"},
        {"type": "assert", "code": "assert second_largest([3]) is None"},
    ],
    "solution": (
        "def second_largest(numbers):\n"
        "    ordered = sorted(numbers)\n"
        "    return ordered[-2] if len(ordered) > 1 else None"
    ),
}
_HEADING = "Tests:"
_STARTER = re.compile(r"\A(.*)\n\n```python\n(.*?)\n```\Z", re.DOTALL)
_EXAMPLE = re.compile(r"Input:\n(.*?)\n?Output:\n(.*?)(?=\n\nInput:\n|\Z)", re.DOTALL)
_WRONG = ("failed", "error")  # what the program did, whatever limits and load
_CALLED = re.compile(r"\b([^\W\d]\w*)\(")
_SETUP = ast.Import | ast.ImportFrom | ast.Assign


class CodeGen(Domain):
    """A problem statement, perhaps starter code, and tests.

    As text a problem is its statement, the starter code in a ```python block, and under "Tests:" the tests
    that are not hidden: assertions (functional tests become ones), or inputs and outputs of whole programs.

    Completions run in the sandbox, every test in fresh processes; the verdict names the tier that isolated them.

    Args:
        instruction: what the prompt asks for, before the problem.
        system: a system message before it; null for none, which leaves the chat template's own.
        example: show a worked example as a first exchange.
        compat: "lcb" to grade by LiveCodeBench's lenient rules, as `domino grade --compat lcb` does.
        timeout_s: CPU seconds of one test.
        memory_mb: MiB of one test.
    """

    kind = "codegen"
    corpus = "pip:domino_lightning/corpus/problems.jsonl"
    unit = "problem"
    executes = True
    answer_field = "solution"
    tags = ("code",)
    needs_solutions = True
    takes_cut_answers = True  # a program may be whole where the words after it are not
    answered_by = "solutions that agree by execution"
    languages = ("en", "code")

    def __init__(
        self,
        instruction: str = INSTRUCTION,
        system: str | None = None,
        example: bool = True,
        compat: Literal["", "lcb"] = "",
        timeout_s: float = 6.0,
        memory_mb: int = 1024,
    ) -> None:
        self.instruction, self.system, self.example = instruction, system, example
        self.compat, self.timeout_s, self.memory_mb = compat, timeout_s, memory_mb
        check_ranges(type(self).__name__, self, timeout_s=SECONDS, memory_mb=MEMORY_MB)

    def read(self, row: Mapping[str, Any], where: str) -> Record:
        """The project's own format, MBPP's, HumanEval's or LiveCodeBench's.

        Rows whose statements differ only in layout, case or the function's name share a `group`.

        Raises:
            UserError: no known format, or a missing or ill-typed field.
        """
        record = {**read_problem(row, where), "kind": self.kind}
        return {**record, "group": _group(record), "text": self.render(record)}

    def problem(self, record: Mapping[str, Any]) -> str | None:
        """A record without tests cannot be graded."""
        return None if record["tests"] else "has no tests, so nothing could grade its solutions"

    def complete(self, records: Sequence[Record], workers: int) -> Iterator[tuple[Record, str | None]]:
        """Run every record's own solution, where it has one, and see that its tests can fail.

        Tests that the solution does not pass grade others wrong too; one that runs out of time or memory, or crashes,
        is kept with a warning: limits or load may be at fault. Tests that nothing fails grade nobody.
        """
        from domino_lightning.domains.codegen.blank import empty_tests

        tested = [record for record in records if record["tests"]]
        blank = empty_tests(tested, workers, self._rules())
        solved = [record for record in tested if self.has_answer(record)]
        graded = self.grade(solved, ([self._solution(record)] for record in solved), workers)
        unsure = []
        for record in records:
            empty = next(blank) if record["tests"] else None
            problem = self.problem(record) or empty
            if record["tests"] and self.has_answer(record):
                (verdict,) = next(graded)
                said = f"({verdict.status}: {verdict.detail})"
                if verdict.status in _WRONG:
                    problem = problem or f"has a solution that its own tests do not pass {said}"
                elif not verdict.passed:
                    unsure.append(f"'{record['id']}' {said}")
            yield record, problem
        if unsure:
            log.warning("%d solutions of rows did not end within the limits; the first: %s", len(unsure), unsure[0])

    def render(self, record: Mapping[str, Any]) -> str:
        """Statement, starter code and the tests that are not hidden."""
        parts = [record["prompt"].strip()]
        if record.get("starter_code"):
            parts.append(f"```python\n{record['starter_code'].rstrip()}\n```")
        shown = [test for test in record["tests"] if not test.get("hidden")]
        examples = [_as_text(test, record) for test in shown]
        if examples:
            blank = "\n\n" if shown[0]["type"] == "stdin" else "\n"
            parts.append(f"{_HEADING}\n{blank.join(examples)}")
        return "\n\n".join(parts)

    def parse(self, text: str) -> Record:
        """Read a statement, perhaps starter code, and tests.

        Raises:
            Unparsable: `empty`, `too_long`, `no_tests`, `no_prompt`, `syntax` (starter code or tests are no
                Python), `tests` (more than assertions and imports) or `entry_point` (nothing to test).
        """
        text = text.strip()
        if not text:
            raise Unparsable("empty", "no text")
        head, heading, body = text.rpartition(f"\n{_HEADING}\n")
        if not heading or not body.strip():
            raise Unparsable("no_tests", f"no '{_HEADING}' with tests under it")
        found = _STARTER.match(head.strip())
        prompt, starter = (found[1].strip(), found[2].rstrip()) if found else (head.strip(), "")
        if not prompt:
            raise Unparsable("no_prompt", "no problem statement")
        tests = _stdin_tests(body) if body.startswith("Input:\n") else _assertions(body)
        entry_point = None
        if tests[0]["type"] == "assert":
            called = {called_name([test["code"]]) for test in tests}
            entry_point = starter_entry_point(starter) or called_name([test["code"] for test in tests])
            if entry_point is None or (starter and entry_point not in called):
                raise Unparsable("entry_point", "the tests call no function, or not the starter code's")
            for test in tests:
                if problem := asserts_nothing(parse_python(test["code"]), entry_point):
                    raise Unparsable("tests", f"a test tests nothing, since {problem}")
        record = {"prompt": prompt, "starter_code": starter, "entry_point": entry_point, "tests": tests}
        record["kind"] = self.kind
        return {**record, "text": self.render(record), "group": _group(record)}

    def canonical(self, record: Mapping[str, Any]) -> str:
        """The rendered problem without layout and case."""
        return " ".join(self.render(record).split()).casefold()

    def copied_part(self, record: Mapping[str, Any]) -> str:
        """The statement without layout, case and the function's name: new tests alone make no new problem."""
        return _statement(record)

    def subject(self, record: Mapping[str, Any]) -> str:
        """The statement."""
        return str(record["prompt"])

    def has_answer(self, record: Mapping[str, Any]) -> bool:
        """Whether it comes with a solution."""
        return record.get("solution") is not None

    def prompt(self, record: Mapping[str, Any]) -> list[Message]:
        """The system message if there is one, a worked example as a first exchange, then the question."""
        example = self._exchange(EXAMPLE) if self.example else []
        return [*self._system(), *example, {"role": "user", "content": self._question(record)}]

    def pair(self, record: Mapping[str, Any]) -> list[Message]:
        """The question, after the system message, and the record's `solution` in a ```python block."""
        return [*self._system(), *self._exchange(record)]

    def _system(self) -> list[Message]:
        return [{"role": "system", "content": self.system}] if self.system else []

    def _exchange(self, record: Mapping[str, Any]) -> list[Message]:
        return [
            {"role": "user", "content": self._question(record)},
            {"role": "assistant", "content": self._solution(record)},
        ]

    def _solution(self, record: Mapping[str, Any]) -> str:
        return f"```python\n{record['solution'].rstrip()}\n```"

    def _question(self, record: Mapping[str, Any]) -> str:
        return f"{self.instruction}\n\n{self.render(record)}"

    def answer(
        self,
        records: Sequence[Record],
        workers: int,
        solutions: Sequence[Sequence[str]] = (),
        agreement: Agreement = DEFAULT_AGREEMENT,
    ) -> Iterator[Answered]:
        """Give each record the sampled solution that enough others agree with by execution; see Agreement."""
        from domino_lightning.domains.codegen.agreement import answer_by_agreement

        for record, completions in zip(records, solutions, strict=True):
            try:
                yield answer_by_agreement(record, completions, agreement, workers)
            except (UserError, StageFailed):
                raise  # about the set-up, not about the record
            except Exception as error:
                yield Answered(record, "crashed", f"{type(error).__name__}: {error}")

    def grade(
        self, records: Iterable[Record], completions: Iterable[Sequence[str]], workers: int
    ) -> Iterator[list[Verdict]]:
        """Run every program on its problem's tests; it passes when all of them do, and never without any."""
        from domino_lightning.domains.codegen.grading import grade_completions

        return grade_completions(records, completions, workers, self._rules())

    def _rules(self) -> Rules:
        from dataclasses import replace

        from domino_lightning.execution.unit_test import GRADING, Rules

        limits = replace(GRADING, timeout_s=self.timeout_s, memory_mb=self.memory_mb)
        return Rules(limits, compat=self.compat)

    @classmethod
    def smoke_answer(cls, prompt: str) -> str:
        """A program in which every function that the problem's tests name returns the text of its arguments."""
        names = sorted({name for name in _CALLED.findall(prompt) if not hasattr(builtins, name) and name != "Solution"})
        functions = [f"def {name}(*values, **named):\n    return repr((values, named))" for name in names]
        methods = "\n".join(f"    {name} = staticmethod({name})" for name in names)
        solution = [f"class Solution:\n{methods}"] if names and "class Solution" in prompt else []
        return "```python\n" + "\n\n".join([*functions, *solution, "print(1)"]) + "\n```"


def _statement(record: Mapping[str, Any]) -> str:
    """The problem statement without layout, case and the function's name."""
    prompt = record["prompt"]
    if record.get("entry_point"):
        prompt = re.sub(rf"\b{re.escape(record['entry_point'])}\b", "f", prompt)
    return " ".join(prompt.split()).casefold()


def _group(record: Mapping[str, Any]) -> str:
    return sha256_text(_statement(record))[:12]


def _as_text(test: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """A test as it is shown: an assertion, or an input with its output."""
    if test["type"] == "assert":
        return str(test["code"])
    if test["type"] == "stdin":
        return f"Input:\n{test['input'].rstrip()}\nOutput:\n{test['output'].rstrip()}"
    arguments = ", ".join(repr(json.loads(line)) for line in test["input"].split("\n") if line.strip())
    in_class = re.search(r"^class Solution\b", record.get("starter_code") or "", re.MULTILINE)
    owner = "Solution()." if in_class else ""
    return f"assert {owner}{record['entry_point']}({arguments}) == {json.loads(test['output'])!r}"


def _stdin_tests(body: str) -> list[Record]:
    tests = [{"type": "stdin", "input": given, "output": wanted} for given, wanted in _EXAMPLE.findall(body.strip())]
    if not tests:
        raise Unparsable("tests", "an input without an output")
    return tests


def _assertions(body: str) -> list[Record]:
    """One test for each assertion, with the imports and assignments before it."""
    lines, tests, start = source_lines(body), [], 0
    statements = parse_python(body).body
    for node in statements:
        if isinstance(node, ast.Assert):
            tests.append({"type": "assert", "code": "\n".join(lines[start : node.end_lineno]).strip()})
            start = node.end_lineno or start
        elif not isinstance(node, _SETUP):
            raise Unparsable("tests", f"line {node.lineno}: more than assertions, imports and assignments")
    if not tests or not isinstance(statements[-1], ast.Assert):
        raise Unparsable("tests", "the tests do not end with an assertion")
    if any(line.count(";") and node.col_offset for node in statements for line in [lines[node.lineno - 1]]):
        raise Unparsable("tests", "two statements on one line")
    return tests
