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

from domino_lightning.domains.base import Unparsable, row_id
from domino_lightning.domains.codegen.assertions import asserts_nothing, defines
from domino_lightning.domains.python.source import (
    MAX_CHARACTERS,
    missing_modules,
    parse_python,
    source_lines,
    starter_tree,
)
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
    elif "test" in row and ("canonical_solution" in row or "entry_point" in row) and "tests" not in row:
        fields = _humaneval(row, where)
    elif "prompt" in row:
        fields = {"prompt": _text(row, "prompt", where), "tests": row.get("tests") or []}
        if fields["tests"] and row.get("test"):
            raise UserError(f"{where}: there are tests in 'tests' and in 'test'; leave out those that shall not count.")
    else:
        raise UserError(
            f"{where}: no problem in a known format; fields: {', '.join(map(repr, row)) or 'none'}. "
            "Known are 'prompt' with 'tests', MBPP ('test_list'), HumanEval ('canonical_solution') and "
            "LiveCodeBench ('question_content')."
        )
    record = {
        **{name: value for name, value in row.items() if name not in _TRANSLATED or name in fields},
        **fields,
        "id": row_id(row, where, ("id", "task_id", "question_id")),
        "prompt": fields["prompt"].strip(),
    }
    record["starter_code"] = _optional(record, "starter_code", where).strip("\n").rstrip()
    solution = _optional(record, "solution", where).rstrip()
    if solution or record.get("solution") is not None:
        record["solution"] = solution or None
    record["tests"] = _checked_tests(record["tests"], where)
    record["entry_point"] = _entry_point(record, where)
    for number, test in enumerate(record["tests"]):
        _refuse_an_empty_assertion(test, record["entry_point"], f"{where}: field '{_test_field(row, number)}'")
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
    given = record.get("entry_point") or None
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
    """MBPP+ has stronger tests in `test` beside those of MBPP; they are not shown to a solver."""
    setup = [*_texts(row, "test_imports", where), *_optional(row, "test_setup_code", where).splitlines()]
    codes = _texts(row, "test_list", where)
    if "test_imports" not in row:  # some releases lack that field, and their tests call `math.isclose` all the same
        setup = [f"import {name}" for name in _modules("\n".join([*setup, *codes]))] + setup
    tests: list[Record] = [{"type": "assert", "code": "\n".join([*setup, code.strip()])} for code in codes]
    stronger = _optional(row, "test", where)
    if stronger.strip():
        tests.append({"type": "assert", "code": "\n".join([*setup, stronger]), "hidden": True})
    return {
        "prompt": _text(row, "text" if row.get("text") is not None else "prompt", where),
        "tests": tests,
        "solution": _optional(row, "code", where) or None,
    }


def _modules(code: str) -> list[str]:
    try:
        return missing_modules(code)
    except Unparsable:
        return []  # told of the test that is none


def _humaneval(row: Mapping[str, Any], where: str) -> Record:
    """The docstring becomes the statement, and what is left of the source the starter code."""
    source, name = _text(row, "prompt", where), _text(row, "entry_point", where)
    try:
        body = starter_tree(source).body
    except Unparsable as error:
        raise UserError(f"{where}: field 'prompt' is not Python ({error}).") from None
    test = _text(row, "test", where)
    try:
        checks = defines(parse_python(test), "check")
    except Unparsable as error:
        checks = error.reason == "too_long" and "check" in test
    if not checks:
        raise UserError(
            f"{where}: field 'test' defines no function check(candidate), as HumanEval's do, so nothing would be "
            "tested; test cases of unittest are not run. Give assertions as 'tests', or a check."
        )
    solution = _optional(row, "canonical_solution", where)
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
        "tests": [{"type": "assert", "code": f"{test}\n\ncheck({name})", "hidden": True}],
        "solution": source + solution if solution.strip() else None,
    }


def _livecodebench(row: Mapping[str, Any], where: str) -> Record:
    metadata = row.get("metadata") or {}
    if isinstance(metadata, str):
        metadata = _json(metadata, f"{where}: field 'metadata'")
    if not isinstance(metadata, dict):
        raise UserError(f"{where}: field 'metadata' must be an object; it is {str(metadata)[:60]!r}.")
    public = _optional(row, "public_test_cases", where)
    tests = _cases(public, where, "public_test_cases") if public.strip() else []
    private = row.get("private_test_cases")
    if private:
        cases = _cases(_unpacked(private, where), where, "private_test_cases")
        tests += [{**case, "hidden": True} for case in cases]
    return {
        "prompt": _text(row, "question_content", where),
        "starter_code": row.get("starter_code") or "",
        "entry_point": metadata.get("func_name"),
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
        elif kind == "assert" and len(test["code"]) <= MAX_CHARACTERS:  # a longer one is parsed in the sandbox
            try:
                parse_python(test["code"])
            except Unparsable as error:
                raise UserError(f"{name}.code' is not Python ({error}).") from None
    return [{**test, "code": test["code"].strip()} if test["type"] == "assert" else test for test in tests]


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{name} is not JSON ({error}): {text[:60]!r}.") from None


def _refuse_an_empty_assertion(test: Record, entry_point: str | None, name: str) -> None:
    """Every program would pass a test that asserts nothing.

    Raises:
        UserError: it does not.
    """
    if test["type"] != "assert" or len(test["code"]) > MAX_CHARACTERS:
        return
    if problem := asserts_nothing(parse_python(test["code"]), entry_point):
        raise UserError(f"{name} tests nothing, since {problem}: {test['code'][:60]!r}.")


def _test_field(row: Mapping[str, Any], number: int) -> str:
    """The row's name for its test of that number."""
    if "test_list" in row:
        return f"test_list[{number}]" if number < len(row["test_list"] or ()) else "test"
    return f"tests[{number}].code" if "tests" in row else "test"


def _optional(row: Mapping[str, Any], field: str, where: str) -> str:
    """A text that need not be there: null is how tables say that it is not, as an empty text."""
    return "" if row.get(field) is None else _text(row, field, where, "")


def _texts(row: Mapping[str, Any], field: str, where: str) -> list[str]:
    values = row.get(field) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UserError(f"{where}: field '{field}' must be a list of strings; it is {str(values)[:80]!r}.")
    return values


def _text(row: Mapping[str, Any], field: str, where: str, default: str | None = None) -> str:
    value = row.get(field, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        raise UserError(f"{where}: field '{field}' must be a string that is not empty; it is {value!r}.")
    return value
