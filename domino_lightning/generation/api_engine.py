"""Any chat API that speaks OpenAI's protocol: `POST <base_url>/chat/completions`, one request a row."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import Engine, LanguageModel, ModelSource, Prompt, Sampled
from domino_lightning.generation.ledger import Ledger, current_ledger
from domino_lightning.generation.sampling import Sampling
from domino_lightning.utils.jsonl import Record, canonical_json, sha256_text
from domino_lightning.utils.ranges import ONE_OR_MORE, POSITIVE, SECONDS, WORKERS, ZERO_OR_MORE, Range, check_ranges
from domino_lightning.utils.seeding import derived_seed

if TYPE_CHECKING:
    from torch import Tensor

    from domino_lightning.generation.requests import Requests

MAX_SEED = 2**31  # what the protocol's integers hold everywhere
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Traffic:
    """Settings of an API that change no text, and are no part of a fingerprint.

    Args:
        concurrency: requests in flight.
        requests_per_minute: at most; null: as many as come.
        timeout_s: seconds that one request may take.
        attempts: of a request that is refused for the moment (408, 409, 429), meets no server or a server's own error,
            takes too long, or is answered with something that cannot be read.
        longest_wait_s: that a `Retry-After` may ask for; one that asks for more ends the stage.
        prompt_price: US dollars for a million tokens of prompts; null: unknown, and no cost is given.
        completion_price: the same for tokens of completions.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout_s: float = 120.0
    attempts: int = 6
    longest_wait_s: float = 120.0
    prompt_price: float | None = None
    completion_price: float | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            OutOfRange: the first one.
        """
        limits = {"concurrency": WORKERS, "requests_per_minute": POSITIVE, "timeout_s": SECONDS}
        prices = {"prompt_price": ZERO_OR_MORE, "completion_price": ZERO_OR_MORE}
        waits = {"attempts": ONE_OR_MORE, "longest_wait_s": Range("from 0 to 1000000", 0, 10**6)}
        check_ranges("engine.runtime", self, **limits, **waits, **prices)


TRAFFIC = Traffic()


class APIEngine(Engine):
    """A model behind a chat API, known by its name alone: `backbone` beside it need be nothing on this machine.

    Within a stage every answer is written to disk when it comes and never asked for again, however often the stage is
    killed. Requests, tokens and cost are in the stage's metrics (`<stage>/api/...`) and in its `api.json`.

    Args:
        base_url: of the API, with its version, for example `https://api.openai.com/v1`.
        model: its name there; null: the backbone.
        api_key_env: environment variable that holds the key, which is stored nowhere; null: the server wants none.
        send_seed: send every row's seed; some servers refuse it, and none promises that texts repeat.
        body: further fields of a request, for example `{reasoning_effort: low}`.
        runtime: rate, attempts and prices.
    """

    remote = True

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        api_key_env: str | None = "OPENAI_API_KEY",
        send_seed: bool = True,
        body: dict[str, Any] | None = None,
        runtime: Traffic = TRAFFIC,
    ) -> None:
        if not re.fullmatch(r"https?://[^/@\s]+(/[^@\s]*)?", base_url):
            raise UserError("engine.base_url: must begin with http:// or https://, and holds no user or password.")
        if api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", api_key_env):
            raise UserError(
                "engine.api_key_env: is no name of an environment variable. Name one that holds the key; a key itself "
                "does not belong into a configuration, which is stored."
            )
        self.base_url, self.model, self.api_key_env = base_url.rstrip("/"), model, api_key_env
        self.send_seed, self.body, self.runtime = send_seed, body or {}, runtime

    def load(self, source: ModelSource) -> LanguageModel:
        """Check what can be checked without paying.

        Raises:
            UserError: an adapter or a soft prompt, which no API takes, or no key.
        """
        import httpx

        from domino_lightning.generation.requests import Requests

        if source.adapter is not None or source.soft_prompt is not None:
            what = "a soft prompt" if source.soft_prompt is not None else "an adapter"
            raise UserError(f"engine: a chat API takes no {what.split(' ', 1)[1]}. Use another engine for {what}.")
        headers = {}
        if self.api_key_env is not None:
            key = os.environ.get(self.api_key_env, "").strip()
            if not key:
                raise UserError(
                    f"engine.api_key_env: the environment variable {self.api_key_env} is not set. Set it to the key of "
                    f"{self.base_url}, or give api_key_env: null for a server that wants none."
                )
            headers["Authorization"] = f"Bearer {key}"
        runtime = self.runtime
        client = httpx.Client(base_url=self.base_url, headers=headers, timeout=runtime.timeout_s)
        requests = Requests(client, runtime.attempts, runtime.longest_wait_s, runtime.requests_per_minute)
        return APIModel(requests, {"model": self.model or source.backbone, **self.body}, runtime, self.send_seed)


class APIModel(LanguageModel):
    """A model behind a chat API.

    Args:
        requests: to the API.
        fields: of every request's body.
        runtime: how many requests at a time, and what they cost.
        send_seed: send every row's seed.
    """

    def __init__(self, requests: Requests, fields: Mapping[str, Any], runtime: Traffic, send_seed: bool = True) -> None:
        self.requests, self.fields, self.runtime, self.send_seed = requests, fields, runtime, send_seed
        self._said_usage = False

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """One request a row, unless the stage has its answer.

        Raises:
            UserError: a prompt that is no chat, a setting that the protocol does not have, or a key that is refused.
            StageFailed: the server refuses a request for good, or for too long.
        """
        if sampling.min_p or sampling.repetition_penalty != 1 or sample_tokens is not None:
            given = "sample tokens" if sample_tokens is not None else "min_p and repetition_penalty"
            raise UserError(f"engine: {given} cannot be asked of a chat API. Leave them out, or use another engine.")
        if any(isinstance(prompt, str) for prompt in prompts):
            raise UserError(
                "engine: a chat API takes chats, and this prompt is a text to continue, as those of Magpie and of "
                "base models are. Use another engine."
            )
        if not prompts:
            return []
        bodies = [
            self._body(prompt, derived_seed("row", seed, row) % MAX_SEED, sampling)
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        keys = [
            sha256_text(canonical_json([str(self.requests.client.base_url), body, row, seed]))
            for body, row in zip(bodies, rows, strict=True)
        ]
        pool, ledger = ThreadPoolExecutor(self.runtime.concurrency), current_ledger()
        try:
            answers = pool.map(partial(self._answer, ledger), keys, bodies)
            sampled = []
            for answer in answers:
                self._mind_usage(answer)
                sampled.append(Sampled(answer["text"], answer["finished"], answer["completion_tokens"]))
                if on_tokens is not None:
                    on_tokens(answer["completion_tokens"])
            return sampled
        except BaseException:
            self.requests.stop()
            raise
        finally:
            # What is in flight will be paid for, so it is waited for and kept; what is not is not begun.
            pool.shutdown(wait=True, cancel_futures=True)

    def _body(self, prompt: Prompt, seed: int, sampling: Sampling) -> dict[str, Any]:
        messages = [dict(message) for message in prompt if not isinstance(message, str)]
        drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_new_tokens}
        seeded = {"seed": seed} if self.send_seed else {}
        return {"messages": messages, **drawn, **seeded, **self.fields}

    def _answer(self, ledger: Ledger | None, key: str, body: Mapping[str, Any]) -> Record:
        kept = ledger.find(key) if ledger is not None else None
        if kept is not None:
            return kept
        answer, attempts = self.requests.post("/chat/completions", body, self._read)
        answer |= {"requests": 1, "attempts": attempts}
        if ledger is not None:
            ledger.keep(key, answer)
        return answer

    def _read(self, content: Any) -> Record:
        """The parts of an answer that count; a message without text, as of a refusal, is an unfinished empty one."""
        choice = content["choices"][0]
        text, reason, used = choice["message"]["content"], choice["finish_reason"], content.get("usage") or {}
        if not isinstance(text, str | None):
            raise TypeError(f"content is a {type(text).__name__}")
        tokens = {name: int(used.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")}
        prices = self.runtime.prompt_price, self.runtime.completion_price
        cost = None
        if used and None not in prices:
            cost = sum(count * (price or 0.0) / 1e6 for count, price in zip(tokens.values(), prices, strict=True))
        finished = reason == "stop" and text is not None
        return {"text": text or "", "finished": finished, **tokens, "without_usage": int(not used), "cost_usd": cost}

    def _mind_usage(self, answer: Record) -> None:
        if answer["without_usage"] and not self._said_usage:
            self._said_usage = True
            log.warning(
                "engine: %s does not say how many tokens it used, so tokens and cost are counted too low.",
                self.requests.client.base_url,
            )
