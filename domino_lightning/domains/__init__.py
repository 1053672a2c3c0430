"""Domains: how a kind of record reads as text and is read back, answered, asked and graded."""

from domino_lightning.domains.base import Agreement, Answered, Domain, Program, Unparsable, Verdict
from domino_lightning.domains.codeexec import CodeExec
from domino_lightning.domains.codegen.domain import CodeGen
from domino_lightning.domains.freetext import AskedText, FreeText
from domino_lightning.domains.instructions.domain import Instructions
from domino_lightning.domains.rows import Message
from domino_lightning.domains.verifiable import VerifiableDomain

__all__ = [
    "Agreement",
    "Answered",
    "AskedText",
    "CodeExec",
    "CodeGen",
    "Domain",
    "FreeText",
    "Instructions",
    "Message",
    "Program",
    "Unparsable",
    "Verdict",
    "VerifiableDomain",
]
