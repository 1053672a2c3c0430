"""Random Brindle programs: typed, and such that each runs and its arguments matter.

python generate.py --count 240 --seed 0 > programs.jsonl
"""

from __future__ import annotations

import argparse
import json
import random
import sys

from brindle import (
    OPERATORS,
    Apply,
    BrindleError,
    Expression,
    Literal,
    Name,
    Program,
    Statement,
    parse,
    run,
    show,
    without_names,
    write,
)

SYLLABLES = ("bo", "pim", "sel", "tar", "wu", "nek", "ol", "fid", "gam", "hes", "ry", "dun", "vop", "lis", "ka", "mer")
WORDS = ("ash", "brook", "corn", "dew", "elm", "fog", "gull", "hay", "iris", "jay", "kelp", "loam", "moss", "nut")
TYPES = ("num", "word", "row")
FAULTS = 200  # tries for one program


class Writer:
    """Writes one program after the other from one random stream."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def program(self) -> Program:
        """A program that runs, and gives something else on other arguments."""
        for _ in range(FAULTS):
            program = self._try()
            body = write(program, with_call=False).partition("\n")[2].split()
            if not all(name in body for name, _ in program.parameters):
                continue
            try:
                parse(write(program))
                given = run(program)
                others = [run(self._asked(program)) for _ in range(4)]
            except BrindleError:
                continue
            if any(other != given for other in others):
                return program
        raise RuntimeError("no program that runs in many tries")

    def _try(self) -> Program:
        self.taken: set[str] = set()
        count = self.random.choice((1, 2, 2))
        parameters = tuple((self._name(), self.random.choice(TYPES)) for _ in range(count))
        result = self.random.choice(TYPES)
        types = dict(parameters)
        body = [self._make(types, result)]
        goal = body[0].name
        for _ in range(self.random.randint(1, 2)):
            body.append(self._step(types, goal, depth=0))
        body.append(Statement("giv", "", self._value(types, result, 0, goal)))
        return self._asked(Program(self._name(), parameters, tuple(body), ()))

    def _asked(self, program: Program) -> Program:
        arguments = tuple(self._literal(kind).value for _, kind in program.parameters)
        return Program(program.name, program.parameters, program.body, arguments)

    def _make(self, types: dict[str, str], kind: str) -> Statement:
        value = self._value(types, kind, 1)
        name = self._name()
        types[name] = kind
        return Statement("mak", name, value)

    def _step(self, types: dict[str, str], goal: str, depth: int) -> Statement:
        """A statement that changes `goal`, perhaps inside a loop or a choice."""
        kind = self.random.choice(("chg", "wen", "evr") if depth < 2 else ("chg",))
        if kind == "evr":
            name = self._name()
            row = self._value(types, "row", 0)
            return Statement("evr", name, row, (self._step({**types, name: "num"}, goal, depth + 1),))
        if kind == "wen":
            test = self._value(types, "test", 1)
            body = (self._step(dict(types), goal, depth + 1),)
            other = (self._step(dict(types), goal, 2),) if self.random.random() < 0.5 else ()
            return Statement("wen", "", test, body, other)
        return Statement("chg", goal, self._value(types, types[goal], 1, goal))

    def _value(self, types: dict[str, str], kind: str, depth: int, about: str = "") -> Expression:
        """An expression of a type, at most `depth` operators deep; `about` is among its operands if it fits."""
        known = [name for name, found in types.items() if found == kind]
        if depth < 0 or (kind != "test" and not about and self.random.random() < 0.3):
            return Name(self.random.choice(known)) if known and self.random.random() < 0.75 else self._literal(kind)
        fitting = [name for name, each in OPERATORS.items() if each.gives == kind and (not about or kind in each.takes)]
        for _ in range(8):  # nobody computes with constants alone, where there is a name to compute with
            operator = self.random.choice(fitting)
            operands = [self._value(types, each, depth - 1) for each in OPERATORS[operator].takes]
            if about:
                operands[OPERATORS[operator].takes.index(kind)] = Name(about)
            if not all(isinstance(each, Literal) for each in operands):
                break
        return Apply(operator, tuple(operands))

    def _literal(self, kind: str) -> Literal:
        if kind == "word":
            return Literal(self.random.choice(WORDS))
        if kind == "row":
            return Literal(tuple(self.random.randint(-5, 12) for _ in range(self.random.randint(2, 4))))
        return Literal(self.random.choice((0, 1, 2, 2, 3, 4, 5, 7, 9, -1, -3)))

    def _name(self) -> str:
        while True:
            name = "".join(self.random.sample(SYLLABLES, self.random.choice((1, 2))))
            if name not in self.taken | OPERATORS.keys():
                self.taken.add(name)
                return name


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Programs with what they give, no two of them copies up to names."""
    writer, seen, found = Writer(seed), set(), []
    while len(found) < count:
        program = writer.program()
        if (key := without_names(program)) not in seen:
            seen.add(key)
            name = f"brindle-{len(found):04d}"
            found.append({"id": name, "program": write(program), "gives": show(run(program))})
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for row in rows(arguments.count, arguments.seed):
        sys.stdout.write(json.dumps(row) + "\n")
