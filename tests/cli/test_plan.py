"""`domino plan`: a row a stage, what is left to run, and no weights loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from domino_lightning.cli.plan import about, parsed_bytes, short, size
from domino_lightning.stages import STAGES

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]
MACHINE = ("--tflops", "0.1", "--bandwidth-gbs", "10")
REPLAYED = {"synthesize": {"generator": {"class_path": "domino_lightning.synthesis.HeldoutReplay"}}}


def rows(out: str) -> dict[str, str]:
    return {line.split()[0]: line for line in out.splitlines() if line.split()[:1] and line.split()[0] in STAGES}


def test_every_stage_has_a_row_and_nothing_is_loaded_or_written(
    write_experiment: Write, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    monkeypatch.setattr(
        transformers.AutoModelForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("weights were loaded")
    )
    assert main(["plan", str(write_experiment()), *MACHINE, "tune.trainer.max_steps=9"]) == 0
    out = capsys.readouterr().out
    assert list(rows(out)) == list(STAGES)
    assert "9 steps of 2 texts" in rows(out)["tune"]
    assert "at 100 GFLOP/s in float32 of matrix products" in out
    assert not (tmp_path / "outputs").exists()


def test_stages_that_the_run_does_not_need_have_no_row(write_experiment: Write, capsys: Capture) -> None:
    assert main(["plan", str(write_experiment()), *MACHINE, "finetune.source=none"]) == 0
    assert list(rows(capsys.readouterr().out)) == ["prepare", "finetune", "evaluate"]


def test_what_has_finished_costs_nothing_more(write_experiment: Write, capsys: Capture) -> None:
    path = str(write_experiment(REPLAYED))
    assert main(["prepare", path]) == 0
    capsys.readouterr()
    assert main(["plan", path, *MACHINE]) == 0
    found = rows(capsys.readouterr().out)
    assert "finished" in found["prepare"]
    assert "finished" not in found["tune" if "tune" in found else "curate"]


def test_what_is_out_of_reach_is_named_and_the_rest_is_told(
    write_experiment: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    path = str(write_experiment())
    assert main(["plan", path, *MACHINE, "finetune.model.backbone=nobody/nothing"]) == 0
    out = capsys.readouterr().out
    assert "not estimated: finetune.model.backbone: backbone 'nobody/nothing'" in out
    assert "2 steps of 2 texts" in rows(out)["tune"]


@pytest.mark.slow
def test_a_gpu_that_is_described_is_planned_for(write_experiment: Write, capsys: Capture) -> None:
    assert main(["plan", str(write_experiment()), *MACHINE, "--gpu-memory", "100 MB"]) == 0
    out = capsys.readouterr().out
    assert "on a GPU with 100 MB, of which 5% are left free:" in out
    lines = {line.split()[0]: line for line in out.partition("left free:")[2].splitlines() if line.startswith("  ")}
    assert {"tune", "finetune", "evaluate"} <= set(lines)
    assert "fits; tune.data.batch_size up to" in lines["tune"]
    assert "at 100 GFLOP/s in bfloat16" in out
    assert "kernel launches a step" in rows(out.partition("on a GPU")[0])["evaluate"]


def test_sizes_of_memory() -> None:
    texts = {"80GB": 80e9, "24 GB": 24e9, "79.6GiB": 79.6 * 2**30, " 512MB ": 512e6}
    assert {text: parsed_bytes(text, "--gpu-memory") for text in texts} == texts


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--gpu-memory", "80"], "--gpu-memory '80' is no size. Give a number with GB"),
        (["--gpu-memory", "0GB"], "--gpu-memory '0GB' is no size"),
        (["--gpu-memory=-1GB"], "--gpu-memory '-1GB' is no size"),
        (["--tflops", "0"], "--tflops 0 must be more than 0"),
        (["--bandwidth-gbs", "-1"], "--bandwidth-gbs -1 must be more than 0"),
        (["tune.trainer.max_step=3"], "Did you mean 'max_steps'"),
        (["tune.data.max_length=10"], "more than tune.data.max_length 10"),
        (["prepare.split.test=0"], "leaves 0 of 9 distinct groups for test"),
    ],
)
def test_bad_input_is_one_line(write_experiment: Write, capsys: Capture, arguments: list[str], words: str) -> None:
    assert main(["plan", str(write_experiment()), *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_numbers_are_read_at_a_glance() -> None:
    assert [short(value) for value in (0, 7, 1234, 5.6e6, 7.89e13)] == ["", "7", "1.23 k", "5.6 M", "78.9 T"]
    assert [size(value) for value in (0, 5e6, 1.26e9)] == ["", "5 MB", "1.3 GB"]
    times = {0.51: "0.5 s", 42: "42 s", 101: "1 min 40 s", 600: "10 min", 9012: "2 h 30 min", 3 * 86400: "3 d"}
    assert {seconds: about(seconds) for seconds in times} == times
