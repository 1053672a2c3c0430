"""Which tier runs, and what a host without one is told."""

from __future__ import annotations

import os

import pytest

from domino_lightning.errors import UserError
from domino_lightning.execution.calls import run_call, run_program
from domino_lightning.execution.sandbox import box, pool, tiers


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No box and no verdict on this host yet."""
    monkeypatch.setattr(pool, "_boxes", {})
    monkeypatch.setattr(pool, "_reasons", {})
    monkeypatch.delenv(tiers.ENVIRONMENT, raising=False)


def test_a_host_that_forbids_namespaces_is_told_so_and_what_to_do(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tier: str, preload: object = ()) -> box.Box:
        raise box.BoxFailed("clone: Operation not permitted")

    monkeypatch.setattr(pool, "Box", refuse)
    with pytest.raises(UserError) as caught:
        run_program("print(1)", "")
    message = str(caught.value)
    assert "namespaces: clone: Operation not permitted" in message
    assert "bubblewrap: " in message
    assert "user namespaces" in message
    assert "--tier rlimits or DOMINO_SANDBOX_TIER=rlimits" in message


def test_limits_alone_are_never_chosen_unasked(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "objection", lambda tier: None if tier == tiers.RLIMITS else "not here")
    with pytest.raises(UserError, match="not here"):
        run_program("print(1)", "")
    monkeypatch.setenv(tiers.ENVIRONMENT, tiers.RLIMITS)
    opened = pool.open_box()
    try:
        assert opened.tier == tiers.RLIMITS
        assert run_program("print(1)", "").stdout == "1\n"
        assert run_call("def f(): return 2", "f", "").value == "2"
        code = (
            "import os, time\nfor _ in range(3):\n    if not os.fork(): os.setsid(); time.sleep(60)\nprint(os.getpid())"
        )
        assert run_program(code, "").status == "ok"
    finally:
        opened.close()


def test_an_unknown_tier_is_named() -> None:
    with pytest.raises(UserError, match="--tier jail: no such tier"):
        tiers.named_tier("jail")


def test_root_gives_programs_users_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert tiers.users() == [1000]
    if os.getuid() == 0:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        chosen = tiers.users()
        assert len(set(chosen)) == len(chosen)
        assert chosen == [0] or min(chosen) > 65_536


def test_nothing_of_the_project_or_the_caller_is_in_the_box(tier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    opened = pool.open_box(tier)
    from domino_lightning.execution.sandbox.running import run_one

    code = (
        "import os, sys\n"
        "print(sorted(os.environ))\n"
        "print(sorted(os.listdir('/')))\n"
        "print([name for name in sys.modules if 'domino' in name], os.getuid(), os.listdir())\n"
    )
    printed = run_one(opened, {"mode": "program", "code": code, "implicit": False}).stdout.decode()
    environment, root, rest = printed.splitlines()
    assert "WANDB" not in environment and "PYTHONPATH" not in environment
    shown = set(eval(root))
    assert shown <= {"box", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "site", "tmp", "usr", *tops()}
    assert rest == "[] 1000 []"


def tops() -> set[str]:
    """First parts of the interpreter's own paths."""
    import sys

    return {
        os.path.realpath(path).split("/")[1] for path in (sys.base_prefix, getattr(sys, "_base_executable", "/usr"))
    }
