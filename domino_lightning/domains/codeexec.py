"""Code execution: given a Python function and a call, say what it returns (CRUXEval-O, LiveCodeBench execution)."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import (
    DEFAULT_AGREEMENT,
    Agreement,
    Answered,
    Domain,
    Program,
    Unparsable,
    Verdict,
)
from domino_lightning.domains.fields import as_code, is_given
from domino_lightning.domains.fields import code as code_field
from domino_lightning.domains.python.source import (
    missing_imports,
    parse_python,
    same_layout,
    same_names,
    source_lines,
    unparse,
)
from domino_lightning.domains.rows import Message, row_id
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record, sha256_text
from domino_lightning.utils.ranges import ONE_OR_MORE, check_ranges

QUESTION = "Complete the assertion with the literal value that the call returns."
EXAMPLE = {
    "code": "def f(text, n):\n    return text.upper() * n",
    "entry_point": "f",
    "input": "'ab', 2",
    "output": "'ABAB'",
}


class CodeExec(Domain):
    """A function and one call of it. A synthetic record is answered by executing it, never by an LM.

    Args:
        max_output: characters of a synthetic record's output; a longer one (`long_output`) is no fair question.
        instruction: what the prompt asks for, before the first question.
        system: a system message before it; null for none, which leaves the chat template's own.
        example: show a worked example as a first exchange.
    """

    kind = "codeexec"
    unit = "function"
    executes = True
    answer_field = "output"
    fills_answers = True
    answered_by = "execution"
    tags = ("code",)
    corpus = "pip:domino_lightning/corpus/functions.jsonl"
    languages = ("en", "code")

    def __init__(
        self, max_output: int = 200, instruction: str = QUESTION, system: str | None = None, example: bool = True
    ) -> None:
        self.max_output = max_output
        check_ranges(type(self).__name__, self, max_output=ONE_OR_MORE)
        self.instruction, self.system, self.example = instruction, system, example

    def read(self, row: Mapping[str, Any], where: str) -> Record:
        """CRUXEval's format, LiveCodeBench's execution format, or the project's own.

        Rows with the same function up to layout and names share a `group`, so that splits keep them together;
        so do LiveCodeBench's programs for one problem, which compute the same on the same inputs.
        LiveCodeBench's code uses `List`, `gcd` and others without importing them, as LeetCode lets it; the
        imports are added, so that a record's program is whole.

        Raises:
            UserError: a missing or ill-typed field, or code that is no Python.
        """
        for field in ("code", "input"):
            if not isinstance(row.get(field), str):
                raise UserError(f"{where}: field '{field}' must be a string; it is {row.get(field)!r}.")
            as_code(row[field], f"{where}: field '{field}'")
        if not isinstance(row.get("output"), str | None):
            raise UserError(
                f"{where}: field 'output' must be a string, the value's repr, or null to have it executed; "
                f"it is {row['output']!r}."
            )
        known = bool((row.get("output") or "").strip())
        if known:
            as_code(row["output"], f"{where}: field 'output'")
        code = row["code"].rstrip()
        try:
            imports = missing_imports(code) if "function_name" in row else ""
            code = f"{imports}\n\n{code}" if imports else code
            functions = [node.name for node in parse_python(code).body if isinstance(node, ast.FunctionDef)]
            problem = row.get("question_id") if "function_name" in row else None
            group = sha256_text(same_names(code) if problem is None else f"livecodebench {problem}")[:12]
        except Unparsable as error:
            raise UserError(f"{where}: field 'code' is not Python ({error}).") from None
        stated = next((field for field in ("entry_point", "function_name") if is_given(row, field)), None)
        entry_point = code_field(row, stated, where) if stated else functions[-1] if functions else None
        if entry_point is None:
            raise UserError(f"{where}: field 'code' defines no function, and there is no 'entry_point'.")
        record = {
            **row,
            "id": row_id(row, where, ("id", "question_id")),
            "kind": self.kind,
            "group": group,
            "code": code,
            "entry_point": entry_point,
            "input": _arguments(row["input"], entry_point),
        }
        if "output" in row and not known:  # to be executed, as null is
            record["output"] = None
        return {**record, "text": self.render(record)}

    def problem(self, record: Mapping[str, Any]) -> str | None:
        """A call that is no Python, or an output that could never be compared."""
        from domino_lightning.execution.literals import NotALiteral, parse_literal

        try:
            parse_python(_call(record))
            if self.has_answer(record):
                parse_literal(record["output"])
        except NotALiteral as error:
            return f"output is no literal ({error})"
        except Unparsable as error:
            if error.reason != "too_long":  # then the sandbox parses it
                return f"calls {_call(record)[:60]!r}, which is no Python ({error})"
        return None

    def complete(self, records: Sequence[Record], workers: int) -> Iterator[tuple[Record, str | None]]:
        """Execute every record: fill a missing `output`, and report one that execution does not confirm."""
        from domino_lightning.execution.literals import literal_equal, parse_literal

        for record, done in zip(records, _execute(records, workers), strict=True):
            problem = self.problem(record)
            if done.status != "ok" or done.value is None:
                yield record, f"does not run ({done.status}: {done.detail})"
            elif record.get("output") is None:
                yield {**record, "output": done.value}, None
            elif problem is None and not literal_equal(parse_literal(record["output"]), parse_literal(done.value)):
                yield record, f"output says {record['output']}, execution says {done.value}"
            else:
                yield record, problem

    def render(self, record: Mapping[str, Any]) -> str:
        """The function, a blank line, and the call."""
        return f"{record['code']}\n\n{_call(record)}"

    def parse(self, text: str) -> Record:
        """Read definitions followed by one call with literal arguments.

        Raises:
            Unparsable: `empty`, `too_long`, `syntax`, `no_call`, `no_function`, `statements` or `arguments`.
        """
        text = text.strip()
        body = parse_python(text).body
        last = body[-1] if body else None  # nothing but comments
        if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Call)):
            raise Unparsable("no_call", "the last statement is not a call")
        call = last.value
        functions = {node.name: node for node in body[:-1] if isinstance(node, ast.FunctionDef)}
        if not (isinstance(call.func, ast.Name) and call.func.id in functions):
            raise Unparsable("no_function", "the call is not to a function that the text defines")
        for node in body[:-1]:
            if not isinstance(node, ast.FunctionDef | ast.Import | ast.ImportFrom | ast.Assign):
                raise Unparsable("statements", f"line {node.lineno}: more than definitions before the call")
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
            try:
                ast.literal_eval(argument)
            except (ValueError, TypeError, RecursionError, MemoryError):
                raise Unparsable("arguments", f"argument {unparse(argument)} is not a literal") from None
        lines = source_lines(text)
        code = "\n".join(lines[: last.lineno - 1]).rstrip()
        arguments = unparse(call)[len(call.func.id) + 1 : -1]
        record = {"kind": self.kind, "code": code, "entry_point": call.func.id, "input": arguments}
        if not code or len(parse_python(code).body) != len(body) - 1:
            raise Unparsable("statements", "the call shares its line with a definition")
        return {**record, "text": self.render(record), "group": sha256_text(same_names(code))[:12]}

    def canonical(self, record: Mapping[str, Any]) -> str:
        """Function and call without layout."""
        return same_layout(self.render(record))

    def copied_part(self, record: Mapping[str, Any]) -> str:
        """The function without layout and own names: a new call of a reference's function is not new data."""
        return same_names(record["code"])

    def subject(self, record: Mapping[str, Any]) -> str:
        """The function."""
        return str(record["code"])

    def question(self, record: Mapping[str, Any]) -> str:
        """The call."""
        return _call(record)

    def has_answer(self, record: Mapping[str, Any]) -> bool:
        """Whether its output is known."""
        return record.get("output") is not None

    def program(self, record: Mapping[str, Any]) -> Program:
        """The function and its call."""
        return Program(record["code"], record["entry_point"], record["input"])

    def prompt(self, record: Mapping[str, Any]) -> list[Message]:
        """The system message if there is one, a worked example as a first exchange, then the assertion to complete."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        if not self.example:
            return [*system, {"role": "user", "content": f"{self.instruction}\n\n{_unfinished(record)}"}]
        return [
            *system,
            {"role": "user", "content": f"{self.instruction}\n\n{_unfinished(EXAMPLE)}"},
            {"role": "assistant", "content": _assertion(EXAMPLE)},
            {"role": "user", "content": _unfinished(record)},
        ]

    def pair(self, record: Mapping[str, Any]) -> list[Message]:
        """The evaluation prompt and the completed assertion, so that training and evaluation ask alike."""
        return [*self.prompt(record), {"role": "assistant", "content": _assertion(record)}]

    def answer(
        self,
        records: Sequence[Record],
        workers: int,
        solutions: Sequence[Sequence[str]] = (),
        agreement: Agreement = DEFAULT_AGREEMENT,
    ) -> Iterator[Answered]:
        """Execute each record; one that fails, hangs or returns no plain value of modest length has no answer."""
        for record, done in zip(records, _execute(records, workers), strict=True):
            if done.status != "ok" or done.value is None:
                yield Answered(record, done.status, done.detail)
            elif len(done.value) > self.max_output:
                yield Answered(record, "long_output", f"{len(done.value)} characters, more than {self.max_output}")
            else:
                yield Answered({**record, "output": done.value})

    def grade(
        self, records: Iterable[Record], completions: Iterable[Sequence[str]], workers: int
    ) -> Iterator[list[Verdict]]:
        """Compare the answer with the output as literals; nothing is executed."""
        from domino_lightning.domains.codeexec_answers import grade_answer

        for record, texts in zip(records, completions, strict=True):
            yield [Verdict(*grade_answer(text, record["output"], _call(record))) for text in texts]


def _call(record: Mapping[str, Any]) -> str:
    return f"{record['entry_point']}({record['input']})"


def _unfinished(record: Mapping[str, Any]) -> str:
    return f"{record['code']}\n\nassert {_call(record)} =="


def _assertion(record: Mapping[str, Any]) -> str:
    return f"assert {_call(record)} == {record['output']}"


def _execute(records: Sequence[Record], workers: int) -> Iterator[Any]:
    from domino_lightning.execution.calls import Call, run_calls

    calls = (Call(record["code"], record["entry_point"], record["input"]) for record in records)
    return run_calls(calls, workers=workers)


def _arguments(source: str, entry_point: str) -> str:
    """Argument-list source from `1, 2` (CRUXEval) or `f(x = 1)` (LiveCodeBench)."""
    source = source.strip()
    try:
        node = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry_point
    return source[source.index("(") + 1 : -1].strip() if is_call and source.endswith(")") else source
