"""Whether Ray has the processors that a batch asks for: it would wait for them in silence."""

import time
from collections.abc import Callable

import ray

from verbatim_ray.batch import Servers


class CapacityError(RuntimeError):
    """Ray has too few processors. The message has the numbers, and says what to do."""


def _places(nodes: list[float], threads: int) -> int:
    """How many servers of so many threads nodes with so many processors have room for."""
    return sum(int(cpus // threads) for cpus in nodes)


def check(servers: Servers, spare: int = 0, sleep: Callable[[float], None] = time.sleep) -> None:
    """Raises a CapacityError unless the servers find room before their `wait_s` is over.

    `spare` more processors are for Ray's own work. What ended a moment ago is given back late. Ray
    is begun where nobody has done that yet, as by most of its own functions.
    """
    if not ray.is_initialized():
        ray.init()
    replicas, threads = servers.replicas, servers.threads
    needed, until = replicas * threads + spare, time.monotonic() + servers.wait_s
    while True:
        nodes, resources = ray.nodes(), ray.available_resources()
        alive = [node["Resources"].get("CPU", 0.0) for node in nodes if node["Alive"]]
        free = resources.get("CPU", 0.0)
        if free >= needed and _places(alive, threads) >= replicas:
            return
        if time.monotonic() >= until:
            break
        sleep(0.2)
    reading = f" and {spare} to read the data" if spare else ""
    raise CapacityError(
        f"{replicas} servers of {threads} threads need {replicas * threads} processors of Ray"
        f"{reading}; of its {sum(alive):g} on {len(alive)} nodes {free:g} are free, and the nodes "
        f"have room for {_places(alive, threads)} such servers: ask for fewer replicas or "
        "threads, end what holds the others, or add nodes (wait_s says how long they may take)"
    )
