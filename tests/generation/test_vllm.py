"""vLLM, in process and as a server, asked as its documentation says; test_vllm_real.py runs vLLM itself.

The fake server takes requests apart as vLLM's own loader does, refuses fields that the Completions API does not have,
and continues them greedily with the tiny model: so equal texts mean equal prompts.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor

from domino_lightning.errors import StageFailed, UserError
from domino_lightning.generation import requests as requests_module
from domino_lightning.generation.vllm_local import lora_rank
from domino_lightning.models.backbone import load_backbone, load_tokenizer
from domino_lightning.models.soft_prompt import save_soft_prompt
from domino_lightning.synthesis import ModelSource, Prompt, Sampling, TransformersEngine, VLLMEngine, VLLMServer
from domino_lightning.utils.jsonl import write_json
from domino_lightning.utils.seeding import derived_seed

CHATS: list[Prompt] = [[{"role": "user", "content": text}] for text in ("two plus two", "two plus", "a")]
GREEDY = Sampling(0.0, max_new_tokens=9)
# Of vLLM's CompletionRequest, in every release from 0.11 on.
FIELDS = {
    *("model", "prompt", "prompt_embeds", "max_tokens", "temperature", "top_p", "top_k", "min_p", "seed"),
    *("repetition_penalty", "stop_token_ids", "skip_special_tokens"),
}


class Refused(Exception):
    """A request that vLLM answers with 400."""


class FakeServer:
    """What a vLLM server does with a request, on a tiny model, greedily."""

    def __init__(self, backbone: str) -> None:
        self.model, self.tokenizer = load_backbone(backbone), load_tokenizer(backbone)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.failures: list[int] = []  # status codes to answer first
        self.served = [backbone]

    def embeds(self, body: dict[str, Any]) -> Tensor:
        if body.get("prompt_embeds") is None:
            return self.model.get_input_embeddings()(torch.tensor(body["prompt"])).detach()
        payload = base64.b64decode(body["prompt_embeds"], validate=True)
        tensor = torch.load(io.BytesIO(payload), weights_only=True, map_location="cpu")
        assert tensor.is_floating_point() and tensor.dim() == 2 and tensor.shape[1] == 32
        return tensor.to(self.model.dtype)

    @torch.no_grad()
    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        assert set(body) <= FIELDS, set(body) - FIELDS
        assert -(2**63) <= body["seed"] < 2**63
        if "prompt" in body and not body["prompt"]:
            raise Refused("The decoder prompt cannot be empty")
        embeds, ids, reason = self.embeds(body), [], "length"
        for _ in range(body["max_tokens"]):
            token = int(self.model(inputs_embeds=embeds[None]).logits[0, -1].argmax())
            ids.append(token)
            if token in body["stop_token_ids"]:
                reason = "stop"
                break
            embeds = torch.cat([embeds, self.model.get_input_embeddings()(torch.tensor([token]))])
        text = self.tokenizer.decode(ids, skip_special_tokens=body["skip_special_tokens"])
        choice = {"index": 0, "text": text, "finish_reason": reason, "stop_reason": None}
        usage = {"prompt_tokens": len(embeds) - len(ids), "completion_tokens": len(ids)}
        return {"id": "cmpl-1", "object": "text_completion", "choices": [choice], "usage": usage}


@pytest.fixture
def fake(tiny_backbone: Path) -> Iterator[tuple[FakeServer, str]]:
    state = FakeServer(str(tiny_backbone))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            assert self.path == "/v1/models"
            self._answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in state.served]})

        def do_POST(self) -> None:  # noqa: N802
            assert self.path == "/v1/completions"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append(body)
            state.headers.append(dict(self.headers))
            if state.failures:
                return self._answer(state.failures.pop(), {"error": {"message": "not now"}})
            try:
                return self._answer(200, state.complete(body))
            except Refused as error:
                return self._answer(400, {"error": {"message": str(error)}})

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield state, f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def tuned(tmp_path: Path, tiny_backbone: Path) -> Path:
    domain = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    save_soft_prompt(tmp_path, domain, str(tiny_backbone), load_tokenizer(str(tiny_backbone)))
    return tmp_path


def test_a_server_gives_what_transformers_gives(fake: tuple[FakeServer, str], tiny_backbone: Path, tuned: Path) -> None:
    state, url = fake
    engine = VLLMServer(url, dtype="float32", concurrency=2)
    rows = [torch.randn(2, 32, generator=torch.Generator().manual_seed(row)) for row in range(2)]
    for source, prompts, own in (
        (ModelSource(str(tiny_backbone)), [*CHATS, "def f"], None),
        (ModelSource.of_soft_prompt(tuned), ["", "def", CHATS[0]], None),
        (ModelSource.of_soft_prompt(tuned), ["", ""], rows),
    ):
        there = engine.load(source).complete(prompts, range(len(prompts)), 0, GREEDY, None, own)
        here = TransformersEngine().load(source).complete(prompts, range(len(prompts)), 0, GREEDY, None, own)
        assert there == here
    assert all(("prompt_embeds" in body) != ("prompt" in body) for body in state.requests)


def test_every_setting_is_sent_and_a_row_keeps_its_seed(fake: tuple[FakeServer, str], tiny_backbone: Path) -> None:
    state, url = fake
    model = VLLMServer(url).load(ModelSource(str(tiny_backbone)))
    model.complete(CHATS[:2], [7, 9], 5, Sampling(0.7, 0.9, 0.05, 1.2, 3))
    first, second = sorted(state.requests, key=lambda body: body["seed"] != derived_seed("row", 5, 7))
    assert second["seed"] == derived_seed("row", 5, 9)
    expected = {"temperature": 0.7, "top_p": 0.9, "top_k": -1, "min_p": 0.05, "repetition_penalty": 1.2}
    expected |= {"max_tokens": 3, "stop_token_ids": [0], "model": str(tiny_backbone), "skip_special_tokens": True}
    assert {key: first[key] for key in expected} == expected


def test_embeddings_are_sent_in_the_dtype_asked_for(fake: tuple[FakeServer, str], tuned: Path) -> None:
    state, url = fake
    VLLMServer(url).load(ModelSource.of_soft_prompt(tuned)).complete([""], [0], 0, GREEDY)
    sent = torch.load(io.BytesIO(base64.b64decode(state.requests[0]["prompt_embeds"])), weights_only=True)
    assert (sent.dtype, tuple(sent.shape)) == (torch.bfloat16, (3, 32))


def test_a_busy_server_is_asked_again(
    fake: tuple[FakeServer, str], tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = fake
    monkeypatch.setattr(requests_module, "PAUSE_S", 0.0)
    model = VLLMServer(url).load(ModelSource(str(tiny_backbone)))
    state.failures = [503, 429]
    assert len(model.complete(CHATS[:1], [0], 0, GREEDY)) == 1
    assert len(state.requests) == 3


def test_a_refused_request_fails_at_once_with_the_servers_words(
    fake: tuple[FakeServer, str], tiny_backbone: Path
) -> None:
    state, url = fake
    model = VLLMServer(url).load(ModelSource(str(tiny_backbone)))
    state.failures = [400]
    with pytest.raises(StageFailed, match="400: .*not now.*same command continues"):
        model.complete(CHATS[:1], [0], 0, GREEDY)
    assert len(state.requests) == 1


def test_no_server_and_another_model_are_told_with_the_command(fake: tuple[FakeServer, str], tuned: Path) -> None:
    state, url = fake
    source = ModelSource.of_soft_prompt(tuned)
    command = r"vllm serve .*tiny.* --tokenizer .*tiny.* --served-model-name .*tiny.* --enable-prompt-embeds"
    with pytest.raises(UserError, match=command):
        VLLMServer("http://127.0.0.1:9/v1").load(source)
    state.served = ["other"]
    with pytest.raises(UserError, match="serves other, not"):
        VLLMServer(url).load(source)
    with pytest.raises(UserError, match="http://"):
        VLLMServer("127.0.0.1:8000")


def test_the_key_comes_from_the_environment(
    fake: tuple[FakeServer, str], tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = fake
    monkeypatch.setenv("SOME_KEY", "abc")
    VLLMServer(url, api_key_env="SOME_KEY").load(ModelSource(str(tiny_backbone))).complete(CHATS[:1], [0], 0, GREEDY)
    assert state.headers[0]["Authorization"] == "Bearer abc"


def test_an_adapter_needs_the_name_that_the_server_gives_it(
    fake: tuple[FakeServer, str], tiny_backbone: Path, tmp_path: Path
) -> None:
    state, url = fake
    write_json(tmp_path / "adapter_config.json", {"r": 12})
    source = ModelSource(str(tiny_backbone), adapter=tmp_path)
    with pytest.raises(UserError, match=f"--max-lora-rank 16 --lora-modules coder={tmp_path}"):
        VLLMServer(url).load(source)
    state.served = ["coder"]
    VLLMServer(url, model="coder").load(source).complete(CHATS[:1], [0], 0, GREEDY)
    assert state.requests[0]["model"] == "coder"


class FakeLLM:
    """`vllm.LLM` as its documentation has it, over the fake server's model."""

    made: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = []

    def __init__(self, model: str, tokenizer: str, **options: Any) -> None:
        self.made.append(options)
        self.server = FakeServer(model)

    def generate(self, prompts: list[dict[str, Any]], sampling_params: list[Any], **settings: Any) -> list[Any]:
        outputs = []
        for prompt, parameters in zip(prompts, sampling_params, strict=True):
            self.asked.append({**vars(parameters), **settings})
            body = dict(vars(parameters))
            if "prompt_embeds" in prompt:
                self.server.embeds = lambda _, given=prompt["prompt_embeds"]: given.float()  # type: ignore[method-assign]
            given = {"prompt": prompt["prompt_token_ids"]} if "prompt_token_ids" in prompt else {}
            answer = self.server.complete({**body, **given})
            (choice,) = answer["choices"]
            ids = [5] * (answer["usage"]["completion_tokens"] - (choice["finish_reason"] == "stop"))
            ids += [0] * (choice["finish_reason"] == "stop")
            best = types.SimpleNamespace(text=choice["text"], token_ids=ids, finish_reason=choice["finish_reason"])
            outputs.append(types.SimpleNamespace(outputs=[best]))
        return outputs


@pytest.fixture
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> type[FakeLLM]:
    module: Any = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = FakeLLM, types.SimpleNamespace
    request: Any = types.ModuleType("vllm.lora.request")
    request.LoRARequest = lambda *arguments: arguments
    for name, each in (("vllm", module), ("vllm.lora", types.ModuleType("vllm.lora")), ("vllm.lora.request", request)):
        monkeypatch.setitem(sys.modules, name, each)
    FakeLLM.made, FakeLLM.asked = [], []
    return FakeLLM


def test_vllm_in_process_gets_what_transformers_gets(
    fake_vllm: type[FakeLLM], tiny_backbone: Path, tuned: Path
) -> None:
    engine = VLLMEngine("float32", {"max_model_len": 128})
    for source, prompts in (
        (ModelSource(str(tiny_backbone)), [*CHATS, "def f"]),
        (ModelSource.of_soft_prompt(tuned), ["", "def"]),
    ):
        there = engine.load(source).complete(prompts, range(len(prompts)), 0, GREEDY)
        assert there == TransformersEngine().load(source).complete(prompts, range(len(prompts)), 0, GREEDY)
    plain, soft = fake_vllm.made
    assert plain == {"dtype": "float32", "max_model_len": 128}
    assert soft == {**plain, "enable_prompt_embeds": True}
    assert [each["seed"] for each in fake_vllm.asked[:4]] == [derived_seed("row", 0, row) for row in range(4)]


def test_an_adapter_goes_in_as_lora(fake_vllm: type[FakeLLM], tiny_backbone: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "adapter_config.json", {"r": 16})
    model = VLLMEngine().load(ModelSource(str(tiny_backbone), adapter=tmp_path))
    model.complete(CHATS[:1], [0], 0, GREEDY)
    assert fake_vllm.made == [{"dtype": "bfloat16", "enable_lora": True, "max_lora_rank": 16}]
    assert fake_vllm.asked[0]["lora_request"] == ("coder", 1, str(tmp_path))


def test_without_vllm_the_extra_is_named(tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"domino_lightning\[vllm\]"):
        VLLMEngine().load(ModelSource(str(tiny_backbone)))


@pytest.mark.parametrize(("rank", "allowed"), [(1, 1), (2, 8), (16, 16), (17, 32), (200, 256), (512, 512)])
def test_a_lora_rank_is_rounded_up_to_one_that_vllm_takes(rank: int, allowed: int, tmp_path: Path) -> None:
    write_json(tmp_path / "adapter_config.json", {"r": rank})
    assert lora_rank(tmp_path) == allowed


def test_a_lora_rank_beyond_what_vllm_takes_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "adapter_config.json", {"r": 513})
    with pytest.raises(UserError, match="rank 513, and vLLM takes 512 at most"):
        lora_rank(tmp_path)


def test_no_prompts_give_no_texts(fake: tuple[FakeServer, str], fake_vllm: type[FakeLLM], tuned: Path) -> None:
    source = ModelSource.of_soft_prompt(tuned)
    for engine in (VLLMServer(fake[1]), VLLMEngine("float32")):
        assert engine.load(source).complete([], [], 0, GREEDY) == []


def test_a_repetition_penalty_behind_a_soft_prompt_is_refused_by_a_server(
    fake: tuple[FakeServer, str], tuned: Path
) -> None:
    model = VLLMServer(fake[1]).load(ModelSource.of_soft_prompt(tuned))
    with pytest.raises(UserError, match="repetition_penalty 1.3 behind a soft prompt"):
        model.complete([""], [0], 0, Sampling(0.0, repetition_penalty=1.3))
    assert fake[0].requests == []
