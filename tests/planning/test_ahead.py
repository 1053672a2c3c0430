"""A look ahead at a whole experiment, where it needs less than all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from domino_lightning.cli.main import main
from domino_lightning.config.document import load_config
from domino_lightning.planning.ahead import Ahead

Write = Callable[..., Path]


def test_where_nothing_reads_data_none_is_looked_at(write_experiment: Write) -> None:
    ahead = Ahead(load_config(write_experiment(), ["finetune.source=none"]), "finetune")
    assert (ahead.needed, dict(ahead.splits), ahead.notes(), ahead.missing) == (["finetune"], {}, [], [])


@pytest.mark.parametrize("command", [["run", "--until", "finetune"], ["finetune"]])
def test_an_untouched_coder_is_kept_without_data(command: list[str], write_experiment: Write) -> None:
    assert main([command[0], str(write_experiment()), "finetune.source=none", *command[1:]]) == 0
