"""Composition of one document, and what a user is told about a key or value that does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from domino_lightning.config.document import Config, Merged, compose, load_config
from domino_lightning.config.layers import Layer
from domino_lightning.config.nodes import class_of
from domino_lightning.errors import UserError
from domino_lightning.runner.pipeline import validate
from domino_lightning.stages import STAGES

Write = Callable[..., Path]
LOSSES = "domino_lightning.losses"
INNER = "synthesize.generator.init_args.generator"  # the small experiment's generator inside a generator


def write(folder: Path, tree: dict[str, Any]) -> Path:
    path = folder / "x.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return path


def line_of(path: Path, key: str) -> int:
    """The first line of a YAML file that sets `key`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if line.strip().startswith(f"{key}:"))


def refused(path: Path, *overrides: str) -> str:
    """The one line about a configuration that composes badly, or whose named stage validates badly."""
    named = re.split("[.=]", overrides[0])[0] if overrides else ""
    with pytest.raises(UserError) as caught:
        validate(load_config(path, overrides), [named] if named in STAGES else ["prepare"])
    message = str(caught.value)
    assert "\n" not in message
    return message


def loss_of(config: Config) -> Any:
    return config.document["tune"]["model"]["loss"]


def test_interpolation_resolves_after_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, {"backbone": "from-file", "seed": 1})
    document = load_config(path, ["seed=7", "backbone=from-override"]).document
    assert document["tune"]["model"]["backbone"] == "from-override"
    assert document["tune"]["data"]["tokenizer"] == "from-override"
    assert document["finetune"]["model"]["backbone"] == "from-override"
    assert document["synthesize"]["generator"]["init_args"]["backbone"] == "from-override"
    assert [document[stage]["seed"] for stage in ("tune", "synthesize", "finetune", "evaluate")] == [7] * 4


def test_seed_never_reaches_the_split(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, {"seed": 5}), ["seed=7"]).document["prepare"]["seed"] == 0


def test_one_stage_may_leave_an_interpolation(tmp_path: Path) -> None:
    document = load_config(write(tmp_path, {}), ["finetune.model.backbone=other", "backbone=shared"]).document
    assert document["finetune"]["model"]["backbone"] == "other"
    assert document["tune"]["model"]["backbone"] == "shared"


def test_overrides_apply_from_left_to_right(tmp_path: Path) -> None:
    path = write(tmp_path, {"seed": 1})
    assert load_config(path, ["seed=2", "seed=3"]).document["seed"] == 3


def test_the_document_is_literal(tmp_path: Path) -> None:
    document = load_config(write(tmp_path, {})).document
    assert "${" not in yaml.safe_dump(document)


def test_class_change_in_the_file_drops_the_defaults_init_args(tmp_path: Path) -> None:
    loss = {"class_path": f"{LOSSES}.ReleasedObjective"}
    assert loss_of(load_config(write(tmp_path, {"tune": {"model": {"loss": loss}}}))) == loss


def test_class_change_in_an_override_drops_the_files_init_args(tmp_path: Path) -> None:
    loss = {"class_path": f"{LOSSES}.InfoNCE", "init_args": {"weight": 0.9}}
    path = write(tmp_path, {"tune": {"model": {"loss": loss}}})
    changed = load_config(path, [f"tune.model.loss.class_path={LOSSES}.LikelihoodOnly"])
    assert loss_of(changed) == {"class_path": f"{LOSSES}.LikelihoodOnly"}


def test_init_args_given_after_a_class_change_are_kept(tmp_path: Path) -> None:
    overrides = [
        f"tune.model.loss.class_path={LOSSES}.ReleasedObjective",
        "tune.model.loss.init_args.weight=0.5",
    ]
    assert loss_of(load_config(write(tmp_path, {}), overrides))["init_args"] == {"weight": 0.5}


def test_naming_the_same_class_again_keeps_its_init_args(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, {}), [f"tune.model.loss.class_path={LOSSES}.InfoNCE"])
    assert loss_of(config)["init_args"] == {"weight": 0.3, "temperature": 1.0, "own_weight": 1.0, "pairs": 1}


def test_class_change_inside_an_interpolated_node_reaches_every_reader(tmp_path: Path) -> None:
    path = write(tmp_path, {"domain": {"class_path": "a.B", "init_args": {"x": 1}}})
    document = load_config(path, ["domain.class_path=c.D"]).document
    for stage in ("prepare", "synthesize", "curate", "answer", "finetune", "evaluate"):
        assert document[stage]["domain"] == {"class_path": "c.D"}


def test_a_plain_class_name_is_the_same_node_as_its_class_path(tmp_path: Path) -> None:
    """Fingerprints hash the source file of every class_path, so no other spelling may slip past."""
    config = load_config(
        write(tmp_path, {"tune": {"model": {"loss": "my_fork.Loss"}}}),
        ["curate.filters=[my_fork.Filter, {class_path: my_fork.Other}]", "domain=my_fork.Domain"],
    )
    assert loss_of(config) == {"class_path": "my_fork.Loss"}
    assert config.document["curate"]["filters"] == [
        {"class_path": "my_fork.Filter"},
        {"class_path": "my_fork.Other"},
    ]
    assert config.document["answer"]["domain"] == {"class_path": "my_fork.Domain"}


def test_a_list_is_replaced_as_a_whole(tmp_path: Path) -> None:
    filters = [{"class_path": "a.First", "init_args": {"x": 1}}, {"class_path": "a.Second"}]
    path = write(tmp_path, {"curate": {"filters": filters}})
    document = load_config(path, ["curate.filters=[{class_path: b.Only}]"]).document
    assert document["curate"]["filters"] == [{"class_path": "b.Only"}]


def test_an_index_into_a_list_is_refused(tmp_path: Path) -> None:
    message = refused(write(tmp_path, {}), "curate.filters.0.class_path=a.B")
    assert message.startswith("override 'curate.filters.0.class_path=a.B'")
    assert "replaced as a whole" in message


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("prepar.seed=1", "prepar", "prepare"),
        ("sed=1", "sed", "seed"),
        ("tune.modle=1", "tune.modle", "model"),
        ("prepare.source.limt=1", "prepare.source.limt", "limit"),
        ("tune.trainer.max_stepz=1", "tune.trainer.max_stepz", "max_steps"),
        ("tune.data.batchsize=1", "tune.data.batchsize", "batch_size"),
        ("tune.model.loss.init_args.temperatur=1", "tune.model.loss.init_args.temperatur", "temperature"),
        ("tune.model.loss.init_arg={}", "tune.model.loss.init_arg", "init_args"),
        ("tune.runtime.num_worker=1", "tune.runtime.num_worker", "num_workers"),
        ("prepare.runtime.worker=1", "prepare.runtime.worker", "workers"),
        (f"{INNER}.init_args.top=1", f"{INNER}.init_args.top", "top_p"),
        ("synthesize.stop.acepted=1", "synthesize.stop.acepted", "accepted"),
        ("curate.filters=[{clas_path: a.B}]", "curate.filters.clas_path", "class_path"),
        ("finetune.model.learning_rat=1", "finetune.model.learning_rat", "learning_rate"),
        ("tracking.wand=offline", "tracking.wand", "wandb"),
    ],
)
def test_typo_in_an_override_is_one_line_with_key_and_near_match(
    write_experiment: Write, override: str, key: str, near: str
) -> None:
    message = refused(write_experiment(), override)
    assert message == f"override '{override}': unknown key '{key}'. Did you mean '{near}'?"


@pytest.mark.parametrize(
    ("tree", "key", "near"),
    [
        ({"sede": 1}, "sede", "seed"),
        ({"evaluate": {"sample": 1}}, "evaluate.sample", "samples"),
        ({"tune": {"trainer": {"max_stps": 1}}}, "tune.trainer.max_stps", "max_steps"),
        ({"evaluate": {"runtime": {"werkers": 1}}}, "evaluate.runtime.werkers", "workers"),
        (
            {"tune": {"model": {"domain_prompt": {"init_args": {"num_token": 2}}}}},
            "tune.model.domain_prompt.init_args.num_token",
            "num_tokens",
        ),
    ],
)
def test_typo_in_the_file_names_file_and_line(
    write_experiment: Write, tree: dict[str, Any], key: str, near: str
) -> None:
    path = write_experiment(tree)
    where = f"{path}, line {line_of(path, key.rpartition('.')[2])}"
    with pytest.raises(UserError) as caught:
        validate(load_config(path), [name for name in STAGES if name in tree])
    assert str(caught.value) == f"{where}: unknown key '{key}'. Did you mean '{near}'?"


def test_typo_in_a_nested_list_item_names_its_class_arguments(write_experiment: Write) -> None:
    callback = "{class_path: lightning.pytorch.callbacks.Timer, init_args: {duratio: 1}}"
    message = refused(write_experiment(), f"tune.trainer.callbacks=[{callback}]")
    assert "unknown key 'tune.trainer.callbacks.init_args.duratio'. Did you mean 'duration'?" in message
    parses = "{class_path: domino_lightning.curation.Parses, init_args: {a: 1}}"
    message = refused(write_experiment(), f"curate.filters=[{parses}]")
    assert "unknown key 'curate.filters.init_args.a'. No keys are known here." in message


@pytest.mark.parametrize(
    ("override", "key", "reason"),
    [
        ("tune.trainer.max_steps=many", "tune.trainer.max_steps", "expected int, got 'many'"),
        ("prepare.source.limit=abc", "prepare.source.limit", "expected int or null, got 'abc'"),
        ("tune.model.learning_rate=fast", "tune.model.learning_rate", "expected float, got 'fast'"),
        ("tune.data.batch_size=null", "tune.data.batch_size", "expected a value, got null"),
        ("tune.export=worst", "tune.export", "expected 'best', 'last', got 'worst'"),
        ("evaluate.k=1", "evaluate.k", "expected list or null, got 1"),
        ("curate.filters=true", "curate.filters", "expected Sequence, got True"),
        ("tune=3", "tune", "expected a mapping of keys, got 3"),
        ("tune=null", "tune", "expected a mapping of keys, got None"),
        ("tune.trainer=null", "tune.trainer", "expected a mapping of keys, got None"),
        ("prepare.split=5", "prepare.split", "expected a mapping of keys, got 5"),
        ("tune.model.loss=null", "tune.model.loss", "expected a value, got null"),
        ("tune.model.loss.init_args=3", "tune.model.loss.init_args", "expected a mapping of keys, got 3"),
        ("tune.model.loss.class_path=3", "tune.model.loss.class_path", "expected a dotted name, got 3"),
        ("seed=abc", "seed", "expected an integer, got 'abc'"),
        ("root=null", "root", "expected text, got None"),
        ("name=3", "name", "expected text, got 3"),
        ("tracking=null", "tracking", "expected a mapping of keys, got None"),
        (
            "tracking.project=a/b",
            "tracking.project",
            "expected at most 128 characters, none of them in #%/:?\\, got 'a/b'",
        ),
        ("finetune.model.lora.rank=1.5", "finetune.model.lora.rank", "expected int or null, got 1.5"),
        (
            "tracking.wandb=maybe",
            "tracking.wandb",
            "expected one of online, offline, disabled, got 'maybe'",
        ),
    ],
)
def test_wrong_type_is_one_line_with_key_type_and_value(
    write_experiment: Write, override: str, key: str, reason: str
) -> None:
    assert refused(write_experiment(), override) == f"override '{override}': key '{key}': {reason}."


def test_wrong_class_is_refused(write_experiment: Write) -> None:
    message = refused(write_experiment(), "tune.model.loss.class_path=torch.nn.Linear")
    assert message.startswith("override 'tune.model.loss.class_path=torch.nn.Linear': key 'tune.model.loss': ")
    assert "DisentanglementLoss" in message


def test_unknown_class_names_key_override_and_near_match(write_experiment: Write) -> None:
    override = f"tune.model.loss.class_path={LOSSES}.InfoNEC"
    message = refused(write_experiment(), override)
    assert message.startswith(f"override '{override}': key 'tune.model.loss': class_path '{LOSSES}.InfoNEC'")
    assert message.endswith(f"Did you mean '{LOSSES}.InfoNCE'?")


def test_near_matches_are_found_among_what_a_face_imports_on_first_use(write_experiment: Write) -> None:
    message = refused(write_experiment(), "tune.model.domain_prompt.class_path=domino_lightning.nn.DomainPromt")
    assert message.endswith("Did you mean 'domino_lightning.nn.DomainPrompt'?")


def test_unknown_module_tells_how_modules_are_found(write_experiment: Write) -> None:
    message = refused(write_experiment(), "tune.model.loss.class_path=no_such_fork.Loss")
    assert "no_such_fork.Loss" in message
    assert "python -m domino_lightning" in message


def test_unknown_shared_class_is_traced_through_the_interpolation(write_experiment: Write) -> None:
    message = refused(write_experiment(), "domain.class_path=domino_lightning.domains.CodeExek")
    assert message.startswith("override 'domain.class_path=domino_lightning.domains.CodeExek': key 'prepare.")
    assert message.endswith("Did you mean 'domino_lightning.domains.CodeExec'?")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("evaluate.k=[0,2]", "different whole numbers from 1"),
        ("tune.model.domain_prompt.init_args.num_tokens=0", "num_tokens must be 1 or more, not 0"),
        ("tune.model.loss.init_args.temperature=0", "temperature must be greater than 0, not 0"),
    ],
)
def test_a_value_that_a_class_refuses_is_told_before_anything_runs(
    write_experiment: Write, override: str, words: str
) -> None:
    assert words in refused(write_experiment(), override)


@pytest.mark.parametrize("key", ["seed", "prepare.source.path"])
def test_question_marks_in_the_file_demand_a_value(tmp_path: Path, key: str) -> None:
    tree: Any = "???"
    for part in reversed(key.split(".")):
        tree = {part: tree}
    path = write(tmp_path, tree)
    with pytest.raises(UserError, match=r"has no value \(\?\?\?\)") as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}, line {len(key.split('.'))}: key '{key}'")
    assert load_config(path, [f"{key}=4"]).document is not None


def test_question_marks_in_an_override_take_a_value_away(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"override 'seed=\?\?\?': key 'seed' has no value"):
        load_config(write(tmp_path, {"seed": 3}), ["seed=???"])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=${nosuch}", "'nosuch' not found"),
        ("seed=${seed}", "Recursive interpolation"),
        ("seed=[1", "not valid YAML"),
        ("tracking={tags: [], tags: []}", "not valid YAML (found duplicate key tags)"),
        ("seed", "expected dotted.key=value"),
        ("=3", "expected dotted.key=value"),
    ],
)
def test_broken_override_is_named(tmp_path: Path, override: str, words: str) -> None:
    message = refused(write(tmp_path, {}), override)
    assert message.startswith(f"override '{override}'")
    assert words in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: [1", "not valid YAML"),
        ("- a\n- b\n", "holds a list"),
        ("seed: 1\n\tname: x\n", "not valid YAML"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    message = refused(path)
    assert message.startswith(f"{path}: ")
    assert words in message


def test_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("", encoding="utf-8")
    assert load_config(path).document["name"] == "experiment"


def test_missing_file_and_directory_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml").startswith(f"{tmp_path / 'none.yaml'}: no such file")
    assert refused(tmp_path).startswith(f"{tmp_path}: is a directory")


def test_where_follows_interpolations_to_the_layer_that_set_the_value() -> None:
    base = Layer("defaults", {"a": {"x": "${b}"}, "b": 1}, {"a": 1, "a.x": 2, "b": 3})
    config = compose([base, Layer("override 'b=2'", {"b": 2})])
    assert config.document["a"]["x"] == 2
    assert config.where("a.x") == "override 'b=2'"
    assert config.where("a") == "defaults, line 1"
    assert config.where("a.nothing.below") == "defaults, line 1"


def test_defaults_are_valid_with_the_tiny_backbone(write_experiment: Write) -> None:
    config = load_config(write_experiment())
    assert validate(config) is None  # a bad section would raise


def test_class_of_imports_a_dotted_path() -> None:
    assert class_of("domino_lightning.errors.UserError") is UserError
    with pytest.raises(UserError, match="somewhere: class_path 'UserError' cannot be imported"):
        class_of("UserError", "somewhere")


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("seed: 1\nname: x\nseed: 2\n", 3, "seed"),
        ("tune:\n  trainer:\n    max_steps: 1\n    max_steps: 2\n", 4, "max_steps"),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_line(tmp_path: Path, text: str, line: int, key: str) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"twice\.yaml, line {line}: key '{key}' is there twice"):
        load_config(path)


def test_what_is_laid_over_shared_layers_leaves_them_as_they_are() -> None:
    node = {"class_path": "a.B", "init_args": {"x": 1}}
    base = [Layer("defaults", {"seed": 0, "loss": node, "sizes": [1, 2]}), Layer("file", {"seed": 1})]
    other = Layer("other", {"loss": {"class_path": "a.C"}, "sizes": [3]})
    shared = Merged.of(base)
    assert shared.under([other]).config() == compose([*base, other])
    assert shared.under([]).config() == compose(base)
    assert shared.under([]).config().document == {"seed": 1, "loss": node, "sizes": [1, 2]}
