"""Requests to a server that may be busy, slow or broken for a while: attempts, pauses and a rate."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from threading import Event, Lock
from typing import Any, TypeVar

import httpx

from domino_lightning.errors import StageFailed
from domino_lightning.utils.masking import masked

T = TypeVar("T")
PAUSE_S = 1.0  # before the second attempt; doubled before each further one
AGAIN = {408, 409, 429}  # statuses below 500 that another attempt may mend
QUOTED = 300  # characters of an answer in a message


class Requests:
    """POST requests with a body of JSON, tried again where that may help.

    Args:
        client: of the server's API.
        attempts: of one request that meets no server, a server's own error, or an answer that cannot be read.
        longest_wait_s: that a server may ask for with `Retry-After`; the pauses between attempts are no longer either.
        per_minute: requests at most; None: as many as come.
    """

    def __init__(
        self, client: httpx.Client, attempts: int = 5, longest_wait_s: float = 60.0, per_minute: float | None = None
    ) -> None:
        self.client, self.attempts, self.longest_wait_s = client, attempts, longest_wait_s
        self.spacing_s = 60.0 / per_minute if per_minute else 0.0
        self._free_at = -math.inf
        self._lock, self._stopped = Lock(), Event()

    def stop(self) -> None:
        """Have no further attempt made, in whatever thread; a request that is under way is not cut off."""
        self._stopped.set()

    def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> tuple[T, int]:
        """What `read` makes of the answer, and how many attempts it took.

        Args:
            path: below the client's base URL.
            body: of the request.
            read: raises what misfitting content raises (`LookupError`, `TypeError`, `ValueError`, `AttributeError`).

        Raises:
            StageFailed: no attempt succeeded, or no further one can.
        """
        reason = "it was interrupted"
        for attempt in range(1, self.attempts + 1):
            self._take_turn()
            if self._stopped.is_set():
                break
            wait_s = min(PAUSE_S * 2 ** (attempt - 1), self.longest_wait_s)
            try:
                answer = self.client.post(path, json=body)
            except httpx.RequestError as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                reason = f"{answer.status_code}: {answer.text[:QUOTED].strip()}"
                if answer.status_code < 400:
                    try:
                        return read(answer.json()), attempt
                    except (LookupError, TypeError, ValueError, AttributeError) as error:
                        reason = f"an answer that cannot be read ({type(error).__name__}: {error}): {reason}"
                elif answer.status_code < 500 and answer.status_code not in AGAIN:
                    break
                wait_s = max(wait_s, _asked_to_wait(answer))
            if wait_s > self.longest_wait_s:
                reason += f"; it asks to wait {wait_s:.0f} s, longer than {self.longest_wait_s:.0f} s"
                break
            if attempt < self.attempts:
                self._stopped.wait(wait_s)
        raise StageFailed(
            f"engine: {self.client.base_url} gave no completion ({masked(reason)}). What is done stays; with the "
            "server in order, the same command continues."
        )

    def _take_turn(self) -> None:
        """Wait until the rate allows another request."""
        if not self.spacing_s:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._free_at)
            self._free_at = turn + self.spacing_s
        self._stopped.wait(turn - now)


def _asked_to_wait(answer: httpx.Response) -> float:
    """Seconds in `Retry-After`, which holds a number or a date; 0 where there is none or another thing."""
    text = answer.headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return 0.0
    return max(0.0, seconds) if math.isfinite(seconds) else 0.0
