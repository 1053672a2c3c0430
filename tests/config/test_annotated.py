"""The resolved document with a comment on what does not come from the defaults."""

from __future__ import annotations

from pathlib import Path

import yaml

from domino_lightning.config.annotated import annotated
from domino_lightning.config.document import load_config

EXPERIMENT = """\
name: mine
backbone: some/model
tune:
  model:
    loss:
      class_path: domino_lightning.losses.Margin
curate:
  filters:
  - domino_lightning.curation.Finished
tracking:
  entity: "two
    words

    and a line"
answer:
  solver: {engine: {class_path: domino_lightning.synthesis.VLLMServer, init_args: {api_key: sk-12345678901234567890}}}
"""


def test_values_say_where_they_came_from_and_the_text_is_still_the_document(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(EXPERIMENT, encoding="utf-8")
    config = load_config(path, ["seed=4", "evaluate.k=[]"])
    text = annotated(config)
    lines = {line.strip() for line in text.splitlines() if "#" in line}
    assert f"name: mine  # {path}, line 1" in lines
    assert f"tokenizer: some/model  # {path}, line 2" in lines  # an interpolation, by what it points to
    assert f"class_path: domino_lightning.losses.Margin  # {path}, line 6" in lines
    assert f"filters:  # {path}, line 8" in lines
    assert "seed: 4  # override 'seed=4'" in lines
    assert "k: []  # override 'evaluate.k=[]'" in lines
    assert not any("max_steps" in line or "wandb" in line for line in lines)  # these are defaults
    config.document["answer"]["solver"]["engine"]["init_args"]["api_key"] = "***"
    assert yaml.safe_load(text) == config.document


def test_an_experiment_without_keys_has_its_own_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: mine\n", encoding="utf-8")
    lines = annotated(load_config(path)).splitlines()
    assert [line for line in lines if "#" in line] == [f"name: mine  # {path}, line 1"]
