"""The coder of a run as one model on disk, and to talk to."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from domino_lightning.cli.main import main
from domino_lightning.errors import UserError
from domino_lightning.generation.engines import TransformersEngine
from domino_lightning.generation.language_model import LanguageModel, Sampled
from domino_lightning.generation.sampling import Sampling
from domino_lightning.results.coder import Chat, coder_source, merge_coder
from domino_lightning.results.runs import open_run
from tests.conftest import refused

Capture = pytest.CaptureFixture[str]
GREEDY = Sampling(0.0, max_new_tokens=4)


class Echo(LanguageModel):
    """Says how many messages it was shown and the last one; refuses more than five."""

    def complete(
        self,
        prompts: Sequence[Any],
        rows: Sequence[int],
        seed: int,
        sampling: Sampling,
        on_tokens: Any = None,
        sample_tokens: Any = None,
    ) -> list[Sampled]:
        (chat,) = prompts
        if len(chat) > 5:
            raise UserError("too many positions.")
        return [Sampled(f"{len(chat)} {chat[-1]['content']}", chat[-1]["content"] != "long", 1)]


def test_a_chat_remembers_begins_anew_and_says_what_was_too_long() -> None:
    chat = Chat(Echo(), GREEDY, system="Be brief.")
    lines = ["one\n", "\n", "long\n", "three\n", "/new\n", "four\n"]
    told = "(too many positions. A line /new begins another conversation.)"
    assert list(chat.answers(lines)) == ["2 one", "4 long …", told, "2 four"]
    assert chat.said[0] == {"role": "system", "content": "Be brief."}


def test_the_merged_model_answers_as_the_adapter_on_its_backbone_does(smoke_root: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run = open_run(smoke_root / "runs/small/first")
    assert merge_coder(run, tmp_path / "deep" / "merged") == "float32"
    folder = str(tmp_path / "deep" / "merged")
    adapted = TransformersEngine().load(coder_source(run)).model  # type: ignore[attr-defined]
    merged = AutoModelForCausalLM.from_pretrained(folder)
    ids = AutoTokenizer.from_pretrained(folder)("def f(a):", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, adapted(ids).logits, atol=1e-5)
    modes = {path.stat().st_mode & 0o777 for path in Path(folder).iterdir()}
    assert len(modes) == 1  # weights are as readable as the rest


def test_merge_leaves_what_is_there_alone(smoke_root: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "taken").mkdir()
    told = refused(capsys, "merge", smoke_root / "runs/small/first", "--output", tmp_path / "taken")
    assert told == f"--output {tmp_path / 'taken'}: is there already. Name a directory that is not."
    assert list((tmp_path / "taken").iterdir()) == []


def test_merge_names_its_run_and_takes_a_dtype(smoke_root: Path, tmp_path: Path, capsys: Capture) -> None:
    from transformers import AutoConfig

    run = smoke_root / "runs/small/first"
    assert main(["merge", str(run), "--output", str(tmp_path / "half"), "--dtype", "bfloat16"]) == 0
    assert "merged in bfloat16" in capsys.readouterr().out
    assert AutoConfig.from_pretrained(str(tmp_path / "half")).dtype == torch.bfloat16
    assert str(run) in (tmp_path / "half" / "domino.json").read_text()


def test_lines_on_standard_input_are_answered_in_order(
    smoke_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("first\nsecond\n"))
    assert main(["chat", str(smoke_root / "runs/small/first"), "--max-new-tokens", "3"]) == 0
    out = capsys.readouterr()
    assert out.out.endswith("\n") and out.out.strip()
    assert "> " not in out.err


def test_a_run_without_a_coder_says_so(smoke_root: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "no trial.json here" in refused(capsys, "chat", tmp_path)
