"""What stages would end with, and settings without effect, are told from tokenizers and configurations alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from domino_lightning.cli.main import main
from domino_lightning.models.tiny import CHAT_TEMPLATE, byte_tokenizer, tiny_model
from domino_lightning.testing import save_tiny_backbone
from tests.conftest import refused

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]
REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
IGNORES = CHAT_TEMPLATE.replace("for message in messages", "for message in messages if message['role'] != 'system'")
SYSTEM = "domain={class_path: domino_lightning.domains.CodeExec, init_args: {system: Answer briefly.}}"
PLAIN = (
    "synthesize.generator={class_path: domino_lightning.synthesis.SoftPromptGenerator, "
    "init_args: {backbone: '${backbone}', temperature: %s, max_new_tokens: 4}}"
)


FEW_SHOT = (
    "synthesize.generator={class_path: domino_lightning.synthesis.FewShot, "
    "init_args: {backbone: '${backbone}', shots: %d, sampling: {max_new_tokens: 4}}}"
)


BARE = (
    "synthesize.generator={class_path: domino_lightning.synthesis.BARE, "
    "init_args: {backbone: '${backbone}', base: '${other}', shots: 1}}"
)


@pytest.fixture
def backbone(tmp_path: Path) -> Callable[..., str]:
    """`backbone(template)`: a tiny model whose tokenizer has this chat template; the directory."""

    def make(template: str | None) -> str:
        folder = tmp_path / "other"
        folder.mkdir()
        tokenizer = byte_tokenizer()
        tokenizer.chat_template = template
        tokenizer.save_pretrained(str(folder))
        tiny_model().save_pretrained(str(folder))
        return f"backbone={folder}"

    return make


def notes(capsys: Capture, *arguments: object) -> list[str]:
    """The notes of a check that finds nothing wrong."""
    assert main(["check", *map(str, arguments)]) == 0
    return [line.removeprefix("  note: ") for line in capsys.readouterr().out.splitlines() if line.startswith("  note")]


@pytest.mark.slow
def test_a_template_that_refuses_a_system_message_is_told_with_the_remedy(
    write_experiment: Write, backbone: Callable[..., str], capsys: Capture
) -> None:
    given = backbone(REFUSES + CHAT_TEMPLATE)
    message = refused(capsys, "check", write_experiment(), given, SYSTEM)
    assert "chat template refuses a conversation of system" in message and "System role not supported" in message
    assert message.endswith("domain.init_args.system=null.")
    assert main(["check", str(write_experiment()), given]) == 0


def test_a_template_that_drops_a_system_message_is_told(
    write_experiment: Write, backbone: Callable[..., str], capsys: Capture
) -> None:
    message = refused(capsys, "check", write_experiment(), backbone(IGNORES), SYSTEM)
    assert "its chat template leaves the system message out, or alters it, without a word" in message


def test_a_backbone_without_chat_template_is_told(
    write_experiment: Write, backbone: Callable[..., str], capsys: Capture
) -> None:
    assert "has no chat template" in refused(capsys, "check", write_experiment(), backbone(None))


@pytest.mark.parametrize(
    ("positions", "overrides", "words"),
    [
        (48, (), "prompt tokens and a text of"),
        (128, ("finetune.source=none",), "evaluate.max_new_tokens: the prompt of 'fn-"),
        (400, ("finetune.source=none", "evaluate.max_new_tokens=300"), "tokens and 300 new ones, which exceed"),
        (128, ("finetune.source=reference",), "finetune.data.max_length: the pair of 'fn-"),
        (1000, (PLAIN % 1.0, "synthesize.generator.init_args.max_new_tokens=1000"), "the prompt of soft tokens has 2"),
        (200, (FEW_SHOT % 3,), "init_args.sampling.max_new_tokens: the prompt of row "),
    ],
)
@pytest.mark.parametrize("command", ["check", "plan"])
def test_what_exceeds_the_positions_of_the_model_is_told(
    write_experiment: Write,
    tmp_path: Path,
    capsys: Capture,
    command: str,
    positions: int,
    overrides: tuple[str, ...],
    words: str,
) -> None:
    family = save_tiny_backbone(tmp_path / "short", family="gpt2", max_position_embeddings=positions)
    message = refused(capsys, command, write_experiment(), f"backbone={family}", *overrides)
    assert words in message and f"{positions} positions" in message


@pytest.mark.parametrize(
    ("overrides", "note"),
    [
        (
            ("tune.trainer.accumulate_grad_batches=8",),
            "tune.trainer.accumulate_grad_batches 8 is more than the 4 batches of an epoch, at whose end a step is "
            "taken: it has the effect of 4.",
        ),
        (
            ("tune.data.batch_size=16",),
            "tune.data.batch_size 16 is never reached: no batch has more than 3 rows.",
        ),
        (
            ("tune.model.warmup_steps=2",),
            "tune.model.warmup_steps 2 is not less than the 2 steps: the learning rate is never reached.",
        ),
        (
            ("tune.trainer.val_check_interval=9",),
            "tune.trainer.val_check_interval 9 is never reached in 2 batches: no step is validated, and the last one "
            "is taken for the best.",
        ),
        (
            ("tune.model.loss=domino_lightning.losses.LikelihoodOnly", "tune.model.sample_init=normal"),
            "tune.model.sample_init has no effect: the loss asks for no sample tokens.",
        ),
        (
            ("answer.agreement.min_share=0.9",),
            "answer.agreement.min_share has no effect: CodeExec compares no answers with it.",
        ),
        (
            ("answer.judge={backbone: some/model}",),
            "answer.judge has no effect: CodeExec asks no language model.",
        ),
        (("answer.solver.samples=4",), "answer.solver has no effect: CodeExec asks no language model."),
        (("evaluate.top_p=0.5",), "evaluate.top_p has no effect at temperature 0, which is greedy."),
        (("evaluate.k=[1,5]",), "evaluate.k: pass@5 is left out, since samples is 1."),
        (
            ("evaluate.breakdown.fields=[topic]",),
            "evaluate.breakdown.fields has no effect: the problems do not differ in 'topic', if they have it.",
        ),
        (
            ("evaluate.breakdown.boundaries=[2024-01-01]",),
            "evaluate.breakdown.boundaries has no effect: the problems do not differ in 'contest_date', if they have "
            "it.",
        ),
        (
            ("prepare.noise.source.path=pip:domino_lightning/corpus/functions.jsonl",),
            "prepare.noise.source has no effect: share 0.0 replaces no group.",
        ),
        (
            ("prepare.source.split=validation",),
            "prepare.source.split has no effect: '{data}' is a file, and validation a split of a hub dataset.",
        ),
        (
            (
                "curate.filters=[{class_path: domino_lightning.curation.Contaminated, init_args: {benchmarks: "
                "[{path: 'pip:domino_lightning/corpus/problems.jsonl', split: test}]}}]",
            ),
            "curate.filters.0.init_args.benchmarks.0.split has no effect: "
            "'pip:domino_lightning/corpus/problems.jsonl' is a file, and test a split of a hub dataset.",
        ),
        (
            ("tune.trainer.min_epochs=7", "tune.trainer.max_epochs=-1", "tune.trainer.max_steps=2"),
            "tune.trainer.min_epochs 7 has no effect: the run ends after 2 steps, in epoch 1.",
        ),
        (("prepare.subset.share=0.01",), "prepare.subset.share 0.01 leaves 1 group of references, 2 rows."),
        (
            ("tune.trainer.limit_val_batches=0",),
            "tune.trainer.limit_val_batches 0: no step is validated, and the last one is taken for the best.",
        ),
    ],
)
def test_a_setting_without_effect_is_told(
    write_experiment: Write, capsys: Capture, overrides: tuple[str, ...], note: str
) -> None:
    path = write_experiment()
    calm = ["tune.model.warmup_steps=0", "finetune.model.warmup_steps=0"]
    assert notes(capsys, path, *calm) == []
    data = yaml.safe_load(path.read_text())["prepare"]["source"]["path"]
    assert note.replace("{data}", data) in notes(capsys, path, *calm, *overrides)


def test_what_is_said_about_answers_has_no_effect_where_none_are_graded(
    write_experiment: Write, capsys: Capture
) -> None:
    domain = {"domain": "domino_lightning.domains.FreeText", "finetune": {"source": "none"}}
    texts = ["prepare.source.fields.text=code", "evaluate.temperature=0.0", "evaluate.k=[1,2]", "evaluate.limit=3"]
    told = [note for note in notes(capsys, write_experiment(domain), *texts) if note.startswith("evaluate.")]
    grades = "has no effect: FreeText grades no answers, so that none are generated."
    assert told == [f"evaluate.{key} {grades}" for key in ("k", "temperature", "max_new_tokens")]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ("tune.runtime.sample_tokens=5000", "tune.runtime.samples_every_n_steps=1"),
            "tune.runtime.sample_tokens: what texts are sampled behind has ",
        ),
        (
            ("finetune.source=reference", "finetune.data.max_length=5"),
            "finetune.data.max_length 5: 6 of 6 pairs of split reference are longer",
        ),
        (
            ("finetune.source=both", "finetune.data.max_length=5", "finetune.data.too_long=error"),
            "Raise it, or set finetune.data.too_long=drop.",
        ),
        (
            ("finetune.model.lora.target_modules=[q_proj,nope]",),
            "finetune.model.lora: target_modules ['q_proj', 'nope'] cannot be adapted (there is no nope).",
        ),
        (
            ("finetune.model.lora.target_modules=[mlp]",),
            "finetune.model.lora: target_modules ['mlp'] cannot be adapted",
        ),
        (
            ("tune.keep_sample_tokens=false", f"{PLAIN % 1.0}", "synthesize.generator.init_args.sample_tokens=dummy"),
            "tune.keep_sample_tokens is false, and synthesize.generator samples behind sample tokens",
        ),
        (
            (
                "tune.model.loss=domino_lightning.losses.LikelihoodOnly",
                f"{PLAIN % 1.0}",
                "synthesize.generator.init_args.sample_tokens=random",
            ),
            "the loss of `tune` asks for no sample tokens",
        ),
        (("prepare.noise.share=1",), "override 'prepare.noise.share=1': prepare.noise: share 1.0 must be in [0, 1)."),
        (("evaluate.engine=domino_lightning.synthesis.VLLMEngine",), "VLLMEngine needs the package vllm"),
    ],
)
def test_what_a_stage_would_end_with_is_told(
    write_experiment: Write, capsys: Capture, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], words: str
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert words in refused(capsys, "check", write_experiment(), *overrides)


def test_pairs_that_are_left_out_are_counted(write_experiment: Write, capsys: Capture) -> None:
    told = notes(capsys, write_experiment(), "finetune.data.max_length=5")
    words = r"finetune\.data\.max_length 5: (\d+) of \1 pairs of split heldout are longer, .* tokens; they are left out"
    assert any(re.match(words, note) for note in told), "\n".join(told)


@pytest.mark.parametrize("command", ["check", "run", "prepare"])
@pytest.mark.parametrize("place", ["stages", "runs", "stages/prepare"])
def test_a_file_in_the_place_of_one_of_the_stores_directories_is_bad_input(
    write_experiment: Write, tmp_path: Path, capsys: Capture, command: str, place: str
) -> None:
    file = tmp_path / "other" / place
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    message = refused(capsys, command, write_experiment(), f"root={tmp_path / 'other'}")
    assert message == f"{file}: Not a directory. Move it away, or name another directory: root=..."
    assert file.read_text() == "mine"


def test_a_root_that_cannot_be_is_told_by_check(write_experiment: Write, capsys: Any) -> None:
    path = write_experiment()
    message = refused(capsys, "check", path, f"root={path}/inside")
    assert message == f"root: '{path}/inside' cannot be written to (Not a directory). Name another directory: root=..."


def test_more_examples_than_references_and_tokens_never_reached_are_told(
    write_experiment: Write, capsys: Capture
) -> None:
    path = write_experiment()
    assert "a prompt shows 9 different references" in refused(capsys, "check", path, FEW_SHOT % 9)
    message = refused(capsys, "check", path, FEW_SHOT % 2, "synthesize.stop.tokens=33")
    assert "synthesize.stop.tokens 33 is never reached: 8 candidates (stop.candidates) of at most 4 tokens" in message
    assert main(["check", str(path), FEW_SHOT % 2, "synthesize.stop.tokens=32"]) == 0


def test_a_judges_question_that_exceeds_the_positions_is_told(write_experiment: Write, capsys: Capture) -> None:
    judge = {"class_path": "domino_lightning.curation.LMJudge", "init_args": {"backbone": "${backbone}"}}
    path = write_experiment({"curate": {"filters": [{"class_path": "domino_lightning.curation.Parses"}, judge]}})
    assert main(["check", str(path)]) == 0
    judge["init_args"]["sampling"] = {"temperature": 0.0, "max_new_tokens": 2000}
    path = write_experiment({"curate": {"filters": [{"class_path": "domino_lightning.curation.Parses"}, judge]}})
    message = refused(capsys, "check", path)
    assert message.startswith("curate.filters.1.init_args.sampling.max_new_tokens: the question about")
    assert "2000 new ones, which exceed the model's 2048 positions" in message


@pytest.mark.slow
def test_a_size_that_no_corpus_can_have_is_told(write_experiment: Write, capsys: Capture) -> None:
    path = write_experiment()  # six references, eight candidates
    for source, most in (("reference", 6), ("synthetic", 8), ("both", 14)):
        overrides = [f"finetune.source={source}", f"finetune.data.size={most}"]
        assert main(["check", str(path), *overrides]) == 0
        message = refused(capsys, "check", path, overrides[0], f"finetune.data.size={most + 1}")
        assert f"exactly {most + 1} pairs are asked for" in message and f"there are {most}." in message


@pytest.fixture
def headless(tmp_path: Path) -> Path:
    """A backbone without its LM head, whose place random numbers would take."""
    folder = tmp_path / "headless"
    byte_tokenizer().save_pretrained(str(folder))
    tiny_model().model.save_pretrained(str(folder))
    return folder


HEADLESS = "lack 1 of the 21 parameters that its config.json describes (lm_head.weight)"
JUDGE = "{class_path: domino_lightning.curation.LMJudge, init_args: {backbone: %s}}"
STATES = "{class_path: domino_lightning.curation.HiddenStates, init_args: {backbone: %s}}"


@pytest.mark.parametrize(
    ("key", "override"),
    [
        ("tune.model.backbone", "tune.model.backbone=%s"),
        ("synthesize.generator.init_args.backbone", FEW_SHOT.replace("${backbone}", "%s") % ("%s", 1)),
        ("synthesize.generator.init_args.base", BARE.replace("${other}", "%s")),
        ("curate.filters.0.init_args.backbone", f"curate.filters=[{JUDGE}]"),
        ("answer.embedding.init_args.backbone", f"answer.embedding={STATES}"),
        ("finetune.model.backbone", "finetune.model.backbone=%s"),
    ],
)
def test_weights_that_a_stage_could_not_load_are_told_before_the_first_runs(
    write_experiment: Write, headless: Path, tmp_path: Path, capsys: Capture, key: str, override: str
) -> None:
    message = refused(capsys, "check", write_experiment(), override % headless)
    assert message.startswith(f"{key}: backbone '{headless}': ") and HEADLESS in message
    if key.startswith("finetune"):
        for command in ("plan", "run"):
            assert HEADLESS in refused(capsys, command, write_experiment(), override % headless)
        assert HEADLESS in refused(capsys, "check", write_experiment(), "finetune.source=none", override % headless)
        assert not (tmp_path / "outputs").exists()


def test_another_engine_loads_models_of_its_own(write_experiment: Write, headless: Path) -> None:
    server = "{class_path: domino_lightning.synthesis.VLLMServer, init_args: {url: 'http://127.0.0.1:1/v1'}}"
    override = FEW_SHOT.replace("${backbone}", str(headless)).replace("shots:", f"engine: {server}, shots:") % 1
    assert main(["check", str(write_experiment()), override]) == 0


def test_a_model_that_is_no_causal_lm_is_told(write_experiment: Write, headless: Path, capsys: Capture) -> None:
    (headless / "config.json").write_text('{"model_type": "t5"}')
    for command in ("check", "plan"):
        message = refused(capsys, command, write_experiment(), f"backbone={headless}")
        assert "has model_type 't5' in its config.json, of which transformers has no causal LM" in message
