"""How tokens are drawn. Apart from modules that name torch in type hints, which jsonargparse would import."""

from __future__ import annotations

from dataclasses import dataclass

from domino_lightning.errors import UserError


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
            UserError: it names the first one.
        """
        for name, good, bounds in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "in (0, 1]"),
            ("min_p", 0 <= self.min_p < 1, "in [0, 1)"),
            ("repetition_penalty", 0 < self.repetition_penalty < float("inf"), "more than 0"),
            ("max_new_tokens", self.max_new_tokens >= 1, "1 or more"),
        ):
            if not good:
                raise UserError(f"sampling: {name} {getattr(self, name)} must be {bounds}.")
