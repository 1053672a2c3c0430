"""A real Slurm of several nodes on this host, for tests: needs root, Debian's slurm-wlm and munge; starts in a second.

Nothing in /etc is touched: all hangs on SLURM_CONF, a munge key of its own and free ports.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.conftest import wait_until
from tests.sweep.launchers.guard import marked

CONF = """\
ClusterName=domino
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={dir}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool.%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=5
InactiveLimit=0
KillWait=20
MinJobAge=300
JobRequeue=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


def missing() -> list[str]:
    """What a cluster here would need and is not there."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    return lacking + (["root"] if os.geteuid() else [])


def conf_below(folder: Path) -> Path:
    """The configuration of a cluster, which all that belongs to it names in SLURM_CONF."""
    return folder / "slurm.conf"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


class SlurmCluster:
    def __init__(self, folder: Path, nodes: int = 2, cpus: int = 4, gpus: int = 2) -> None:
        self.dir = folder
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "state").mkdir(parents=True)
        folder.chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        for gpu in range(gpus):  # a GRES file must be a device: these are /dev/null's
            os.mknod(folder / f"gpu{gpu}", 0o20666, os.makedev(1, 3))
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-{gpus - 1}]\n")
        host, ports = socket.gethostname().split(".")[0], _ports(nodes + 1)
        lines = [
            f"NodeName=n{number + 1} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[number]} CPUs={cpus} "
            f"RealMemory=8000 Gres=gpu:{gpus}"
            for number in range(nodes)
        ]
        self.conf = conf_below(folder)
        self.conf.write_text(CONF.format(dir=folder, host=host, port=ports[-1], nodes="\n".join(lines)))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}
        self.env = kept | {"SLURM_CONF": str(self.conf)}
        names = {"key-file": key, "socket": "munge.sock", "pid-file": "munge.pid", "log-file": "munge.log"}
        options = [f"--{name}={folder / value}" for name, value in {**names, "seed-file": "munge.seed"}.items()]
        self._start("munged", "munged", "--force", "-F", *options)
        wait_until((folder / "munge.sock").exists, 20)
        self._start("slurmctld", "slurmctld", "-D", "-i", "-f", str(self.conf))
        for number in range(nodes):
            self.start_node(f"n{number + 1}")
        wait_until(lambda: self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%t").split() == ["idle"] * nodes, 30)

    def _start(self, name: str, *command: str) -> None:
        with open(self.dir / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=_die_with_parent
            )

    def start_node(self, node: str) -> None:
        self._start(node, "slurmd", "-D", "-f", str(self.conf), "-N", node)

    def start_controller(self) -> None:
        self._start("slurmctld", "slurmctld", "-D", "-f", str(self.conf))

    def kill(self, daemon: str) -> None:
        self.daemons[daemon].kill()
        self.daemons[daemon].wait()

    def run(self, *command: str, timeout: float = 20) -> str:
        """What a command of Slurm prints; empty when the controller is away."""
        try:
            done = subprocess.run(command, env=self.env, text=True, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """State by id of all jobs, those that are over among them."""
        lines = self.run("squeue", "-h", "-t", "all", "-o", "%i|%T").split()
        return dict(line.split("|") for line in lines)

    def processes(self, node: str) -> set[int]:
        """Processes of tasks on a node, and the stepds that started them."""
        pids = set(marked([f"SLURMD_NODENAME={node}"]))
        for pid in list(pids):
            with contextlib.suppress(OSError, ValueError):
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                if b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes():
                    pids.add(parent)
        return pids

    def kill_node(self, node: str, children: Callable[[], set[int]] = set) -> None:
        """A machine dies: its daemon, its steps, its tasks, and what they started without naming the node."""
        pids = self.processes(node) | children()
        self.kill(node)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.down(node)

    def down(self, node: str) -> None:
        """Say at once what the controller notices by itself after 15 to 30 seconds."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def stop(self) -> None:
        """End the daemons; jobs are ended by a `Guard` on SLURM_CONF."""
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait()


def _ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
