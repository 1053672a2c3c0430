"""What a fingerprint covers, known before anything runs and looked at again when it is used."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.config.document import load_config
from domino_lightning.errors import Changed, UserError
from domino_lightning.runner.pipeline import make_plan, run_plan
from domino_lightning.stages import STAGES
from domino_lightning.store.store import MANIFEST
from tests.runner.experiment import FORK, FORK_LOSS, REPLAY, Write, changed, fingerprints, run


def test_all_fingerprints_are_known_before_anything_runs(write_experiment: Write, tmp_path: Path) -> None:
    plan = make_plan(load_config(write_experiment()))
    assert [step.stage for step in plan] == list(STAGES)
    known = {step.stage: step.key.fingerprint for step in plan}
    for step in plan:
        assert step.key.inputs == {stage: known[stage] for stage in step.key.inputs}
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "override",
    [
        "prepare.runtime.workers=7",
        "tune.runtime.checkpoint_every_n_steps=3",
        "finetune.runtime.log_every_n_steps=9",
        "evaluate.runtime.workers=5",
        "tracking.wandb=offline",
        "tracking.project=other",
        "root=elsewhere",
        "name=other",
    ],
)
def test_fingerprints_ignore(write_experiment: Write, override: str) -> None:
    path = write_experiment()
    assert fingerprints(path, override) == fingerprints(path)


@pytest.mark.parametrize(
    ("override", "stages"),
    [
        ("seed=1", set(STAGES) - {"prepare"}),
        ("prepare.seed=1", set(STAGES)),
        ("prepare.split.reference=2", set(STAGES)),
        ("tune.trainer.max_steps=3", set(STAGES) - {"prepare"}),
        ("synthesize.stop.candidates=9", {"synthesize", "curate", "answer", "finetune", "evaluate"}),
        ("curate.filters=[domino_lightning.curation.Parses]", {"curate", "answer", "finetune", "evaluate"}),
        ("finetune.trainer.max_steps=3", {"finetune", "evaluate"}),
        ("finetune.model.lora.rank=2", {"finetune", "evaluate"}),
        ("evaluate.max_new_tokens=3", {"evaluate"}),
    ],
)
def test_a_change_reaches_its_stage_and_what_reads_it(write_experiment: Write, override: str, stages: set[str]) -> None:
    path = write_experiment()
    assert changed(fingerprints(path), fingerprints(path, override)) == stages


def test_source_none_leaves_out_what_the_coder_does_not_read(write_experiment: Write) -> None:
    path = write_experiment()
    assert list(fingerprints(path, "finetune.source=none")) == ["prepare", "finetune", "evaluate"]
    assert list(fingerprints(path, "finetune.source=reference")) == ["prepare", "finetune", "evaluate"]
    assert list(fingerprints(path, "finetune.source=both")) == list(STAGES)


def test_data_is_known_by_content_and_not_by_path(write_experiment: Write, tmp_path: Path) -> None:
    path, data = write_experiment(), tmp_path / "data.jsonl"
    copy = tmp_path / "copy.jsonl"
    shutil.copy(data, copy)
    before = fingerprints(path)
    assert fingerprints(path, f"prepare.source.path={copy}") == before
    data.write_text("\n".join(data.read_text().splitlines()[:-1]))
    assert changed(before, fingerprints(path)) == set(STAGES)


def test_backbone_is_known_by_content_and_not_by_path(
    write_experiment: Write, tiny_backbone: Path, tmp_path: Path
) -> None:
    path, copy = write_experiment(), tmp_path / "copied"
    shutil.copytree(tiny_backbone, copy)
    before = fingerprints(path)
    assert fingerprints(path, f"backbone={copy}") == before
    (copy / "chat_template.jinja").write_text("another")
    assert changed(before, fingerprints(path, f"backbone={copy}")) == set(STAGES) - {"prepare"}


def test_editing_a_forks_loss_changes_tune_and_its_dependents(write_experiment: Write, fork: Path) -> None:
    path = write_experiment({"tune": {"model": {"loss": FORK_LOSS}}})
    before = fingerprints(path)
    fork.write_text(FORK + "\n# another idea\n")
    after = fingerprints(path)
    assert changed(before, after) == set(STAGES) - {"prepare"}
    assert fingerprints(path, "tune.model.loss.class_path=domino_lightning.losses.InfoNCE") != after


def test_a_fork_named_by_a_plain_string_is_hashed_too(write_experiment: Write, fork: Path) -> None:
    path = write_experiment()
    before = fingerprints(path, "tune.model.loss=fork_under_test.Loss")
    fork.write_text(FORK + "\n# another idea\n")
    assert "tune" in changed(before, fingerprints(path, "tune.model.loss=fork_under_test.Loss"))


def test_editing_what_a_fork_imports_changes_tune(write_experiment: Write, fork: Path) -> None:
    path = write_experiment({"tune": {"model": {"loss": FORK_LOSS}}})
    helper = fork.with_name("fork_helper_under_test.py")
    helper.write_text("SCALE = 1\n")
    fork.write_text("from fork_helper_under_test import SCALE\n" + FORK)
    before = fingerprints(path)
    helper.write_text("SCALE = 2\n")
    assert changed(before, fingerprints(path)) == set(STAGES) - {"prepare"}


ANSWERS = """
from domino_lightning.synthesis import HeldoutReplay

class Replay(HeldoutReplay):
    VALUE = 1
"""


def test_a_source_edited_between_plan_and_run_stores_nothing(write_experiment: Write, fork: Path) -> None:
    fork.write_text(ANSWERS)
    path = write_experiment({"synthesize": {"generator": {"class_path": "fork_under_test.Replay"}}})
    config = load_config(path)
    plan = make_plan(config, "synthesize")
    sys.modules.pop("fork_under_test", None)  # as in a process of its own
    fork.write_text(ANSWERS.replace("1", "2"))
    with pytest.raises(Changed, match=r"synthesize: .*fork_under_test\.py changed after this run was planned"):
        run_plan(config, plan, "trial", (), in_process=True)
    assert not (path.parent / "outputs/stages/synthesize").exists()
    fork.write_text(ANSWERS)
    sys.modules.pop("fork_under_test", None)
    outcome = run_plan(config, plan, "trial", (), in_process=True)[-1]
    manifest = json.loads((outcome.directory / MANIFEST).read_text())
    assert manifest["sources"] == {"fork_under_test": hashlib.sha256(ANSWERS.encode()).hexdigest()}


READER = """
from domino_lightning.synthesis import HeldoutReplay

class Replay(HeldoutReplay):
    def __init__(self, table: str, notes: list[str] = ()):
        self.table = open(table).read()
"""


def reader(**init_args: Any) -> dict[str, Any]:
    return {"synthesize": {"generator": {"class_path": "fork_under_test.Replay", "init_args": init_args}}}


def test_a_file_that_an_argument_of_a_fork_names_is_known_by_content(
    write_experiment: Write, fork: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork.write_text(READER)
    monkeypatch.chdir(tmp_path)
    table, folder = tmp_path / "table.json", tmp_path / "lists"
    folder.mkdir()
    (folder / "one.txt").write_text("a")
    table.write_text("{}")
    words = "a text, and no path: " + "long " * 200
    paths = [write_experiment(reader(table=named, notes=[words, "lists", "."])) for named in (str(table), "table.json")]
    absolute, relative = ({step.stage: step for step in make_plan(load_config(path))} for path in paths)
    assert set(relative["synthesize"].key.contents) == {
        "generator.init_args.table",
        "generator.init_args.notes.1",
    }
    assert absolute["synthesize"].id == relative["synthesize"].id
    before = fingerprints(paths[1])
    table.write_text('{"k": 2}')
    assert changed(before, fingerprints(paths[1])) == {"synthesize", "curate", "answer", "finetune", "evaluate"}
    table.write_text("{}")
    assert fingerprints(paths[1]) == before
    (folder / "two.txt").write_text("b")
    assert "synthesize" in changed(before, fingerprints(paths[1]))


def test_a_file_that_an_argument_of_the_packages_own_classes_names_is_left_to_the_class(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    domain = {"class_path": "domino_lightning.domains.AskedText", "init_args": {"question": "why"}}
    path = write_experiment({"domain": domain})
    before = fingerprints(path)
    (tmp_path / "why").write_text("a file that happens to be called so")
    assert fingerprints(path) == before


def test_a_hook_of_the_forks_own_says_more_than_the_rule(write_experiment: Write, fork: Path, tmp_path: Path) -> None:
    hook = "    @classmethod\n    def contents(cls, init_args):\n        return {'table': 'no content'}\n"
    fork.write_text(READER + hook)
    (tmp_path / "log.txt").write_text("1")
    path = write_experiment(reader(table=str(tmp_path / "log.txt")))
    before = fingerprints(path)
    (tmp_path / "log.txt").write_text("2")
    assert fingerprints(path) == before


def test_a_file_of_a_fork_that_is_edited_while_its_stage_runs_stores_nothing(
    write_experiment: Write, fork: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.json"
    table.write_text("{}")
    fork.write_text(READER + "        open(table, 'a').write(' ')\n")
    path = write_experiment(reader(table=str(table)))
    with pytest.raises(Changed, match=r"synthesize\.generator\.init_args\.table: '.*table\.json' changed after"):
        run(path, until="synthesize")
    assert [each.name for each in (tmp_path / "outputs/stages/synthesize").glob("[!.]*")] == []


def test_data_edited_between_plan_and_run_stores_nothing(write_experiment: Write, tmp_path: Path) -> None:
    path, data = write_experiment(REPLAY), tmp_path / "data.jsonl"
    config = load_config(path)
    plan, text = make_plan(config, "prepare"), data.read_text()
    data.write_text("\n".join(text.splitlines()[:-1]))
    with pytest.raises(Changed, match=r"prepare\.source\.path: '.*data\.jsonl' changed after this run was planned"):
        run_plan(config, plan, "trial", (), in_process=True)
    assert [each.name for each in (tmp_path / "outputs/stages/prepare").glob("[!.]*")] == []
    data.write_text(text)
    outcome = run_plan(config, plan, "trial", (), in_process=True)[0]
    manifest = json.loads((outcome.directory / MANIFEST).read_text())
    assert manifest["contents"] == {"source.path": hashlib.sha256(text.encode()).hexdigest()}


def test_data_edited_while_it_is_read_stores_nothing(
    write_experiment: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domino_lightning.stages.prepare import Prepare

    read = Prepare.splits

    def edited(self: Prepare, execute: bool = True) -> Any:
        splits = read(self, execute)
        (tmp_path / "data.jsonl").write_text("{}")
        return splits

    monkeypatch.setattr(Prepare, "splits", edited)
    with pytest.raises(Changed, match="prepare.source.path"):
        run(write_experiment(REPLAY), until="prepare")
    assert [each.name for each in (tmp_path / "outputs/stages/prepare").glob("[!.]*")] == []


def test_a_backbone_that_changed_under_a_coder_is_refused(
    write_experiment: Write, tiny_backbone: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_backbone, tmp_path / "copied"))
    path = write_experiment({"backbone": str(copy), "finetune": {"source": "none"}})
    config = load_config(path)
    plan = make_plan(config)
    run_plan(config, plan[:2], "trial", (), in_process=True)
    (copy / "chat_template.jinja").write_text("another")
    with pytest.raises(UserError, match=r"coder\.json: made on backbone '.*copied', which has changed since"):
        run_plan(config, plan, "trial", (), in_process=True)


def test_a_module_that_is_not_found_is_told_at_once(write_experiment: Write) -> None:
    with pytest.raises(UserError, match="module 'no_such_fork' is not found") as caught:
        fingerprints(write_experiment(), "tune.model.loss.class_path=no_such_fork.Loss")
    assert "python -m domino_lightning" in str(caught.value)
