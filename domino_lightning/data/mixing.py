"""What the reference split is made of, for studies of size and robustness: a nested part of it, and foreign rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domino_lightning.data.source import Source
from domino_lightning.errors import UserError
from domino_lightning.utils.jsonl import Record, sha256_text
from domino_lightning.utils.ranges import UNIT_OPEN_HIGH, UNIT_OPEN_LOW, check_ranges


@dataclass(frozen=True)
class Subset:
    """A part of the reference groups; held-out and test stay as they are.

    Args:
        share: in (0, 1]. With one seed a smaller share's groups are among a larger one's.
        seed: of the choice.
    """

    share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a share out of range.

        Raises:
            UserError: it names it.
        """
        check_ranges("prepare.subset", self, share=UNIT_OPEN_LOW)

    def of(self, records: Sequence[Record]) -> list[Record]:
        """The records of the first groups in hash order; one group at least."""
        groups = _in_order(records, f"subset/{self.seed}")
        kept = set(groups[: max(1, round(self.share * len(groups)))])
        return [record for record in records if record["group"] in kept]


@dataclass(frozen=True)
class Noise:
    """Foreign rows in place of some of the references, whose number of groups stays the same.

    Args:
        share: of the reference groups, in [0, 1); a smaller share's changes are among a larger one's.
        source: where foreign rows come from; the experiment's domain reads them.
        seed: of the choice.
    """

    share: float = 0.0
    source: Source | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse a share out of range, or without a source.

        Raises:
            UserError: it names what is wrong.
        """
        check_ranges("prepare.noise", self, share=UNIT_OPEN_HIGH)
        if self.share and self.source is None:
            raise UserError(f"prepare.noise: share {self.share} needs a source; give prepare.noise.source.path.")

    def mixed_into(
        self, records: Sequence[Record], foreign: Sequence[Record], others: Sequence[Record]
    ) -> list[Record]:
        """The records with a share of their groups replaced by foreign ones, marked `foreign: true`.

        Args:
            records: the references.
            foreign: rows to take from; those whose group is in the data already are left out.
            others: the remaining splits.

        Raises:
            UserError: too few foreign groups, or rows with a field `foreign` of their own.
        """
        own = _in_order(records, f"noise/{self.seed}")
        replaced = set(own[: round(self.share * len(own))])
        known = {record["group"] for record in [*records, *others]}
        offered = [group for group in _in_order(foreign, f"noise/{self.seed}") if group not in known]
        if len(offered) < len(replaced):
            raise UserError(
                f"prepare.noise: share {self.share} replaces {len(replaced)} of {len(own)} reference groups, but the "
                f"source has {len(offered)} that are new. Lower the share, or give more foreign rows."
            )
        named = next((record["id"] for record in [*records, *foreign] if "foreign" in record), None)
        if named is not None:
            raise UserError(
                f"prepare.noise: row '{named}' has a field 'foreign', by which rows that replace others are marked. "
                "Rename it in the data, or leave prepare.noise out."
            )
        chosen = set(offered[: len(replaced)])
        kept = [record for record in records if record["group"] not in replaced]
        return [*kept, *({**record, "foreign": True} for record in foreign if record["group"] in chosen)]


ALL = Subset()
NO_NOISE = Noise()


def _in_order(records: Sequence[Record], salt: str) -> list[str]:
    """Distinct groups in the order of their hash."""
    groups = {str(record["group"]) for record in records}
    return sorted(groups, key=lambda group: sha256_text(f"{salt}/{group}"))
