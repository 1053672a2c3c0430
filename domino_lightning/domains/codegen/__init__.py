"""CodeGen: problems that are solved by writing a program, answered by agreement, graded by tests."""

from domino_lightning.domains.codegen.domain import CodeGen

__all__ = ["CodeGen"]
