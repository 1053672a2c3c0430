"""Whether what a class of a user's is given to read is left as it was."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from domino_lightning.utils.contract import broken


class ReadOnly:
    """A record as it was when methods of an object began to read it.

    Args:
        by: the object, of a class that has a contract.
        record: what its methods are given.
    """

    def __init__(self, by: object, record: Mapping[str, Any]) -> None:
        self._by, self._record, self._then = by, record, deepcopy(dict(record))

    def check(self, method: str) -> None:
        """Look at the record after a method has had it.

        Raises:
            BrokenContract: it is not what it was; the message names the first key that differs.
        """
        now, then = self._record, self._then
        if dict(now) == then:
            return
        # In lists, since a NaN that was left alone is equal to itself there alone.
        key = next(key for key in {**then, **now} if key not in now or key not in then or [now[key]] != [then[key]])
        told = f"records are there to be read, and {method} changed record[{key!r}]"
        raise broken(self._by, f"{told}; let it work on a copy, or let read put there what is meant")
