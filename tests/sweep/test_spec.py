"""Sweep files: what they expand to, and how they are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domino_lightning.config.document import load_config
from domino_lightning.errors import UserError
from domino_lightning.runner.pipeline import make_plan
from domino_lightning.store.store import safe_name
from domino_lightning.sweep import Sweep, load_sweep
from tests.sweep.conftest import INFONCE, LIKELIHOOD, LOSS, Load

WEIGHT = {"key": "tune.model.loss.init_args.weight", "values": [0.1, 1.0], "when": {"loss": "infonce"}}


def arms(sweep: Sweep) -> list[str]:
    return sweep.arms


def value(sweep: Sweep, arm: str, key: str) -> Any:
    node: Any = next(trial.config.document for trial in sweep.trials if trial.arm == arm)
    for part in key.split("."):
        node = node[part]
    return node


def test_axes_cross_in_order_and_seeds_vary_fastest(load: Load) -> None:
    sweep = load({"axes": {"tune.trainer.max_steps": [2, 3], "evaluate.limit": [4, 5]}, "seeds": [0, 7]})
    assert [trial.name for trial in sweep.trials] == [
        "max_steps=2,limit=4,seed=0",
        "max_steps=2,limit=4,seed=7",
        "max_steps=2,limit=5,seed=0",
        "max_steps=2,limit=5,seed=7",
        "max_steps=3,limit=4,seed=0",
        "max_steps=3,limit=4,seed=7",
        "max_steps=3,limit=5,seed=0",
        "max_steps=3,limit=5,seed=7",
    ]
    last = sweep.trials[-1]
    assert last.values == {"max_steps": 3, "limit": 5}
    assert last.config.document["tune"]["trainer"]["max_steps"] == 3
    assert last.config.document["tune"]["seed"] == 7
    assert last.config.document["prepare"]["seed"] == 0
    assert last.config.document["name"] == sweep.name == "mine"
    assert last.overrides == ("tune.trainer.max_steps=3", "evaluate.limit=5", "seed=7")


def test_a_sweep_without_axes_repeats_the_experiment_over_seeds(load: Load) -> None:
    assert [trial.name for trial in load({"seeds": [1, 2]}).trials] == ["default,seed=1", "default,seed=2"]


def test_a_class_node_replaces_the_arguments_of_another_class_only(load: Load) -> None:
    sweep = load({"axes": {"loss": LOSS}})
    assert arms(sweep) == ["loss=likelihood", "loss=infonce"]
    assert value(sweep, "loss=likelihood", "tune.model.loss") == LIKELIHOOD
    arguments = load_config(sweep.experiment).document["tune"]["model"]["loss"]["init_args"]
    assert arguments["temperature"] != 0.5
    assert value(sweep, "loss=infonce", "tune.model.loss.init_args") == arguments | {"temperature": 0.5}


def test_a_conditional_axis_multiplies_only_where_it_applies(load: Load) -> None:
    sweep = load({"axes": {"loss": LOSS, "weight": WEIGHT}})
    assert arms(sweep) == ["loss=likelihood", "loss=infonce,weight=0.1", "loss=infonce,weight=1.0"]
    assert value(sweep, "loss=infonce,weight=1.0", "tune.model.loss.init_args.weight") == 1.0
    assert sweep.trials[0].axes == {"loss": "likelihood"}


def test_zipped_axes_move_together(load: Load) -> None:
    axes = {"tune.trainer.max_steps": [2, 4], "evaluate.limit": [1, 2], "tune.data.batch_size": [4, 2]}
    sweep = load({"axes": axes, "zip": [["max_steps", "batch_size"]]})
    assert arms(sweep) == [
        "max_steps=2,limit=1,batch_size=4",
        "max_steps=2,limit=2,batch_size=4",
        "max_steps=4,limit=1,batch_size=2",
        "max_steps=4,limit=2,batch_size=2",
    ]


def test_exclude_leaves_combinations_out(load: Load) -> None:
    axes = {"tune.trainer.max_steps": [2, 3], "evaluate.limit": [4, 5, 6]}
    sweep = load({"axes": axes, "exclude": [{"max_steps": 2, "limit": [4, 6]}, {"limit": 5}]})
    assert arms(sweep) == ["max_steps=3,limit=4", "max_steps=3,limit=6"]


def test_the_baseline_is_an_arm(load: Load) -> None:
    axes = {"loss": LOSS, "weight": WEIGHT}
    assert load({"axes": axes}).baseline == "loss=likelihood"
    assert load({"axes": axes, "baseline": {"weight": 1.0}}).baseline == "loss=infonce,weight=1.0"


def test_set_holds_for_all_trials_and_is_overridden_by_the_command_line(load: Load) -> None:
    tree = {"set": {"evaluate.limit": 3, "tune": {"export": "last"}}, "axes": {"loss": LOSS}}
    sweep = load(tree, "evaluate.limit=1", "seeds=[4]", "name=other")
    for trial in sweep.trials:
        assert trial.config.document["evaluate"]["limit"] == 1
        assert trial.config.document["tune"]["export"] == "last"
        assert trial.seed == 4
        assert trial.config.document["name"] == "other"
    assert sweep.folder.name == "other"


def test_values_may_be_interpolated_from_the_experiment(load: Load) -> None:
    node = {"class_path": "domino_lightning.synthesis.SoftPromptGenerator", "init_args": {"backbone": "${backbone}"}}
    sweep = load({"axes": {"generator": {"key": "synthesize.generator", "values": {"soft": node}}}})
    (trial,) = sweep.trials
    document = trial.config.document
    assert document["synthesize"]["generator"]["init_args"]["backbone"] == document["backbone"]


def test_arms_share_the_stages_before_what_varies(load: Load) -> None:
    sweep = load({"axes": {"loss": LOSS, "evaluate.limit": [1, 2]}, "seeds": [0, 1]})
    plans = [make_plan(trial.config) for trial in sweep.trials]
    distinct = {(step.stage, step.key.fingerprint) for plan in plans for step in plan}
    counts = {stage: sum(name == stage for name, _ in distinct) for stage, _ in distinct}
    assert len(plans) == 8
    assert counts["prepare"] == 1
    assert counts["tune"] == counts["finetune"] == 4
    assert counts["evaluate"] == 8


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"axs": {}}, r"mine\.yaml, line 2: unknown key 'axs'\. Did you mean 'axes'"),
        ({"axes": {"loss": {"key": "tune.model.loss", "vals": [1]}}}, r"line 5: unknown key .*Did you mean 'values'"),
        ({"axes": {"loss": {"values": [1]}}}, "'key' names no key"),
        ({"axes": {"evaluate.limit": 3}}, r"line 3: axis 'evaluate\.limit': expected a list"),
        ({"axes": {"evaluate.limit": []}}, "has no values"),
        ({"axes": {"evaluate.limit": [1, 1]}}, "two values are called '1'"),
        ({"axes": {"tune.model.loss": [INFONCE, INFONCE]}}, "two values are called 'InfoNCE'.*mapping"),
        ({"axes": {"curate.filters": [["a"], []]}}, r"needs a label"),
        ({"axes": {"x": {"key": "evaluate.limit", "values": {True: 1}}}}, "YAML reads a label as True.*quotes"),
        ({"axes": {"tune.data.batch_size": [1], "finetune.data.batch_size": [1]}}, "two axes are called 'batch_size'"),
        ({"axes": {"seed": [1]}}, "seeds are given under `seeds`"),
        ({"axes": {"prepare.seed": [1, 2]}}, "never varied"),
        ({"axes": {"weight": WEIGHT, "loss": LOSS}}, "when .* unknown key 'loss'"),
        ({"axes": {"loss": LOSS, "weight": WEIGHT | {"when": {"loss": "infonse"}}}}, "Did you mean 'infonce'"),
        ({"axes": {"evaluate.limit": [1, 2], "tune.export": ["best"]}, "zip": [["limit", "export"]]}, "limit has 2"),
        ({"axes": {"evaluate.limit": [1]}, "zip": [["limit", "limmit"]]}, "Did you mean 'limit'"),
        ({"axes": {"evaluate.limit": [1]}, "exclude": [{"limit": 1}]}, "leaves no trial"),
        ({"axes": {"evaluate.limit": [1]}, "exclude": [{"limit": 2}]}, "axis 'limit' has no value '2'"),
        ({"seeds": [1, 1]}, "list of different whole numbers"),
        ({"seeds": 3}, "list of different whole numbers"),
        ({"axes": {"evaluate.limit": [1, 2], "tune.export": ["best"]}, "baseline": {"export": "best"}}, "these arms"),
        ({"budget": "time"}, "key 'budget': expected one of steps, tokens, axis"),
        ({"until": "tuna"}, "key 'until': expected one of prepare, tune"),
        ({"set": {"seed": 1}}, "a sweep has `seeds` for that"),
        ({"set": {"prepare.seed": "${seed}"}, "seeds": [0, 1]}, "'prepare.seed' depends on `seed`"),
        ({"axes": {"root": ["a", "b"]}}, "an axis varies 'root'"),
        ({"axes": {"tuna.limit": [1]}}, r"mine\.yaml, line 3 \(limit=1\): unknown key 'tuna'. Did you mean 'tune'"),
        ({"experiment": "nowhere.yaml"}, r"nowhere\.yaml: no such file.*key 'experiment' \(.*mine\.yaml, line 1\)"),
    ],
)
def test_what_is_wrong_is_told_with_its_place_and_remedy(load: Load, tree: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load(tree)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("seed=1", r"set by seeds=\[\.\.\.\]"),
        ("tune.model.loss=domino_lightning.losses.InfoNCE", "axis 'loss' varies 'tune.model.loss'"),
        ("tune.model={}", "axis 'loss' varies 'tune.model.loss'"),
        ("tuna.x=1", "override 'tuna.x=1': unknown key 'tuna'"),
    ],
)
def test_an_override_that_would_undo_the_sweep_is_refused(load: Load, override: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load({"axes": {"loss": LOSS}}, override)


def test_a_sweep_that_is_not_there_and_an_experiment_in_its_place_are_told(load: Load, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: no such file\. Name a sweep YAML"):
        load_sweep(tmp_path / "none.yaml")
    load({})
    with pytest.raises(UserError, match=r"is an experiment, not a sweep\. Run it with `domino run .*experiment\.yaml`"):
        load_sweep(tmp_path / "experiment.yaml")


def test_a_file_without_an_experiment_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("seeds: [1]\n")
    with pytest.raises(UserError, match="key 'experiment' has no value"):
        load_sweep(path)


def test_values_that_differ_in_separators_alone_have_directories_of_their_own(load: Load) -> None:
    trials = load({"axes": {"backbone": ["a/b", "a?b", "a_b"]}, "seeds": [0]}).trials
    assert len({safe_name(trial.name) for trial in trials}) == 3
