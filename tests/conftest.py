"""What every test can use: a tiny backbone, a cache of its own, small experiments, the shared data."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import settings

# Read once, when huggingface_hub is imported: no test may reach for the hub.
os.environ["HF_HUB_OFFLINE"] = "1"
# Read once, when torch is imported: threads only slow tiny tensors down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores SIGINT and hands that down, and what tests interrupt would go on.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("untimed", deadline=None)  # no test judges by the clock
settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

# Nine functions, so nine groups; two inputs each.
BODIES = (
    "return a + b",
    "return [a] * b",
    "return {a: b}",
    "return str(a) + str(b)",
    "return a - b if a > b else b - a",
    "return (a, b, a)",
    "return max(a, b) // 2",
    "return list(range(a, a + b))",
    "return a % (b + 1) == 0",
)
INPUTS = ("5, 2", "3, 4")


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that starts empty, no hub, and no W&B mode or key from the caller's shell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOMINO_CACHE", str(tmp_path_factory.mktemp("domino-cache")))
        patch.setenv("HF_HUB_OFFLINE", "1")
        for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _no_module_of_another_test(tmp_path: Path) -> Iterator[None]:
    """What a test imported from its own folder, or from an example, is forgotten with it."""
    before = set(sys.modules)
    yield
    folders = (str(tmp_path), str(ROOT / "examples"))
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(folders):
            del sys.modules[name]


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a two-layer random llama and a byte-level tokenizer; treat it as read-only."""
    from domino_lightning.testing import save_tiny_backbone

    return save_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared sample data beside the checkout, where there is any."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no sample data at {SHARED_DATA}")
    return SHARED_DATA


def codeexec_rows(functions: int = len(BODIES)) -> list[dict[str, Any]]:
    """Raw codeexec rows: `functions` distinct functions, two inputs each, outputs by running them here."""
    rows = []
    for number, body in enumerate(BODIES[:functions]):
        code = f"def f(a, b):\n    {body}"
        namespace: dict[str, Any] = {}
        exec(code, namespace)
        for index, arguments in enumerate(INPUTS):
            output = repr(eval(f"f({arguments})", namespace))
            row = {"id": f"fn-{number}-{index}", "code": code, "entry_point": "f"}
            rows.append({**row, "input": arguments, "output": output})
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    """JSON Lines, written without the library under test."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def finished_offline_runs(root: Path, count: int) -> list[Any]:
    """The offline W&B runs of a store, once `count` of them are on disk: W&B's own process writes them."""
    from domino_lightning.tracking.offline import offline_runs, read_offline_run

    for _ in range(1200):
        runs = [read_offline_run(path) for path in offline_runs(root)]
        if len([run for run in runs if run.exit_code is not None]) >= count:
            return runs
        time.sleep(0.05)
    raise AssertionError(f"{count} finished runs expected below {root}; there are {runs}")


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, mapping by mapping; a class node replaces the old one."""
    both = dict(base)
    for key, value in over.items():
        old = both.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and "class_path" not in value:
            both[key] = merged(old, value)
        else:
            both[key] = value
    return both


def small_document(folder: Path, backbone: Path) -> dict[str, Any]:
    """A small experiment of all seven stages; its store, `outputs`, and its `data.jsonl` lie in `folder`.

    Every other candidate is a held-out text, so that the stages after synthesis have something to do.
    """
    data = write_rows(folder / "data.jsonl", codeexec_rows())
    trainer = {"max_steps": 2, "val_check_interval": 1, "accelerator": "cpu"}
    sampled = {
        "class_path": "domino_lightning.synthesis.SoftPromptGenerator",
        "init_args": {"backbone": "${backbone}", "temperature": 0.8, "top_p": 1.0, "max_new_tokens": 4},
    }
    return {
        "name": "small",
        "root": str(folder / "outputs"),
        "backbone": str(backbone),
        "tracking": {"wandb": "disabled"},
        "prepare": {"source": {"path": str(data)}, "split": {"reference": 3, "heldout": 3, "test": None}},
        "tune": {
            "data": {"batch_size": 2},
            "model": {"domain_prompt": {"init_args": {"num_tokens": 2}}, "num_sample_tokens": 1},
            "trainer": trainer,
            # Health has tests of its own; here it would only cost time.
            "runtime": {"checkpoint_every_n_steps": 1, "health_every_n_steps": 0, "samples_every_n_steps": 0},
        },
        "synthesize": {
            "generator": {
                "class_path": "domino_lightning.synthesis.generators.smoke.SmokeGenerator",
                "init_args": {"generator": sampled},
            },
            "block_size": 4,
            "stop": {"candidates": 8},
        },
        "finetune": {"data": {"batch_size": 2, "max_length": 2048}, "trainer": trainer},
        "evaluate": {"max_new_tokens": 2, "batch_size": 6},
    }


@pytest.fixture
def write_experiment(tmp_path: Path, tiny_backbone: Path) -> Callable[..., Path]:
    """`write_experiment(tree, name="x.yaml")` writes `small_document` with `tree` laid over it."""
    document = small_document(tmp_path, tiny_backbone)

    def write(tree: dict[str, Any] | None = None, name: str = "experiment.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(merged(document, tree or {}), sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def smoke_experiment(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: Path) -> Path:
    """An experiment that `domino run --smoke` has run, once for all tests; read its store, leave it alone."""
    from domino_lightning.cli.main import main

    folder = tmp_path_factory.mktemp("smoke")
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(small_document(folder, tiny_backbone), sort_keys=False), encoding="utf-8")
    assert main(["run", str(path), "--smoke", "--trial", "first"]) == 0
    return path


@pytest.fixture(scope="session")
def smoke_root(smoke_experiment: Path) -> Path:
    """The store of `smoke_experiment`."""
    return smoke_experiment.parent / "outputs" / "smoke"


# A generator in a fork, light to import, that does what its arguments say before it gives held-out texts.
SCRIPTED = """
import os, signal, subprocess, sys, time
from pathlib import Path

from domino_lightning.synthesis import HeldoutReplay


class Scripted(HeldoutReplay):
    def __init__(self, does: str = "", folder: str = ".", label: str = "") -> None:
        self.does, self.folder, self.label = does, Path(folder), label

    def generate(self, rows, seed):
        with open(self.folder / "calls.txt", "a") as file:
            file.write(f"{self.label} {seed} {os.getpid()}\\n")
        if (self.folder / "mended").exists():
            return super().generate(rows, seed)
        if self.does == "raise":
            raise RuntimeError("the generator is out of ideas")
        if self.does == "memory":
            raise MemoryError
        if self.does == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.does == "exit":
            os._exit(7)
        if self.does == "sleep":
            time.sleep(600)
        if self.does == "stubborn":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            code = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(600)"
            child = subprocess.Popen([sys.executable, "-c", code])
            (self.folder / "grandchild.txt").write_text(str(child.pid))
            time.sleep(600)
        if self.does == "big":
            (self.folder / "big.txt").write_text("x" * 200_000)
        if self.does == "wait":
            while not (self.folder / "go").exists():
                time.sleep(0.02)
        return super().generate(rows, seed)
"""


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """`scripted("sleep", label="a")` is the node of a generator that does so; see `SCRIPTED`."""
    folder = tmp_path / "fork"
    folder.mkdir()
    (folder / "scripted_generator.py").write_text(SCRIPTED, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "scripted_generator", raising=False)
    root = Path(__file__).resolve().parent.parent
    monkeypatch.setenv("PYTHONPATH", f"{root}{os.pathsep}{folder}")

    def node(does: str = "", **init_args: Any) -> dict[str, Any]:
        arguments = {"does": does, "folder": str(tmp_path), **init_args}
        return {"class_path": "scripted_generator.Scripted", "init_args": arguments}

    return node


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> None:
    """Look until the condition holds; only a test that would hang ends by the clock."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.02)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that a command leaves for bad input; nothing is printed besides."""
    from domino_lightning.cli.main import main

    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.replace("\r", "\n").splitlines() if "|" not in line and line.strip()]
    assert len(lines) == 1, error
    assert lines[0].startswith("domino: ")
    assert "usage" not in error
    assert "Traceback" not in error
    return lines[0].removeprefix("domino: ")
