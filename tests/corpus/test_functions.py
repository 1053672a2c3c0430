"""The embedded corpus holds what its README promises: distinct, executable, deterministic functions."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from importlib.resources import files
from typing import Any

import pytest

FIELDS = ["id", "kind", "group", "code", "entry_point", "input", "output"]
MAX_SOURCE_CHARS = 60
TIMEOUT_S = 60

# [[code, input], ...] on stdin, the list of reprs on stdout; every row gets a namespace of its own.
RUN_ROWS = """
import json, sys
outputs = []
for code, arguments in json.load(sys.stdin):
    namespace = {}
    exec(code, namespace)
    outputs.append(repr(eval(f"f({arguments})", namespace)))
json.dump(outputs, sys.stdout)
"""


class Renamer(ast.NodeTransformer):
    """Renames the names a function binds to v0, v1, ... in order of first appearance."""

    def __init__(self, bound: set[str]) -> None:
        self.bound = bound
        self.names: dict[str, str] = {}

    def rename(self, name: str) -> str:
        if name not in self.bound:
            return name
        return self.names.setdefault(name, f"v{len(self.names)}")

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.arg = self.rename(node.arg)
        return node

    def visit_Name(self, node: ast.Name) -> ast.Name:
        node.id = self.rename(node.id)
        return node


def normalized(code: str) -> str:
    """The syntax tree as text, equal for two functions that differ only in variable names and layout."""
    tree = ast.parse(code)
    bound = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    bound |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return ast.dump(Renamer(bound).visit(tree))


def run_all(rows: list[dict[str, Any]], hash_seed: int) -> list[str]:
    """The repr of every row's result, from one child process under the given PYTHONHASHSEED."""
    child = subprocess.run(
        [sys.executable, "-c", RUN_ROWS],
        input=json.dumps([[row["code"], row["input"]] for row in rows]),
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert child.returncode == 0, child.stderr
    outputs: list[str] = json.loads(child.stdout)
    return outputs


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    text = files("domino_lightning.corpus").joinpath("functions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def codes(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["group"]: row["code"] for row in rows}


def test_rows_have_exactly_the_documented_fields(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert list(row) == FIELDS
        assert all(isinstance(row[field], str) for field in FIELDS)
        assert (row["kind"], row["entry_point"]) == ("codeexec", "f")


def test_ids_are_unique_and_name_their_group(rows: list[dict[str, Any]]) -> None:
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(row["id"].rpartition("-")[0] == row["group"] for row in rows)


def test_has_enough_functions_with_enough_inputs_each(rows: list[dict[str, Any]]) -> None:
    inputs = defaultdict(set)
    for row in rows:
        inputs[row["group"]].add(row["input"])
    assert len(inputs) >= 96
    assert min(len(distinct) for distinct in inputs.values()) >= 3
    assert sum(len(distinct) for distinct in inputs.values()) == len(rows)


def test_every_function_gives_at_least_three_different_outputs(rows: list[dict[str, Any]]) -> None:
    outputs = defaultdict(set)
    for row in rows:
        outputs[row["group"]].add(row["output"])
    assert [group for group, distinct in outputs.items() if len(distinct) < 3] == []


def test_rows_of_a_group_share_one_code(rows: list[dict[str, Any]], codes: dict[str, str]) -> None:
    assert all(row["code"] == codes[row["group"]] for row in rows)


def test_code_is_exactly_one_plain_function_named_f(codes: dict[str, str]) -> None:
    for group, code in codes.items():
        body = ast.parse(code).body
        assert len(body) == 1, group
        function = body[0]
        assert isinstance(function, ast.FunctionDef), group
        assert function.name == "f", group
        assert ast.get_docstring(function) is None, group
        assert not any(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.walk(function)), group
        assert 3 <= len(code.splitlines()) <= 8, group


def test_inputs_are_literal_arguments_of_modest_length(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        call = ast.parse(f"f({row['input']})", mode="eval").body
        assert isinstance(call, ast.Call)
        for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
            ast.literal_eval(argument)
        assert len(row["input"]) <= MAX_SOURCE_CHARS
        assert len(row["output"]) <= MAX_SOURCE_CHARS


def test_outputs_survive_a_literal_round_trip(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert repr(ast.literal_eval(row["output"])) == row["output"], row["id"]


@pytest.mark.parametrize("hash_seed", [0, 1])
def test_outputs_are_what_execution_gives_under_any_hash_seed(rows: list[dict[str, Any]], hash_seed: int) -> None:
    executed = run_all(rows, hash_seed)
    pairs = zip(rows, executed, strict=True)
    wrong = [(row["id"], row["output"], got) for row, got in pairs if got != row["output"]]
    assert wrong == []


def test_normalizing_ignores_variable_names_and_nothing_else() -> None:
    code = "def f(a):\n    for b in a:\n        a = len(b)\n    return a"
    renamed = "def f(x):\n    for y in x:\n        x = len(y)\n    return x"
    assert normalized(code) == normalized(renamed)
    assert normalized(code) != normalized(code.replace("return a", "return b"))
    assert normalized(code) != normalized(code.replace("len", "sum"))


def test_no_two_functions_are_alike_after_renaming_variables(codes: dict[str, str]) -> None:
    counts = Counter(normalized(code) for code in codes.values())
    assert len(counts) == len(codes)
