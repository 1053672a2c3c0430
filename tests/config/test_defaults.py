"""What a class does when it is made by hand is what the document's defaults say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, asdict, fields, is_dataclass
from inspect import Parameter, signature
from typing import Any, get_args, get_type_hints

import pytest
from lightning.pytorch import Trainer

from domino_lightning.config.layers import default_layer
from domino_lightning.config.nodes import ClassNode, class_of
from domino_lightning.stages import STAGES, stage_class
from domino_lightning.stages.training import TrainingStage

DOCUMENT = default_layer().tree


def default_of(cls: Any, parameter: Parameter) -> Any:
    """As YAML would hold it."""
    factories = {each.name: each.default_factory for each in fields(cls)} if is_dataclass(cls) else {}
    factory: Any = factories.get(parameter.name, MISSING)
    value = parameter.default if factory is MISSING else factory()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


def differences(cls: Any, node: dict[str, Any], where: str) -> Iterator[str]:
    """Keys of a mapping whose value is not the default of the class that it is the arguments of."""
    hints = get_type_hints(cls.__init__)
    for name, parameter in signature(cls).parameters.items():
        if name not in node or str(node[name]).startswith("${"):
            continue
        value, default, key = node[name], default_of(cls, parameter), f"{where}.{name}"
        kinds = [kind for kind in (hints[name], *get_args(hints[name])) if is_dataclass(kind)]
        named = ClassNode.read(value) if isinstance(value, dict) else None
        if named is not None:
            yield from differences(class_of(named.path), named.init_args, key)
        elif isinstance(value, dict) and isinstance(default, dict):
            for each in value:
                made = list(default[each]) if isinstance(default[each], tuple) else default[each]
                if made != value[each]:
                    yield f"{key}.{each}: {made!r} by hand, {value[each]!r} in the document"
        elif isinstance(value, dict) and kinds:
            yield from differences(kinds[0], value, key)
        elif default is not Parameter.empty and default != value:
            yield f"{key}: {default!r} by hand, {value!r} in the document"


@pytest.mark.parametrize("name", STAGES)
def test_defaults_of_the_constructors_are_those_of_the_document(name: str) -> None:
    stage, section = stage_class(name), DOCUMENT[name]
    found = list(differences(stage, section, name))
    if issubclass(stage, TrainingStage):
        for group, cls in zip(("model", "data"), stage.classes(), strict=True):
            found += differences(cls, section[group], f"{name}.{group}")
        assert set(section["trainer"]) <= set(signature(Trainer).parameters)
    assert found == []


def test_the_comparison_sees_a_difference() -> None:
    model = {**DOCUMENT["tune"]["model"], "warmup_steps": 6, "loss": {**DOCUMENT["tune"]["model"]["loss"]}}
    model["loss"] = {"class_path": "domino_lightning.losses.InfoNCE", "init_args": {"weight": 0.4}}
    found = list(differences(stage_class("tune").classes()[0], model, "tune.model"))  # type: ignore[attr-defined]
    assert found == [
        "tune.model.loss.weight: 0.3 by hand, 0.4 in the document",
        "tune.model.warmup_steps: 5 by hand, 6 in the document",
    ]
