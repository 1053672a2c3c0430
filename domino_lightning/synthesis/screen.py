"""The cheap test that counts towards a stop at accepted rows."""

from __future__ import annotations

from collections import Counter

from domino_lightning.domains.base import Domain, Unparsable

# What to try against the reason that took most rows, by how it begins.
REMEDIES = (
    ("unfinished", "Raise the generator's max_new_tokens, or tune longer"),
    ("parse:", "Tune longer, or lower the generator's temperature"),
    ("duplicate", "Raise the generator's temperature"),
)


class Screen:
    """The cheap test that counts towards `stop.accepted`: finished, parses, not seen before."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.seen: set[str] = set()

    def __call__(self, text: str, finished: bool) -> str:
        """'ok', or the reason."""
        if not finished:
            return "unfinished"
        try:
            key = self.domain.canonical(self.domain.parsed(text))
        except Unparsable as error:
            return f"parse:{error.reason}"
        if key in self.seen:
            return "duplicate"
        self.seen.add(key)
        return "ok"


def shortfall(reasons: Counter[str], wanted: int) -> str:
    """Why the candidates ran out before enough rows had passed the screen, and what may help."""
    counts = {reason: count for reason, count in reasons.most_common() if reason != "ok"}
    worst = next(iter(counts))
    remedy = next((remedy for start, remedy in REMEDIES if worst.startswith(start)), "See the rows")
    share = counts[worst] / reasons.total()
    return (
        f"synthesize: {reasons['ok']} of {wanted} rows asked for (synthesize.stop.accepted) were screened in when "
        f"all {reasons.total()} candidates (synthesize.stop.candidates) were made. '{worst}' took most: "
        f"{counts[worst]} rows, {share:.0%}. {remedy}; or raise stop.candidates."
    )
