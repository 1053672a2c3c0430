"""Raw code-generation rows (the project's format, MBPP, HumanEval, LiveCodeBench) as fields of one record."""

from __future__ import annotations

import ast
import base64
import binascii
import builtins
import json
import pickletools
import textwrap
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.python.source import MAX_CHARACTERS, parse_python, source_lines, starter_tree
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

TEST_FIELDS = {"stdin": ("input", "output"), "functional": ("input", "output"), "assert": ("code",)}
MAX_PACKED_BYTES = 256 << 20
_STRING_OPCODES = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_FRAMING_OPCODES = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}
_TRANSLATED = {
    "text", "code", "test_list", "test_setup_code", "test_imports", "test", "canonical_solution",
    "question_content", "public_test_cases", "private_test_cases", "metadata",
}  # fmt: skip


def read_problem(row: Mapping[str, Any], where: str) -> Record:
    """The row's `id`, `prompt`, `starter_code`, `entry_point`, `tests` and, where it has one, `solution`.

    A test that a solver is not shown has `hidden: true`: HumanEval's check, LiveCodeBench's private tests.

    Raises:
        UserError: a row of no known format, or a missing or ill-typed field; the message starts with `where`.
    """
    if "question_content" in row:
        fields = _livecodebench(row, where)
    elif "test_list" in row:
        fields = _mbpp(row, where)
    elif "test" in row and "canonical_solution" in row:
        fields = _humaneval(row, where)
    elif "prompt" in row:
        fields = {name: row[name] for name in ("starter_code", "entry_point", "solution") if name in row}
        fields |= {"prompt": _text(row, "prompt", where), "tests": row.get("tests", [])}
    else:
        raise UserError(
            f"{where}: no problem in a known format; fields: {', '.join(map(repr, row)) or 'none'}. "
            "Known are 'prompt' with 'tests', MBPP ('test_list'), HumanEval ('canonical_solution') and "
            "LiveCodeBench ('question_content')."
        )
    names = (row[name] for name in ("id", "task_id", "question_id") if row.get(name) is not None)
    record = {
        **{name: value for name, value in row.items() if name not in _TRANSLATED or name in fields},
        **fields,
        "id": str(next(names, where.rpartition(" ")[2])),
        "prompt": fields["prompt"].strip(),
        "starter_code": _text(fields, "starter_code", where, "").strip("\n").rstrip(),
    }
    if record.get("solution") is not None:
        record["solution"] = _text(record, "solution", where).rstrip()
    record["tests"] = _checked_tests(record["tests"], where)
    record["entry_point"] = _entry_point(record, where)
    return record


def starter_entry_point(starter_code: str) -> str | None:
    """The last function that the starter code asks for, or the last method of its `Solution`.

    Raises:
        Unparsable: it is no Python.
    """
    if not starter_code.strip():
        return None
    body = starter_tree(starter_code).body
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == "Solution":
            body = node.body
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return names[-1] if names else None


def called_name(codes: Sequence[str], defined: set[str] | None = None) -> str | None:
    """The function that assertions are about: called in all of them, the outermost call first.

    Args:
        codes: sources of the assertions.
        defined: names to choose from; without it any but builtins.
    """
    calls = [_called(parse_python(code), defined) for code in codes]
    common = [name for name in calls[0] if all(name in others for others in calls)] if calls else []
    return next(iter(common or (calls[0] if calls else [])), None)


def _called(tree: ast.Module, defined: set[str] | None) -> list[str]:
    names = []
    statements = [node for node in tree.body if isinstance(node, ast.Assert)]
    for node in (call for statement in statements for call in ast.walk(statement)):
        if not isinstance(node, ast.Call):
            continue
        target = node.func
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Call):
            owner = target.value.func
            if isinstance(owner, ast.Name) and owner.id == "Solution":
                names.append(target.attr)
        elif isinstance(target, ast.Name) and target.id != "Solution":
            names.append(target.id)
    if defined is not None:
        return [name for name in names if name in defined]
    return [name for name in names if not hasattr(builtins, name)] or names


def _entry_point(record: Mapping[str, Any], where: str) -> str | None:
    """The given one, or the starter code's, or the one that the assertions call; None for whole programs."""
    given = record.get("entry_point")
    if given is not None and not (isinstance(given, str) and given.isidentifier()):
        raise UserError(f"{where}: field 'entry_point' must be a Python name; it is {given!r}.")
    if given is not None:
        return str(given)
    try:
        found = starter_entry_point(record["starter_code"])
        if found is None:
            solution = record.get("solution")
            body = parse_python(solution).body if solution else []
            defined = {node.name for node in body if isinstance(node, ast.FunctionDef)} or None
            codes = [test["code"] for test in record["tests"] if test["type"] == "assert"]
            found = called_name([code for code in codes if len(code) <= MAX_CHARACTERS], defined)
    except Unparsable as error:
        raise UserError(f"{where}: starter code or solution is not Python ({error}).") from None
    if found is None and any(test["type"] == "functional" for test in record["tests"]):
        raise UserError(f"{where}: functional tests need an 'entry_point', or starter code that names it.")
    return found


def _mbpp(row: Mapping[str, Any], where: str) -> Record:
    setup = [*(row.get("test_imports") or []), *str(row.get("test_setup_code") or "").splitlines()]
    if not isinstance(row["test_list"], list):
        raise UserError(f"{where}: field 'test_list' must be a list of strings; it is {row['test_list']!r}.")
    return {
        "prompt": _text(row, "text" if "text" in row else "prompt", where),
        "tests": [{"type": "assert", "code": "\n".join([*setup, str(code).strip()])} for code in row["test_list"]],
        "solution": _text(row, "code", where),
    }


def _humaneval(row: Mapping[str, Any], where: str) -> Record:
    """The docstring becomes the statement, and what is left of the source the starter code."""
    source, name = _text(row, "prompt", where), _text(row, "entry_point", where)
    try:
        body = parse_python(source).body
    except Unparsable as error:
        raise UserError(f"{where}: field 'prompt' is not Python ({error}).") from None
    lines, statement = source_lines(source), source
    for node in (each for each in body if isinstance(each, ast.FunctionDef) and each.name == name):
        for inner in node.body:
            if isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant):
                first, _, rest = str(inner.value.value).strip("\n").partition("\n")
                statement = f"{first.strip()}\n{textwrap.dedent(rest)}"
                lines = [*lines[: inner.lineno - 1], *lines[inner.end_lineno :]]
                break
    return {
        "prompt": statement,
        "starter_code": "\n".join(lines),
        "entry_point": name,
        "tests": [{"type": "assert", "code": f"{_text(row, 'test', where)}\n\ncheck({name})", "hidden": True}],
        "solution": source + _text(row, "canonical_solution", where),
    }


def _livecodebench(row: Mapping[str, Any], where: str) -> Record:
    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = _json(metadata, f"{where}: field 'metadata'")
    tests = _cases(_text(row, "public_test_cases", where), where, "public_test_cases")
    private = row.get("private_test_cases")
    if private:
        cases = _cases(_unpacked(private, where), where, "private_test_cases")
        tests += [{**case, "hidden": True} for case in cases]
    return {
        "prompt": _text(row, "question_content", where),
        "starter_code": row.get("starter_code") or "",
        "entry_point": metadata.get("func_name") if isinstance(metadata, dict) else None,
        "tests": tests,
    }


def _cases(text: str, where: str, field: str) -> list[Record]:
    cases = _json(text, f"{where}: field '{field}'")
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise UserError(f"{where}: field '{field}' must be the JSON text of a list of objects.")
    return [
        {"type": case.get("testtype", "stdin"), "input": case.get("input"), "output": case.get("output")}
        for case in cases
    ]


def _unpacked(text: Any, where: str) -> str:
    """JSON text as it stands, or from base64, zlib and a pickled string: its opcodes are read, never run."""
    problem = f"{where}: field 'private_test_cases' is neither JSON text nor a packed string of it"
    if not isinstance(text, str):
        raise UserError(f"{problem}; it is a {type(text).__name__}.")
    if text.lstrip().startswith("["):
        return text
    try:
        unpack = zlib.decompressobj()
        data = unpack.decompress(base64.b64decode(text, validate=True), MAX_PACKED_BYTES)
        if unpack.unconsumed_tail:
            raise UserError(f"{where}: field 'private_test_cases' unpacks to more than {MAX_PACKED_BYTES >> 20} MiB.")
        if not unpack.eof:
            raise UserError(f"{problem} (it is cut off).")
        return _pickled_string(data)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise UserError(f"{problem} ({error}).") from None


def _pickled_string(data: bytes) -> str:
    """The value of a pickle that is one string; every opcode that could make or call anything else is refused.

    Raises:
        ValueError: it holds more than a string, or is no pickle.
    """
    found = None
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _STRING_OPCODES and found is None:
            found = str(argument)
        elif opcode.name not in _FRAMING_OPCODES:
            raise ValueError(f"opcode {opcode.name} in a pickle that may hold one string and nothing else")
    if found is None:
        raise ValueError("a pickle without a string")
    return found


def _checked_tests(tests: Any, where: str) -> list[Record]:
    if not isinstance(tests, list):
        raise UserError(f"{where}: field 'tests' must be a list of objects; it is {tests!r}.")
    for number, test in enumerate(tests):
        name = f"{where}: field 'tests[{number}]"
        kind = test.get("type") if isinstance(test, dict) else None
        if kind not in TEST_FIELDS:
            raise UserError(f"{name}.type' must be one of {', '.join(TEST_FIELDS)}; the test is {str(test)[:80]!r}.")
        for field in TEST_FIELDS[kind]:
            if not isinstance(test.get(field), str):
                raise UserError(f"{name}.{field}' must be a string; it is {test.get(field)!r}.")
        if kind == "functional":
            for line in [*test["input"].split("\n"), test["output"]]:
                _json(line or "null", f"{name}'")
        elif kind == "assert":
            try:
                if not parse_python(test["code"]).body:
                    raise UserError(f"{name}.code' tests nothing: {test['code'][:60]!r}.")
            except Unparsable as error:
                if error.reason != "too_long":  # then the sandbox parses it
                    raise UserError(f"{name}.code' is not Python ({error}).") from None
    return [{**test, "code": test["code"].strip()} if test["type"] == "assert" else test for test in tests]


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not JSON ({error}): {text[:60]!r}.") from None


def _text(row: Mapping[str, Any], field: str, where: str, default: str | None = None) -> str:
    value = row.get(field, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise UserError(f"{where}: field '{field}' must be a string that is not empty; it is {value!r}.")
    return value
