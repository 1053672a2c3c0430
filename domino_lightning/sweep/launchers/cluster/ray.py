"""Pilots as detached actors of Ray, one a node."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import selectors
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from domino_lightning.errors import UserError
from domino_lightning.sweep.launchers.cluster.engine import Engine, NoAnswer, Refused, Setting, State
from domino_lightning.sweep.launchers.cluster.fleet import Patience
from domino_lightning.sweep.launchers.cluster.launcher import ClusterLauncher
from domino_lightning.sweep.launchers.cluster.pools import Pool

log = logging.getLogger(__name__)

CALL_S = 60.0
KNOCK_S = 10.0
PASSED = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "PATH")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
OF_SLURM = ("partition", "account", "qos", "options")


class Ray(Engine):
    """A Ray cluster, by a process that talks to it and may be lost.

    Raises:
        UserError: Ray is not installed, or nothing answers at the address.
    """

    name = "Ray"

    def __init__(self, setting: Setting, address: str) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError('RayLauncher needs Ray: pip install "domino_lightning[ray]".')
        self.setting, self.address = setting, address
        self.driver: subprocess.Popen[bytes] | None = None
        self.buffer = b""
        try:
            self.states()
        except NoAnswer as error:
            raise UserError(
                f"RayLauncher: no answer from Ray at '{address}' ({error}). Start it with `ray start --head`, or name "
                "it: launcher.init_args.address=HOST:6379."
            ) from None

    def submit(self, name: str, pool: Pool, mailbox: Path, avoid: Sequence[str] = ()) -> None:
        """Detached actors; with several nodes, in a placement group that spreads them."""
        command = self.setting.command(mailbox)
        if self.setting.setup:
            command = ["bash", "-c", "\n".join([*self.setting.setup, f'exec {shlex.join(command)} "$@"']), "agent"]
        answer = self._call(
            do="submit",
            name=name,
            nodes=pool.nodes,
            cpus=pool.cpus,
            gpus=pool.gpus,
            memory=_bytes(pool.mem) if pool.mem else 0,
            command=command,
            environment={key: os.environ[key] for key in (*PASSED, *self.setting.env) if key in os.environ},
            folder=os.getcwd(),
            log=str(mailbox / "agent.log"),
        )
        if "error" in answer:
            raise Refused(answer["error"])
        if answer["few"]:
            log.warning("%s waits: %s.", name, answer["few"])

    def states(self) -> dict[str, State]:
        """The actors that live or are being started."""
        answer = self._call(do="states")
        if "error" in answer:
            raise NoAnswer(answer["error"])
        return {
            name: State("running" if there == nodes else "over", f"{there} of {nodes} actors are there")
            for name, (there, nodes) in answer["pilots"].items()
        }

    def cancel(self, names: Sequence[str]) -> None:
        """Kill the actors; their agents die with them."""
        answer = self._call(do="cancel", names=list(names))
        if "error" in answer:
            raise NoAnswer(answer["error"])

    def close(self) -> None:
        """End the process that talks to Ray."""
        if self.driver is not None:
            self.driver.kill()
            self.driver.wait()
            for pipe in (self.driver.stdin, self.driver.stdout, self.driver.stderr):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
            self.driver, self.buffer = None, b""

    def _call(self, **request: Any) -> dict[str, Any]:
        if self.driver is None:
            self._knock()
            self.driver = subprocess.Popen(
                [sys.executable, "-m", "domino_lightning.sweep.launchers.cluster.ray_driver", self.address],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            self._answer()
        try:
            if self.driver.stdin:
                self.driver.stdin.write((json.dumps(request) + "\n").encode())
                self.driver.stdin.flush()
        except OSError:
            self.close()
            raise NoAnswer("the connection was lost") from None
        return self._answer()

    def _knock(self) -> None:
        """Find out at once that nothing listens at HOST:PORT, for which Ray takes a minute."""
        host, _, port = self.address.rpartition(":")
        if host and "/" not in host and port.isdecimal():
            try:
                socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()
            except OSError as error:
                raise NoAnswer(error.strerror or str(error)) from None

    def _answer(self) -> dict[str, Any]:
        """The next line of the driver, which is given up when none comes."""
        give_up = time.monotonic() + CALL_S
        output = self.driver.stdout if self.driver else None
        while output is not None and b"\n" not in self.buffer:
            with selectors.DefaultSelector() as selector:
                selector.register(output, selectors.EVENT_READ)
                ready = selector.select(max(0.0, give_up - time.monotonic()))
            chunk = os.read(output.fileno(), 1 << 16) if ready else b""
            if not chunk:
                self.close()
                raise NoAnswer("the connection was lost" if ready else f"no answer within {CALL_S:.0f} s")
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _bytes(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text) * UNITS["M"]


class RayLauncher(ClusterLauncher):
    """Runs stages in detached actors of a Ray cluster; see `ClusterLauncher` for the other arguments.

    Args:
        address: of the cluster's head, `HOST:6379`; `auto`: of the one that this machine belongs to.

    Raises:
        UserError: a pool with what only Slurm has.
    """

    def __init__(
        self,
        pools: dict[str, Pool],
        stages: dict[str, str | dict[str, Any]] | None = None,
        address: str = "auto",
        idle: float = 120.0,
        container: list[str] | None = None,
        setup: list[str] | None = None,
        env: list[str] | None = None,
        python: str | None = None,
        max_losses: int = 3,
        patience: Patience | None = None,
    ) -> None:
        super().__init__(pools, stages, idle, container, setup, env, python, max_losses, patience)
        self.address = address
        for name, pool in pools.items():
            for key in OF_SLURM:
                if getattr(pool, key):
                    raise UserError(f"launcher.init_args.pools.{name}.{key}: is Slurm's, and Ray has none. Remove it.")

    def engine(self) -> Ray:
        """Ray, by a process of its own."""
        return Ray(self.setting, self.address)
