"""Foreign rows among references are marked, which takes nothing from the data's own columns."""

from __future__ import annotations

import pytest

from domino_lightning.data.mixing import Noise
from domino_lightning.data.source import Source
from domino_lightning.errors import UserError

OWN = [{"id": f"o{n}", "group": f"o{n}"} for n in range(4)]
FOREIGN = [{"id": f"f{n}", "group": f"f{n}"} for n in range(4)]


@pytest.mark.parametrize("side", [0, 1])
def test_a_column_that_is_called_as_the_mark_is_refused(side: int) -> None:
    rows = [list(OWN), list(FOREIGN)]
    rows[side][2] = {**rows[side][2], "foreign": "no"}
    with pytest.raises(UserError, match=r"prepare\.noise: row '[of]2' has a field 'foreign'.*Rename it in the data"):
        Noise(0.5, Source("foreign.jsonl")).mixed_into(*rows, [])


def test_marks_tell_foreign_rows() -> None:
    mixed = Noise(0.5, Source("foreign.jsonl")).mixed_into(OWN, FOREIGN, [])
    assert sorted(row["id"][0] for row in mixed) == ["f", "f", "o", "o"]
    assert all(row.get("foreign", False) == row["id"].startswith("f") for row in mixed)
