"""How tokens are drawn. Apart from modules that name torch in type hints, which jsonargparse would import."""

from __future__ import annotations

from dataclasses import dataclass

from domino_lightning.utils.ranges import (
    ONE_OR_MORE,
    POSITIVE,
    UNIT_OPEN_HIGH,
    UNIT_OPEN_LOW,
    ZERO_OR_MORE,
    check_ranges,
)


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn, each setting as in transformers' `generate` and in its order.

    Args:
        temperature: 0 is greedy.
        top_p: nucleus; 1 keeps all tokens.
        min_p: drops tokens less likely than this share of the likeliest; 0 keeps all.
        repetition_penalty: above 1 it lowers the logits of tokens that the row has generated; 1 is none.
        max_new_tokens: a row that reaches it without EOS is not finished.
    """

    temperature: float = 0.8
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    max_new_tokens: int = 128

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            OutOfRange: the first one.
        """
        check_ranges(
            "sampling",
            self,
            temperature=ZERO_OR_MORE,
            top_p=UNIT_OPEN_LOW,
            min_p=UNIT_OPEN_HIGH,
            repetition_penalty=POSITIVE,
            max_new_tokens=ONE_OR_MORE,
        )
