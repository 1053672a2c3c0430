"""Programs as text: guarded parsing, and keys that recognise copies."""

from __future__ import annotations

import pytest

from domino_lightning.domains import Unparsable
from domino_lightning.domains.python.source import (
    MAX_CHARACTERS,
    missing_imports,
    parse_python,
    same_layout,
    same_names,
)

CODE = "def f(items, n):\n    total = 0\n    for item in items:\n        total += item * n\n    return total"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("x" * (MAX_CHARACTERS + 1), "too_long"),
        ("def f(:", "syntax"),
        ("x = '\0'", "syntax"),
        ("\ud800", "syntax"),
        ("(" * 5000 + ")" * 5000, "syntax"),
    ],
)
def test_unreadable_text_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(Unparsable) as caught:
        parse_python(text)
    assert caught.value.reason == reason


def test_a_strange_escape_warns_nobody(recwarn: pytest.WarningsRecorder) -> None:
    parse_python("x = '\\d'")
    assert len(recwarn) == 0


@pytest.mark.parametrize("text", [" + ".join(["x"] * 3000), "x = 0x" + "f" * 6000], ids=["deep", "long number"])
def test_programs_that_parse_but_cannot_be_written_out_are_unparsable(text: str) -> None:
    for key in (same_layout, same_names):
        with pytest.raises(Unparsable) as caught:
            key(text)
        assert caught.value.reason == "syntax"


def test_layout_and_comments_do_not_count() -> None:
    spaced = "def f( items,n ) :  # sum\n  total=0\n\n  for item in items : total += item*n\n  return (total)"
    assert same_layout(spaced) == same_layout(CODE)
    assert same_layout(CODE.replace("total", "t")) != same_layout(CODE)


@pytest.mark.parametrize(
    "copy",
    [
        CODE.replace("total", "acc").replace("items", "xs").replace("item", "x"),
        CODE.replace("f(", "weigh("),
        CODE.replace("items, n", "items: list[int], n: int = None").replace(": int = None", ": int"),
        CODE.replace("n):", "n) -> int:"),
        CODE.replace("    total = 0", '    """Weigh."""\n    total = 0', 1),
        CODE.replace("total", "sum").replace("items", "list"),
    ],
    ids=["variables", "function", "annotations", "return type", "docstring", "names of builtins"],
)
def test_renamed_copies_have_one_key(copy: str) -> None:
    assert same_names(copy) == same_names(CODE)


@pytest.mark.parametrize(
    "other",
    [CODE.replace("*", "+"), CODE.replace("= 0", "= 1"), CODE.replace("item * n", "n * item")],
    ids=["operator", "constant", "order"],
)
def test_other_programs_have_another_key(other: str) -> None:
    assert same_names(other) != same_names(CODE)


def test_builtins_methods_and_imports_keep_their_names() -> None:
    assert same_names("def f(a):\n    return len(a)") != same_names("def f(a):\n    return sum(a)")
    assert same_names("def f(a):\n    return a.upper()") != same_names("def f(a):\n    return a.lower()")
    code = "import math\ndef f(a):\n    return math.floor(a)"
    assert same_names(code) != same_names(code.replace("math", "cmath"))


def test_names_of_classes_lambdas_exceptions_and_keywords_are_recognised() -> None:
    code = (
        "class A:\n    pass\n\ndef g(k=0):\n    return k\n\ndef f(x):\n    try:\n        return g(k=x), A\n"
        "    except ValueError as e:\n        return (lambda y: y)(e)"
    )
    renamed = (
        "class Box:\n    pass\n\ndef h(m=0):\n    return m\n\ndef q(v):\n    try:\n        return h(m=v), Box\n"
        "    except ValueError as err:\n        return (lambda z: z)(err)"
    )
    assert same_names(renamed) == same_names(code)


def test_missing_imports_are_those_a_program_does_not_bind() -> None:
    code = "def f(xs: List[int]):\n    c = Counter(xs)\n    return gcd(c[1], math.floor(2.5)), sqrt, len(xs)"
    assert missing_imports(code) == (
        "import math\nfrom collections import Counter\nfrom math import gcd, sqrt\nfrom typing import List"
    )
    whole = "from typing import List\nimport math\nsqrt = Counter = gcd = None\n" + code
    assert missing_imports(whole) == ""


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("def f(a):\n    return bisect.bisect_left(a, 1)", "import bisect"),
        ("def f(a):\n    return bisect(a, 1)", "from bisect import bisect"),
        ("def f(count):\n    return count + pow(2, 3)", ""),
    ],
)
def test_missing_module_or_name_by_its_use(code: str, line: str) -> None:
    assert missing_imports(code) == line
