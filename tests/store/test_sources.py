"""The user's side of the fence: which modules a section reaches, and what is refused when they change."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domino_lightning.errors import UserError
from domino_lightning.store.sources import forget_compiled, user_sources
from domino_lightning.utils.jsonl import sha256_text

Write = Callable[[str, str], Path]


def reached(section: Any) -> list[str]:
    return list(user_sources(section))


def node(path: str) -> dict[str, Any]:
    return {"model": {"loss": {"class_path": path, "init_args": {}}}}


def hashes(section: Any) -> dict[str, str]:
    return {name: source.sha256 for name, source in user_sources(section).items()}


def test_nothing_of_this_package_and_what_it_rests_on_is_a_source() -> None:
    section = {
        "loss": {"class_path": "domino_lightning.losses.InfoNCE"},
        "optimizer": "torch.optim.AdamW",
        "callbacks": ["lightning.pytorch.callbacks.Timer", "json.JSONDecoder"],
        "words": ["data.jsonl", "gone.Loss", "1.5", "a sentence. Another.", ".hidden", "a..b"],
    }
    assert user_sources(section) == {}


def test_a_module_is_known_by_name_and_bytes(write: Write) -> None:
    path = write("plain_fork.py", "class Loss: ...\n")
    assert user_sources(node("plain_fork.Loss")) == {"plain_fork": (path, sha256_text("class Loss: ...\n"))}


@pytest.mark.parametrize(
    ("init", "reason"),
    [
        ("from fork_a.hinge import Hinge\n", "a re-export"),
        ("from .hinge import Hinge\n", "a relative re-export"),
        ("from . import hinge\nHinge = hinge.Hinge\n", "by the module"),
        ("from .hinge import *\n", "with a star"),
        ("import fork_a.hinge as h\nHinge = h.Hinge\n", "by another name"),
        ("from importlib import import_module\nHinge = import_module('.hinge', __name__).Hinge\n", "as a text"),
        ("def __getattr__(name):\n    from fork_a.hinge import Hinge\n    return Hinge\n", "on demand"),
        (
            "import importlib\n_AT = {'Hinge': 'hinge'}\ndef __getattr__(name):\n"
            "    return getattr(importlib.import_module(f'fork_a.{_AT[name]}'), name)\n",
            "on demand, by a computed name",
        ),
        ("globals().update(vars(__import__('fork_a.hinge').hinge))\n", "in a way that cannot be read"),
        ("import os\nexec(open(os.path.join(os.path.dirname(__file__), 'hinge.py')).read())\n", "by running it"),
    ],
)
def test_a_class_is_followed_to_its_module(write: Write, init: str, reason: str) -> None:
    write("fork_a/__init__.py", init)
    write("fork_a/hinge.py", "class Hinge: ...\n")
    assert reached(node("fork_a.Hinge")) == ["fork_a", "fork_a.hinge"], reason


def test_imports_are_followed_wherever_they_stand(write: Write) -> None:
    write("base_fork.py", "import helper_one, os, torch\nclass Base: ...\n")
    write("helper_one.py", "try:\n    import helper_two\nexcept ImportError:\n    import not_there\n")
    write("helper_two.py", "def late():\n    from deep.er import thing\n")
    write("deep/__init__.py", "")
    write("deep/er/__init__.py", "from ..beside import other as thing\n")
    write("deep/beside.py", "other = 1\n")
    write("deep/unused.py", "")
    write("my_fork.py", "from base_fork import Base\nclass Loss(Base): ...\n")
    assert reached(node("my_fork.Loss")) == [
        "base_fork", "deep", "deep.beside", "deep.er", "helper_one", "helper_two", "my_fork",
    ]  # fmt: skip


def test_a_star_takes_in_the_modules_that_a_package_exports(write: Write) -> None:
    write("starred/__init__.py", "__all__ = ['inner']\n")
    write("starred/inner.py", "")
    write("star_user.py", "from starred import *\nclass Loss: ...\n")
    assert reached(node("star_user.Loss")) == ["star_user", "starred", "starred.inner"]


def test_circles_and_packages_without_init_are_followed(write: Write) -> None:
    write("bare/one.py", "import bare.two\nclass Loss: ...\n")
    write("bare/two.py", "import bare.one\n")
    assert reached(node("bare.one.Loss")) == ["bare.one", "bare.two"]


@pytest.mark.parametrize(
    "files",
    [
        {"nest/mid/deep.py": "class Loss: ...\n"},
        {"nest/__init__.py": "from nest.mid.deep import Loss\n", "nest/mid/deep.py": "class Loss: ...\n"},
        {
            "nest/__init__.py": "from .mid import Loss\n",
            "nest/mid/__init__.py": "from .low.deep import Loss\n",
            "nest/mid/low/deep.py": "class Loss: ...\n",
        },
        {"nest/mid/low/__init__.py": "from .deep import Loss\n", "nest/mid/low/deep.py": "class Loss: ...\n"},
    ],
)
def test_a_package_without_init_is_followed_at_any_depth(write: Write, files: dict[str, str]) -> None:
    for name, text in files.items():
        write(name, text)
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in files}
    owner = min(modules, key=len)
    assert set(reached(node(f"{owner}.Loss"))) == modules


@pytest.mark.parametrize(
    "section",
    [
        {"engine": "spelled.Engine"},
        {"trainer": {"callbacks": ["spelled.Engine"]}},
        {"loss": {"class_path": "domino_lightning.losses.InfoNCE", "init_args": {"weight": "spelled.Engine"}}},
        {"a": [{"class_path": "spelled.Engine"}]},
        {"a": {"class_path": "x.Y", "init_args": {"inner": [{"class_path": "spelled.Engine.Nested"}]}}},
    ],
)
def test_every_spelling_of_a_class_counts(write: Write, section: Any) -> None:
    write("spelled.py", "class Engine:\n    class Nested: ...\n")
    write("x.py", "class Y: ...\n")
    assert "spelled" in reached(section)


def test_text_that_names_no_class_is_no_source(write: Write) -> None:
    write("data.py", "class Loader: ...\n")
    assert reached({"path": "data.jsonl", "fields": {"code": "data.args"}, "other": "data.Loader.x"}) == ["data"]
    assert reached({"path": "data.jsonl", "fields": {"code": "data.args"}}) == []


def test_a_module_with_a_fault_is_hashed_without_being_run(write: Write) -> None:
    write("faulty.py", "raise SystemExit('imported')\n")
    write("broken.py", "class Loss(:\n")
    assert reached([node("faulty.Loss"), node("broken.Loss")]) == ["broken", "faulty"]
    assert "faulty" not in sys.modules


def test_of_an_installed_package_only_its_own_modules_count(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("site-packages/installed_fork/__init__.py", "from .losses import Loss\nimport installed_other\n")
    write("site-packages/installed_fork/losses.py", "class Loss: ...\n")
    write("site-packages/installed_other.py", "")
    monkeypatch.syspath_prepend(str(path.parent.parent))
    assert reached(node("installed_fork.Loss")) == ["installed_fork", "installed_fork.losses"]


def test_a_class_path_without_module_is_refused() -> None:
    with pytest.raises(UserError, match=r"class_path 'no_such_fork.x.Loss': module 'no_such_fork.x' is not found"):
        user_sources(node("no_such_fork.x.Loss"))


def test_a_file_of_equal_size_and_time_is_read_again_by_python(write: Write) -> None:
    path = write("same_stat.py", "VALUE = 1\n")
    importlib.import_module("same_stat")
    found = path.stat()
    path.write_text("VALUE = 2\n")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    forget_compiled(user_sources({"class_path": "same_stat.VALUE"}))
    del sys.modules["same_stat"]
    assert importlib.import_module("same_stat").VALUE == 2
