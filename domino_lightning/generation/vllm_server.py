"""A vLLM server behind the interface of a language model: its OpenAI Completions API, one request a row."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import torch
from torch import Tensor

from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import LanguageModel, ModelSource, Prompt, Sampled
from domino_lightning.generation.prompt_vectors import PromptEncoder, soft_encoder
from domino_lightning.generation.prompts import PromptIds, end_ids
from domino_lightning.generation.requests import Requests
from domino_lightning.generation.sampling import Sampling
from domino_lightning.generation.vllm_local import lora_rank, sampling_arguments
from domino_lightning.models.backbone import load_tokenizer, local_source


def connect(
    source: ModelSource, url: str, model: str | None, api_key_env: str, concurrency: int, timeout_s: float, dtype: str
) -> ServerModel:
    """The model of a running server; the arguments are those of `VLLMServer`.

    Raises:
        UserError: no server answers, or it does not serve the model.
    """
    if source.adapter is not None and model is None:
        raise UserError(
            f"engine: the coder is an adapter. Start the server with `--enable-lora --max-lora-rank "
            f"{lora_rank(source.adapter)} --lora-modules coder={source.adapter.resolve()}` and set the engine's model "
            "to coder."
        )
    name = model or source.backbone
    key = os.environ.get(api_key_env)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    client = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
    try:
        answer = client.get("/models")
        answer.raise_for_status()
        served = [str(each["id"]) for each in answer.json()["data"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        flag = " --enable-prompt-embeds" if source.soft_prompt is not None else ""
        raise UserError(
            f"engine: {url}/models does not answer as a vLLM server ({type(error).__name__}: {error}). "
            f"Start one with `vllm serve {local_source(source.backbone, 'model')} --tokenizer "
            f"{local_source(source.tokenizer or source.backbone, 'tokenizer')} --served-model-name {name}{flag}`, "
            "or correct the engine's url."
        ) from None
    if name not in served:
        raise UserError(f"engine: {url} serves {', '.join(served)}, not '{name}'. Set the engine's model.")
    if source.soft_prompt is not None:
        encoder: PromptIds = soft_encoder(source, dtype)
    else:
        encoder = PromptIds(load_tokenizer(source.tokenizer or source.backbone))
    return ServerModel(client, name, encoder, concurrency)


class ServerModel(LanguageModel):
    """A model that a vLLM server holds.

    Args:
        client: of the server's API.
        name: of the model, as the server has it.
        encoder: turns prompts into ids, or behind domain tokens into embeddings.
        concurrency: requests in flight.
    """

    def __init__(self, client: httpx.Client, name: str, encoder: PromptIds, concurrency: int) -> None:
        self.requests, self.name, self.encoder, self.concurrency = Requests(client), name, encoder, concurrency
        self.eos_ids = end_ids(encoder.tokenizer)

    def complete(
        self,
        prompts: Sequence[Prompt],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Callable[[int], None] | None = None,
        sample_tokens: Sequence[Tensor] | None = None,
    ) -> list[Sampled]:
        """Send every prompt as a request of its own, so that it can have a seed of its own.

        Raises:
            UserError: a repetition penalty behind a soft prompt.
            StageFailed: the server refuses a request, or cannot be reached for a while.
        """
        if self.encoder.behind_domain and sampling.repetition_penalty != 1:
            raise UserError(
                f"engine: repetition_penalty {sampling.repetition_penalty} behind a soft prompt cannot be had from a "
                "vLLM server, which also penalizes ids that other requests left in its slots. Set it to 1.0, or use "
                "domino_lightning.synthesis.TransformersEngine."
            )
        if not prompts:
            return []
        if isinstance(self.encoder, PromptEncoder):
            whole = self.encoder.whole(prompts, sample_tokens)  # an empty prompt beside it is a 400
            inputs: list[dict[str, Any]] = [{"prompt_embeds": encoded(each)} for each in whole]
        else:
            inputs = [{"prompt": self.encoder.ids(prompt)} for prompt in prompts]
        bodies = [
            {"model": self.name, **given, **sampling_arguments(sampling, self.eos_ids, seed, row)}
            for given, row in zip(inputs, rows, strict=True)
        ]
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            sampled = []
            for one in pool.map(self._request, bodies):
                sampled.append(one)
                if on_tokens is not None:
                    on_tokens(one.num_tokens)
            return sampled
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _request(self, body: Mapping[str, Any]) -> Sampled:
        return self.requests.post("/completions", body, self._read)[0]

    def _read(self, answer: Mapping[str, Any]) -> Sampled:
        (choice,) = answer["choices"]
        finished = choice["finish_reason"] == "stop"
        tokens = int(answer["usage"]["completion_tokens"])
        return Sampled(str(choice["text"]), finished, tokens - finished)  # the usage counts the EOS


def encoded(embeds: Tensor) -> str:
    """A (L, H) tensor as the API takes it: saved by torch, in base64."""
    buffer = io.BytesIO()
    torch.save(embeds.cpu().contiguous().clone(), buffer)
    return base64.b64encode(buffer.getvalue()).decode("ascii")
