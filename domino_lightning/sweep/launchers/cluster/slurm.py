"""Pilots as jobs of Slurm, by `sbatch`, `squeue` and `scancel` alone."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from domino_lightning.errors import UserError
from domino_lightning.runner.job import without_ranks
from domino_lightning.sweep.launchers.cluster.engine import Engine, NoAnswer, Refused, Setting, State
from domino_lightning.sweep.launchers.cluster.launcher import ClusterLauncher
from domino_lightning.sweep.launchers.cluster.pools import Pool

CALL_S = 30.0  # slurmctld may be away, and then its commands hang
# What a batch job cannot do without; everything else is named by the user.
PASSED = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "PATH", "SLURM_CONF")
# How Slurm says that slurmctld did not answer, which is no refusal.
NO_ANSWER = ("unable to contact", "socket timed out", "connection refused", "communication", "connection timed out",
             "zero bytes", "resource temporarily unavailable", "protocol authentication", "try again")  # fmt: skip
OVER = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
        "TIMEOUT", "REVOKED"}  # fmt: skip
STUCK = ("launch_failed", "launch failed", "requeued_held", "requeued held")  # it began, and would have to be released


class Slurm(Engine):
    """A Slurm cluster, from a host where its commands work.

    Raises:
        UserError: they are not there.
    """

    name = "Slurm"

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        # Inside a job, its variables would be taken for options.
        self.env = without_ranks(os.environ) | {n: v for n, v in os.environ.items() if n == "SLURM_CONF"}
        self.passed = [name for name in dict.fromkeys([*PASSED, *setting.env]) if name in os.environ]

    def submit(self, name: str, pool: Pool, mailbox: Path, avoid: Sequence[str] = ()) -> None:
        """`sbatch`, with the script on its standard input."""
        self._call(["sbatch", "--parsable"], self.script(name, pool, mailbox, avoid))

    def script(self, name: str, pool: Pool, mailbox: Path, avoid: Sequence[str] = ()) -> str:
        """The batch script of a pilot; it holds names of variables, never values."""
        lines = {
            "job-name": name,
            "output": str(mailbox / "agent.log").replace("%", "%%"),
            "open-mode": "append",
            "chdir": os.getcwd(),
            "export": ",".join(self.passed),
            "nodes": str(pool.nodes),
            "ntasks-per-node": "1",
            "cpus-per-task": str(pool.cpus),
            "gres": f"gpu:{pool.gpus}" if pool.gpus else "",
            "mem": pool.mem,
            "time": pool.time,
            "partition": pool.partition,
            "account": pool.account,
            "qos": pool.qos,
            "exclude": ",".join(avoid),
            "signal": f"USR2@{pool.grace}",  # no B: it goes to the agents, not to this shell
        }
        options = [f"#SBATCH --{key}={value}" for key, value in lines.items() if value]
        # A job that is queued again would begin a second time under the same name: the launcher asks for another.
        options += ["#SBATCH --no-requeue", *(f"#SBATCH {option}" for option in pool.options)]
        agents = ["srun", "--export=ALL", "--kill-on-bad-exit=0", f"--nodes={pool.nodes}", "--ntasks-per-node=1",
                  f"--cpus-per-task={pool.cpus}"]  # fmt: skip
        command = shlex.join([*agents, *self.setting.command(mailbox)])
        return "\n".join(["#!/bin/bash", *options, "", *self.setting.setup, f"exec {command}", ""])

    def states(self) -> dict[str, State]:
        """One `squeue` for all jobs of the user."""
        text = self._call(["squeue", "--me", "-h", "-t", "all", "-o", "%i|%T|%r|%j"])
        found: dict[str, State] = {}
        for line in text.splitlines():
            job, state, reason, name = line.split("|", 3)
            if name not in found or found[name].phase == "over":  # of two jobs, the one that is not over
                found[name] = _state(job, state, reason)
        return found

    def cancel(self, names: Sequence[str]) -> None:
        """By names, so that a job whose id was never heard of is ended too."""
        for name in names:
            self._call(["scancel", "--quiet", f"--name={name}", "--me"])

    def _call(self, command: Sequence[str], text: str = "") -> str:
        try:
            done = subprocess.run(
                command, input=text, env=self.env, capture_output=True, text=True, timeout=CALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"{command[0]} gave no answer within {CALL_S:.0f} s") from None
        except FileNotFoundError:
            raise UserError(
                f"SlurmLauncher: there is no `{command[0]}` here. Start the sweep on a login node of the cluster."
            ) from None
        if done.returncode == 0:
            return done.stdout
        words = (done.stderr or done.stdout).strip().splitlines()
        said = words[-1].removeprefix(f"{command[0]}: ").removeprefix("error: ") if words else f"exit {done.returncode}"
        if any(sign in (done.stderr + done.stdout).lower() for sign in NO_ANSWER):
            raise NoAnswer(said)
        raise Refused(said) if command[0] == "sbatch" else NoAnswer(said)


def _state(job: str, state: str, reason: str) -> State:
    if state in OVER:
        return State("over", f"{state}, job {job}")
    if state != "PENDING":
        return State("running", f"{state}, job {job}")
    if any(sign in reason.lower() for sign in STUCK):
        return State("over", f"{reason}, job {job}")
    if "held" in reason.lower():
        return State("held", f"job {job} is held ({reason}): `scontrol release {job}` lets it go on")
    return State("pending", f"{reason}, job {job}")


class SlurmLauncher(ClusterLauncher):
    """Runs stages in jobs of Slurm; see `ClusterLauncher` for the arguments.

    Start the sweep where `sbatch` works: on a login node, or inside a job. No accounting is needed.
    """

    def engine(self) -> Slurm:
        """Slurm, by its commands."""
        return Slurm(self.setting)
