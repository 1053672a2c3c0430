"""A real Ray of several nodes on this host, as a process of its own: requests on its standard input.

`python ray_cluster.py NODES` prints the head's address; `kill K` takes a node away without grace, `head` the head.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

QUICK = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_worker_prestart": "0",
}


class RayCluster:
    """A head that runs nothing, and nodes of some cores each."""

    def __init__(self, nodes: int = 2, environment: Mapping[str, str] = os.environ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(nodes)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**environment, **QUICK},
        )  # fmt: skip
        self.address = self.answer()
        self.raylets = [int(pid) for pid in self.answer().split()]

    def answer(self) -> str:
        """The next line of the process."""
        if self.process.stdout is None:
            raise RuntimeError("no output")
        return self.process.stdout.readline().strip()

    def ask(self, line: str) -> None:
        """Have something done, and wait until it is."""
        if self.process.stdin is None:
            raise RuntimeError("no input")
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.answer()

    def stop(self) -> None:
        """End all nodes."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


def main(nodes: int) -> None:
    """Keep a cluster until the input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    workers = [cluster.add_node(num_cpus=2, num_gpus=0) for _ in range(nodes)]

    def reply(text: str) -> None:
        replies.write(text + "\n")
        replies.flush()

    reply(cluster.address)
    reply(" ".join(str(worker.all_processes["raylet"][0].process.pid) for worker in workers))
    for line in sys.stdin:
        what, _, number = line.strip().partition(" ")
        node = cluster.head_node if what == "head" else workers[int(number)]
        cluster.remove_node(node, allow_graceful=False)
        reply("done")
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
