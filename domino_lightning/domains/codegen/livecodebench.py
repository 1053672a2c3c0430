"""LiveCodeBench's rows: a statement, and tests as JSON text, of which the private ones are packed."""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib
from collections.abc import Mapping
from typing import Any

from domino_lightning.domains.fields import from_json, is_given, optional_code, text
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record

MAX_PACKED_BYTES = 256 << 20
_STRING_OPCODES = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_FRAMING_OPCODES = {"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"}


def read_livecodebench(row: Mapping[str, Any], where: str) -> Record:
    """The fields of a row; private tests are hidden from a solver.

    Raises:
        UserError: a missing or ill-typed field.
    """
    metadata = row["metadata"] if is_given(row, "metadata") else {}
    if isinstance(metadata, str):
        metadata = from_json(metadata, f"{where}: field 'metadata'") if metadata.strip() else {}
    if not isinstance(metadata, dict):
        raise UserError(f"{where}: field 'metadata' must be an object; it is {str(metadata)[:60]!r}.")
    public = optional_code(row, "public_test_cases", where)
    tests = _cases(public, where, "public_test_cases") if public.strip() else []
    if is_given(row, "private_test_cases"):
        cases = _cases(_unpacked(row["private_test_cases"], where), where, "private_test_cases")
        tests += [{**case, "hidden": True} for case in cases]
    return {
        "prompt": text(row, "question_content", where),
        "starter_code": optional_code(row, "starter_code", where),
        "entry_point": metadata.get("func_name"),
        "tests": tests,
    }


def _cases(text: str, where: str, field: str) -> list[Record]:
    cases = from_json(text, f"{where}: field '{field}'")
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
