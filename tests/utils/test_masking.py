"""What looks like a secret is never stored or sent."""

from __future__ import annotations

import pytest

from domino_lightning.utils.masking import MASK, masked, masked_override

HF = "hf_" + "a" * 24


@pytest.mark.parametrize(
    "key", ["api_key", "evaluate.engine.init_args.api_key", "OPENAI_API_KEY", "password", "hf_token", "token", "secret"]
)
def test_values_under_telling_keys_are_masked(key: str) -> None:
    assert masked_override(f"{key}=s3cret") == f"{key}={MASK}"
    assert masked({"a": [{key: "s3cret", "b": 1}]}) == {"a": [{key: MASK, "b": 1}]}


@pytest.mark.parametrize(
    "text",
    [
        "tune.model.domain_prompt.init_args.num_tokens=8", "evaluate.max_new_tokens=4", "data.tokenizer=x/y",
        "engine.init_args.api_key_env=VLLM_API_KEY", "runtime.sample_tokens=4", "model.eos_token=</s>",
        "curate.filters=[a.B,c.D]", "seed=1", "url=http://127.0.0.1:8000/v1", "author=me", "key=value",
    ],
)  # fmt: skip
def test_other_settings_stay_as_they_are(text: str) -> None:
    key, _, value = text.partition("=")
    assert masked_override(text) == text
    assert masked({key: value, key.rpartition(".")[2]: value}) == {key: value, key.rpartition(".")[2]: value}


def test_texts_of_telling_shapes_are_masked_wherever_they_stand() -> None:
    assert masked_override(f"a.b={HF}") == f"a.b={MASK}"
    assert masked({"url": "https://me:pw@host/x", "args": [HF]}) == {"url": f"https://{MASK}@host/x", "args": [MASK]}
    node = "engine={class_path: my.Engine, init_args: {api_key: abc123, url: 'http://x'}}"
    assert masked_override(node) == "engine={class_path: my.Engine, init_args: {api_key: ***, url: 'http://x'}}"
