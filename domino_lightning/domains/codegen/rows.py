"""Raw code-generation rows (the project's format, MBPP, HumanEval, LiveCodeBench) as fields of one record."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from domino_lightning.domains.base import Unparsable
from domino_lightning.domains.codegen.assertions import asserts_nothing, has_check
from domino_lightning.domains.codegen.livecodebench import read_livecodebench
from domino_lightning.domains.fields import as_code, code, codes, from_json, is_given, optional_code, text
from domino_lightning.domains.python.source import (
    MAX_CHARACTERS,
    missing_modules,
    parse_python,
    source_lines,
    starter_tree,
)
from domino_lightning.domains.rows import row_id
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

TEST_FIELDS = {"stdin": ("input", "output"), "functional": ("input", "output"), "assert": ("code",)}
_EVALPLUS = ("plus_input", "base_input")
# The last are not read at all: inputs of EvalPlus, examples of CodeContests, of APPS and TACO.
_TESTS = (
    "tests", "test_list", "test", "public_test_cases", "private_test_cases",
    *_EVALPLUS, "public_tests", "private_tests", "generated_tests", "input_output",
)  # fmt: skip
_CHECK = re.compile(r"^def check\(", re.MULTILINE)
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
    own: tuple[str, ...]
    named = {name for name, value in row.items() if value is not None}
    if "question_content" in named:
        fields, own = read_livecodebench(row, where), ("public_test_cases", "private_test_cases")
    elif "test_list" in named:
        fields, own = _mbpp(row, where), ("test_list", "test")
    elif "test" in named and row.keys() & {"canonical_solution", "entry_point"} and "tests" not in named:
        fields, own = _humaneval(row, where), ("test",)
    elif "prompt" in row:
        tests = row["tests"] if is_given(row, "tests") else []
        fields, own = {"prompt": text(row, "prompt", where), "tests": tests}, ("tests",)
    else:
        raise UserError(
            f"{where}: no problem in a known format; fields: {', '.join(map(repr, row)) or 'none'}. "
            "Known are 'prompt' with 'tests', MBPP ('test_list'), HumanEval ('canonical_solution') and "
            "LiveCodeBench ('question_content')."
        )
    _refuse_other_tests(row, own, where)
    record = {
        **{name: value for name, value in row.items() if name not in _TRANSLATED or name in fields},
        **fields,
        "id": row_id(row, where, ("id", "task_id", "question_id")),
        "prompt": fields["prompt"].strip(),
    }
    record["starter_code"] = optional_code(record, "starter_code", where).strip("\n").rstrip()
    solution = optional_code(record, "solution", where).rstrip()
    if solution or record.get("solution") is not None:
        record["solution"] = solution or None
    record["tests"] = _checked_tests(record["tests"], where)
    record["entry_point"] = _entry_point(record, where)
    for number, test in enumerate(record["tests"]):
        _refuse_an_empty_assertion(test, record["entry_point"], f"{where}: field '{_test_field(row, own[0], number)}'")
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
    if is_given(record, "entry_point"):
        given = record["entry_point"]
        if not (isinstance(given, str) and given.isidentifier()):
            raise UserError(f"{where}: field 'entry_point' must be a Python name; it is {given!r}.")
        return given
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
    setup = [*codes(row, "test_imports", where), *optional_code(row, "test_setup_code", where).splitlines()]
    asserted = codes(row, "test_list", where)
    if "test_imports" not in row:  # some releases lack that field, and their tests call `math.isclose` all the same
        setup = [f"import {name}" for name in _modules("\n".join([*setup, *asserted]))] + setup
    tests: list[Record] = [{"type": "assert", "code": "\n".join([*setup, each.strip()])} for each in asserted]
    stronger = optional_code(row, "test", where)
    if stronger.strip():
        tests.append({"type": "assert", "code": "\n".join([*setup, stronger]), "hidden": True})
    return {
        "prompt": text(row, "text" if row.get("text") is not None else "prompt", where),
        "tests": tests,
        "solution": optional_code(row, "code", where) or None,
    }


def _modules(source: str) -> list[str]:
    try:
        return missing_modules(source)
    except Unparsable:
        return []  # told of the test that is none


def _humaneval(row: Mapping[str, Any], where: str) -> Record:
    """The docstring becomes the statement, and what is left of the source the starter code."""
    source, name = code(row, "prompt", where), code(row, "entry_point", where)
    try:
        body = starter_tree(source).body
    except Unparsable as error:
        raise UserError(f"{where}: field 'prompt' is not Python ({error}).") from None
    test = code(row, "test", where)
    try:
        checks = has_check(parse_python(test))
    except Unparsable as error:
        checks = error.reason == "too_long" and _CHECK.search(test) is not None
    if not checks:
        raise UserError(
            f"{where}: field 'test' defines no function check(candidate) at its top level, as HumanEval's do, so "
            "nothing would be tested; test cases of unittest are not run. Give assertions as 'tests', or a check."
        )
    solution = optional_code(row, "canonical_solution", where)
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


def _checked_tests(tests: Any, where: str) -> list[Record]:
    if not isinstance(tests, list):
        raise UserError(f"{where}: field 'tests' must be a list of objects; it is {tests!r}.")
    for number, test in enumerate(tests):
        name = f"{where}: field 'tests[{number}]"
        kind = test.get("type") if isinstance(test, dict) else None
        if not isinstance(kind, str) or kind not in TEST_FIELDS:
            raise UserError(f"{name}.type' must be one of {', '.join(TEST_FIELDS)}; the test is {str(test)[:80]!r}.")
        for field in TEST_FIELDS[kind]:
            if not isinstance(test.get(field), str):
                raise UserError(f"{name}.{field}' must be a string; it is {test.get(field)!r}.")
            as_code(test[field], f"{name}.{field}'")
        if kind == "functional":
            for line in filter(str.strip, test["input"].split("\n")):
                from_json(line, f"{name}.input'")
            from_json(test["output"], f"{name}.output'")
        elif kind == "assert" and len(test["code"]) <= MAX_CHARACTERS:  # a longer one is parsed in the sandbox
            try:
                parse_python(test["code"])
            except Unparsable as error:
                raise UserError(f"{name}.code' is not Python ({error}).") from None
    return [{**test, "code": test["code"].strip()} if test["type"] == "assert" else test for test in tests]


def _refuse_other_tests(row: Mapping[str, Any], own: Sequence[str], where: str) -> None:
    """Tests in fields of two formats, of which only one would count, or in those of another format alone.

    Raises:
        UserError: there are such.
    """
    given = [name for name in own if is_given(row, name)]
    others = [name for name in _TESTS if name not in own and is_given(row, name)]
    if not others:
        return
    hub = (
        "Take EvalPlus's rows from the Hugging Face hub, whose 'test' holds all inputs"
        if others[0] in _EVALPLUS
        else ""
    )
    if given:
        remedy = f"{hub}, or leave" if hub else "Leave"
        raise UserError(
            f"{where}: there are tests in '{given[0]}' and in '{others[0]}'. {remedy} out those that shall not count."
        )
    remedy = hub or f"Give tests as '{own[0]}'"
    raise UserError(f"{where}: what is in '{others[0]}' is not read in a row of this format. {remedy}.")


def _refuse_an_empty_assertion(test: Record, entry_point: str | None, name: str) -> None:
    """Every program would pass a test that asserts nothing.

    Raises:
        UserError: it does not.
    """
    if test["type"] != "assert" or len(test["code"]) > MAX_CHARACTERS:
        return
    if problem := asserts_nothing(parse_python(test["code"]), entry_point):
        raise UserError(f"{name} tests nothing, since {problem}: {test['code'][:60]!r}.")


def _test_field(row: Mapping[str, Any], own: str, number: int) -> str:
    """The row's name for its test of that number, which stands in its field `own`, or after those there in `test`."""
    if own == "test_list":
        return f"test_list[{number}]" if number < len(row[own]) else "test"
    return f"tests[{number}].code" if own == "tests" else own
