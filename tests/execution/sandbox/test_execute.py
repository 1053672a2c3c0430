"""A box that ends without a word is opened again; what ends every box is the program."""

from __future__ import annotations

from typing import Any

import pytest

from domino_lightning.execution.sandbox import execute as module
from domino_lightning.execution.sandbox.limits import Limits
from domino_lightning.execution.sandbox.running import Ended


@pytest.mark.parametrize(("silent", "code"), [(1, 0), (4, 0), (99, None)])
def test_a_box_that_ended_without_a_report_is_tried_again(
    silent: int, code: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    discarded: list[object] = []

    def opens(tier: str | None) -> object:
        opened.append(object())
        return opened[-1]

    def runs(box: object, *_: Any) -> list[Ended]:
        return [Ended() if len(opened) <= silent else Ended(code=0)]

    monkeypatch.setattr(module, "open_box", opens)
    monkeypatch.setattr(module, "discard_box", discarded.append)
    monkeypatch.setattr(module, "_run", runs)
    (ended,) = module._attempt([{}], Limits(), b"", None, None)
    assert ended.code == code
    assert len(opened) == min(silent + 1, 5) and discarded == opened[:-1]
