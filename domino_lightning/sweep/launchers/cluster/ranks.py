"""The ranks of an attempt on one node: their environment, their start, and what their ends say."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from domino_lightning.runner.child import StageMessage, StageProcess
from domino_lightning.sweep.launchers.cluster.mailbox import JOB, Attempt
from domino_lightning.sweep.launchers.local import THREADS
from domino_lightning.utils.jsonl import Record
from domino_lightning.utils.yielding import MAY_YIELD, YIELDED


def address() -> str:
    """How other machines reach this one: the address that it would call out from, else its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))  # of a network for documentation; nothing is sent
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("", 0)) as probe:
        return int(probe.getsockname()[1])


def environment(cpus: int, gpus: int, joint: Record, node: int, local: int) -> dict[str, str]:
    """Variables of one rank, over those of the agent.

    With TORCHELASTIC_RUN_ID Lightning takes ranks from here, whatever cluster it finds itself on, and starts and
    requeues nothing.
    """
    ranks, nodes = int(joint["ranks"]), int(joint["nodes"])
    variables = dict.fromkeys(THREADS, str(max(1, cpus // ranks)))
    variables |= {"TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1", MAY_YIELD: "1"}
    if not gpus:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    if ranks * nodes > 1:
        variables |= {
            "RANK": str(node * ranks + local),
            "LOCAL_RANK": str(local),
            "WORLD_SIZE": str(nodes * ranks),
            "LOCAL_WORLD_SIZE": str(ranks),
            "GROUP_RANK": str(node),
            "MASTER_ADDR": str(joint["address"]),
            "MASTER_PORT": str(joint["port"]),
            "TORCHELASTIC_RUN_ID": str(joint["id"]),
            "TORCHELASTIC_USE_AGENT_STORE": "False",  # the first rank opens the store itself
        }
    return variables


def start(attempt: Attempt, joint: Record, node: int, cpus: int, gpus: int) -> list[StageProcess]:
    """Start this node's ranks; their output goes to `log`, or `log.K` on other nodes than the first."""
    stage, _ = attempt.stage
    log = attempt.path / ("log" if node == 0 else f"log.{node}")
    started: list[StageProcess] = []
    with open(log, "ab") as output:
        for local in range(int(joint["ranks"])):
            variables = environment(cpus, gpus, joint, node, local)
            started.append(StageProcess(attempt.path / JOB, stage, variables, output))
    return started


def fallen(children: Sequence[StageProcess]) -> bool:
    """Whether a rank ended badly, so that the others wait in vain."""
    return any(child.process.returncode not in (None, 0, YIELDED) for child in children)


def killed(children: Sequence[StageProcess], first: int) -> str:
    """What a rank was killed by, where one was: the memory limit, for example."""
    for local, child in enumerate(children):
        if child.process.returncode is not None and child.process.returncode < 0:
            return f"rank {first + local}: {child.ended()['error']}"
    return ""


def ended(children: Sequence[StageProcess]) -> StageMessage:
    """The end of an attempt as its first rank tells it, with `yielded` for one that made room."""
    first = children[0]
    message: dict[str, Any] = dict(first.ended())
    if message["event"] == "failed" and first.process.returncode == YIELDED:
        message = {"event": "yielded"}
    return message | {"rss_mb": first.rss_mb}


def files(work: Path) -> dict[str, int]:
    """What an attempt continues from: relative names and sizes."""
    return {str(path.relative_to(work)): path.stat().st_size for path in work.rglob("*") if path.is_file()}


def wait_visible(work: Path, expected: Mapping[str, int], seconds: float) -> bool:
    """Whether this machine sees the files as the first node wrote them, within so many seconds."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            if work.is_dir() and all((work / name).stat().st_size == size for name, size in expected.items()):
                return True
        except OSError:
            pass
        if time.monotonic() > give_up:
            return False
        time.sleep(0.2)
