"""Instruction following: a prompt with constraints that can be checked (IFEval, IFBench)."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from domino_lightning.domains.base import Side, Unparsable
from domino_lightning.domains.fields import is_given, texts
from domino_lightning.domains.instructions.constraints import problem_of, unstated
from domino_lightning.domains.instructions.ifbench import IFBENCH
from domino_lightning.domains.instructions.ifeval import IFEVAL
from domino_lightning.domains.rows import Message, row_id
from domino_lightning.domains.verifiable import VerifiableDomain
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record, RepeatedKey, parse_json, sha256_text

CONSTRAINTS = {**IFEVAL, **IFBENCH}
_HEADING = "Constraints:"


class Instructions(VerifiableDomain):
    """A prompt, and the constraints that its answer must keep; an answer is right when it keeps all of them.

    As text a record is its prompt and, under "Constraints:", a line for each constraint: its id, and its arguments as
    JSON. `evaluate` reports IFEval's four accuracies beside pass@k: `strict_prompt` (which is pass@1),
    `strict_instruction`, and `loose_prompt`, `loose_instruction`, where an answer also counts without its first line,
    its last line or its asterisks; and `type/<id>`, the strict accuracy of each constraint type.

    Args:
        test_types: constraint ids, or what stands before their colon, that only the test may have: records with no
            other type are the test side of the split, records without any of them are learned from, the rest is left
            out. Empty: the split is by hash alone.
        unknown: what to do with a constraint that cannot be checked: "refuse" the row, or "count" it, leave it out
            of all scores, and say how many of each id there are.
        stated: take a sampled text only if its prompt says what its constraints ask for.
        system: a system message before the prompt; null for none, which leaves the chat template's own.
    """

    kind = "instructions"
    corpus = "pip:domino_lightning/corpus/instructions.jsonl"
    unit = "prompt"
    tags = ("instruction-following",)

    def __init__(
        self,
        test_types: list[str] | None = None,
        unknown: Literal["refuse", "count"] = "refuse",
        stated: bool = True,
        system: str | None = None,
    ) -> None:
        self.test_types = frozenset(_types(test_types or []))
        self.unknown, self.stated, self.system = unknown, stated, system

    def read(self, row: Mapping[str, Any], where: str) -> Record:
        """The project's own format (`prompt`, `constraints`), or IFEval's (`instruction_id_list`, `kwargs`).

        Raises:
            UserError: a missing or ill-typed field, arguments that do not fit, a type that cannot be checked.
        """
        prompt = row.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise UserError(f"{where}: field 'prompt' must be a text; it is {prompt!r}.")
        kept, unchecked = [], [*texts(row, "unchecked", where)]
        for name, arguments in _listed(row, where):
            if name in CONSTRAINTS:
                if problem := problem_of(CONSTRAINTS[name], arguments):
                    raise UserError(f"{where}: constraint '{name}' {problem}.")
                kept.append({"id": name, "arguments": arguments})
            elif self.unknown == "refuse":
                remedy = "domain.init_args.unknown=count leaves such constraints out of the scores"
                raise UserError(f"{where}: constraint '{name}' is not known.{_near(name)} {remedy}.")
            else:
                unchecked.append(name)
        if not kept:
            names = f" but {', '.join(unchecked)}, which cannot be checked" if unchecked else ""
            raise UserError(f"{where}: the row has no constraints{names}.")
        extra = {"unchecked": unchecked} if unchecked else {}
        given = {key: value for key, value in row.items() if key not in ("instruction_id_list", "kwargs", "unchecked")}
        record = {**given, "id": row_id(row, where, ("id", "key")), "prompt": prompt.strip(), "constraints": kept}
        return {**record, **extra, "kind": self.kind, "group": self._group(prompt), "text": self.render(record)}

    def render(self, record: Mapping[str, Any]) -> str:
        """The prompt, and a line for each constraint."""
        return f"{record['prompt']}\n\n{_HEADING}\n" + "\n".join(_line(each) for each in record["constraints"])

    def parse(self, text: str) -> Record:
        """Read a prompt with constraints.

        Raises:
            Unparsable: `no_constraints`, `no_prompt`, `unknown_constraint`, `arguments`, `repeated`, or `unstated`
                (the prompt does not say what a constraint asks for, so that nobody could keep it on purpose).
        """
        prompt, heading, listed = text.strip().rpartition(f"\n{_HEADING}\n")
        lines = [line.strip() for line in listed.splitlines() if line.strip()]
        if not heading or not lines:
            raise Unparsable("no_constraints", f"no '{_HEADING}' with constraints under it")
        if not (prompt := prompt.strip()):
            raise Unparsable("no_prompt", "no prompt before the constraints")
        constraints = [_constraint(line) for line in lines]
        if len({json.dumps(each, sort_keys=True) for each in constraints}) < len(constraints):
            raise Unparsable("repeated", "a constraint is there twice")
        for each in constraints if self.stated else []:
            if missing := unstated(CONSTRAINTS[each["id"]], each["arguments"], prompt):
                raise Unparsable("unstated", f"{each['id']}: the prompt does not say {missing}")
        return {"prompt": prompt, "constraints": constraints, "kind": self.kind, "group": self._group(prompt)}

    def canonical(self, record: Mapping[str, Any]) -> str:
        """The prompt without layout and case, and the constraints in the order of their names."""
        return "\n".join([self.copied_part(record), *sorted(map(_line, record["constraints"]))])

    def copied_part(self, record: Mapping[str, Any]) -> str:
        """The prompt without layout and case: other constraints alone make no new prompt."""
        return " ".join(record["prompt"].split()).casefold()

    def subject(self, record: Mapping[str, Any]) -> str:
        """The prompt."""
        return str(record["prompt"])

    def question(self, record: Mapping[str, Any]) -> str:
        """The constraints' ids."""
        return ", ".join(each["id"] for each in record["constraints"])

    def prompt(self, record: Mapping[str, Any]) -> list[Message]:
        """The prompt, after the system message if there is one."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, {"role": "user", "content": record["prompt"]}]

    def check(self, record: Mapping[str, Any], answer: str) -> bool | str:
        """Whether it keeps all constraints, strictly; else the ids of those that it breaks."""
        broken = [each["id"] for each in record["constraints"] if not keeps(each, answer)]
        return f"breaks {', '.join(broken)}" if broken else True

    def measures(self, record: Mapping[str, Any], completion: str) -> dict[str, list[float]]:
        """IFEval's four accuracies, and the strict one of each type."""
        strict = [float(keeps(each, completion)) for each in record["constraints"]]
        loose = [float(any(keeps(each, text) for text in loosened(completion))) for each in record["constraints"]]
        found = {"strict_prompt": [min(strict)], "strict_instruction": strict}
        found |= {"loose_prompt": [min(loose)], "loose_instruction": loose}
        for each, kept in zip(record["constraints"], strict, strict=True):
            found.setdefault(f"type/{each['id']}", []).append(kept)
        return found

    def remarks(self, records: Sequence[Record]) -> list[str]:
        """How many constraints of each id cannot be checked."""
        counts = Counter(name for record in records for name in record.get("unchecked", ()))
        if not counts:
            return []
        listed = ", ".join(f"{name} ({number})" for name, number in counts.most_common())
        return [f"{counts.total()} constraints cannot be checked and are left out of all scores: {listed}."]

    def side(self, record: Mapping[str, Any]) -> Side | None:
        """By `test_types`."""
        if not self.test_types:
            return None
        found = {each["id"] in self.test_types for each in record["constraints"]}
        return "neither" if len(found) > 1 else "test" if found == {True} else "reference"

    def _group(self, prompt: str) -> str:
        return sha256_text(" ".join(prompt.split()).casefold())[:12]


def keeps(constraint: Mapping[str, Any], answer: str) -> bool:
    """Whether an answer keeps a constraint; one without any text keeps none."""
    return bool(answer.strip()) and CONSTRAINTS[constraint["id"]].passes(answer, **constraint["arguments"])


def loosened(answer: str) -> list[str]:
    """The answer, and without its first line, its last line or both, each also without asterisks."""
    lines = answer.split("\n")
    parts = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    texts = [answer, *parts]
    return [*texts, *(text.replace("*", "") for text in texts)]


def _listed(row: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Id and arguments of each constraint; an argument that is null is none."""
    if is_given(row, "instruction_id_list"):
        if is_given(row, "constraints"):
            raise UserError(
                f"{where}: there are constraints in 'instruction_id_list' and in 'constraints'. Leave out those that "
                "shall not count."
            )
        names, arguments = row["instruction_id_list"], row.get("kwargs")
        arguments = [{}] * len(names) if arguments is None and isinstance(names, list) else arguments
        if not isinstance(names, list) or not isinstance(arguments, list) or len(names) != len(arguments):
            raise UserError(f"{where}: 'instruction_id_list' and 'kwargs' must be lists of the same length.")
        listed: Iterable[tuple[Any, Any]] = zip(names, arguments, strict=True)
    else:
        entries = row.get("constraints")
        if not isinstance(entries, list) or not all(isinstance(each, Mapping) for each in entries):
            raise UserError(f"{where}: field 'constraints' must be a list of mappings; it is {entries!r}.")
        listed = [(each.get("id"), each.get("arguments")) for each in entries]
    for name, given in listed:
        if not isinstance(name, str) or not isinstance(given, Mapping | None):
            raise UserError(f"{where}: a constraint needs an id and a mapping of arguments; got {name!r}, {given!r}.")
        yield name, {key: _whole(value) for key, value in (given or {}).items() if value is not None}


def _whole(value: Any) -> Any:
    """Tables keep whole numbers beside gaps as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _line(constraint: Mapping[str, Any]) -> str:
    arguments = constraint["arguments"]
    return constraint["id"] + (f" {json.dumps(arguments, ensure_ascii=False, sort_keys=True)}" if arguments else "")


def _constraint(line: str) -> Record:
    name, _, rest = line.removeprefix("- ").partition(" ")
    if name not in CONSTRAINTS:
        raise Unparsable("unknown_constraint", f"'{name[:60]}' is no constraint's id")
    try:
        arguments = parse_json(rest) if rest.strip() else {}
    except RepeatedKey as error:
        raise Unparsable("arguments", f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise Unparsable("arguments", f"{name}: {rest[:60]!r} is not JSON") from None
    if not isinstance(arguments, dict):
        raise Unparsable("arguments", f"{name}: the arguments are no JSON object")
    if problem := problem_of(CONSTRAINTS[name], arguments):
        raise Unparsable("arguments", f"{name} {problem}")
    return {"id": name, "arguments": arguments}


def _types(names: Iterable[str]) -> Iterator[str]:
    """Ids, with those of a family in place of its name."""
    for name in names:
        found = [each for each in CONSTRAINTS if name in (each, each.partition(":")[0])]
        if not found:
            raise UserError(f"test_types: '{name}' is no constraint's id.{_near(name)}")
        yield from found


def _near(name: str) -> str:
    families = {each.partition(":")[0] for each in CONSTRAINTS}
    near = difflib.get_close_matches(name, [*CONSTRAINTS, *families], n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(sorted(CONSTRAINTS))}."
