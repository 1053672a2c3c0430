"""What talks to Ray, as a process of its own: a lost head hangs or ends this one, never the sweep.

`python -m domino_lightning.sweep.launchers.cluster.ray_driver ADDRESS` reads requests and writes replies, a line of
JSON each. Pilots are detached actors, one a node, so that they outlive this process and the launcher.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

NAMESPACE = "domino"


class Node:
    """The actor of one node: it starts the agent, which dies with it, and ends when the agent does.

    Its class travels by value (this module runs as `__main__`), so it imports what it needs itself.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str], folder: str, log: str, gpus: int) -> None:
        import ctypes
        import os
        import signal
        import subprocess
        import threading

        def die_with_parent() -> None:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)

        visible = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "") if gpus else ""}
        with open(log, "ab") as output:
            # From the main thread, which stays: the kernel's signal is one at the death of the thread that asked.
            agent = subprocess.Popen(
                list(command),
                env={**environment, **visible},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent,
            )

        def leave() -> None:
            agent.wait()
            os._exit(0)

        threading.Thread(target=leave, daemon=True).start()


def submit(request: dict[str, Any]) -> dict[str, Any]:
    """Ask for the actors of a pilot."""
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    name, nodes = request["name"], request["nodes"]
    needed = {"CPU": request["cpus"], "GPU": request["gpus"], "memory": request["memory"]}
    needed = {key: value for key, value in needed.items() if value}
    fitting = [
        node for node in ray.nodes()
        if node["Alive"] and all(node["Resources"].get(key, 0) >= value for key, value in needed.items())
    ]  # fmt: skip
    group = None
    if nodes > 1:
        group = placement_group([needed] * nodes, strategy="STRICT_SPREAD", name=name, lifetime="detached")
    for number in range(nodes):
        options: dict[str, Any] = {
            "name": f"{name}.{number}.{nodes}",
            "lifetime": "detached",
            "max_restarts": 0,
            "num_cpus": request["cpus"],
            "num_gpus": request["gpus"],
        }
        if request["memory"]:
            options["memory"] = request["memory"]
        if group is not None:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, number)
        ray.remote(Node).options(**options).remote(
            [*request["command"], "--node", str(number)],
            request["environment"],
            request["folder"],
            request["log"],
            request["gpus"],
        )
    few = f"{len(fitting)} of the {nodes} nodes that it needs have {needed}" if len(fitting) < nodes else ""
    return {"few": few}


def states() -> dict[str, Any]:
    """How many actors of each pilot there are, and how many there should be."""
    from ray.util import list_named_actors

    found: dict[str, list[int]] = {}
    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE:
            name, _, nodes = actor["name"].rsplit(".", 2)
            found.setdefault(name, [0, int(nodes)])[0] += 1
    return {"pilots": found}


def cancel(names: Sequence[str]) -> dict[str, Any]:
    """End the actors of pilots, and give back their places."""
    import ray
    from ray.util import list_named_actors
    from ray.util.placement_group import remove_placement_group

    for actor in list_named_actors(all_namespaces=True):
        if actor["namespace"] == NAMESPACE and actor["name"].rsplit(".", 2)[0] in names:
            try:
                ray.kill(ray.get_actor(actor["name"], namespace=NAMESPACE))
            except ValueError:  # it has just ended
                continue
    for name in names:
        try:
            remove_placement_group(ray.util.get_placement_group(name))
        except ValueError:  # it has none
            continue
    return {}


def main(address: str) -> int:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever Ray prints
    import ray

    ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)

    def reply(value: dict[str, Any]) -> None:
        replies.write(json.dumps(value) + "\n")
        replies.flush()

    reply({})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "submit":
                reply(submit(request))
            elif request["do"] == "cancel":
                reply(cancel(request["names"]))
            else:
                reply(states())
        except Exception as error:  # whatever Ray raises is told on the other side
            reply({"error": f"{type(error).__name__}: {error}"})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
