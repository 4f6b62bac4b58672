"""A cluster of Ray on this machine: a head with the front, and nodes with an engine each."""

import os
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.exceptions import DeploymentUnavailableError

from helpers import SCALE, free_port, kill, until
from verbatim_ray import Options, app


class Nodes:
    """The cluster: nodes that can be added and removed, and the processes of replicas."""

    def __init__(self) -> None:
        os.environ.setdefault("RAY_SERVE_LOG_TO_STDERR", "0")
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        head = {"num_cpus": 0, "resources": {"head": 8.0}, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.engines: list[Any] = []
        self._given: dict[str, Any] | None = None
        for _ in range(2):
            self.add()
        ray.init(self.cluster.address, log_to_driver=bool(os.environ.get("VERBATIM_TEST_LOG")))
        http = {"host": "127.0.0.1", "port": self.port}
        serve.start(proxy_location="HeadOnly", http_options=http)

    def add(self) -> None:
        self.engines.append(self.cluster.add_node(num_cpus=2, resources={"engine": 2.0}))

    def remove(self, node_id: str, pids: list[int] | None = None) -> None:
        """A node is gone, with the processes that ran on it."""
        if pids is None:
            pids = [at["pid"] for at in self.who() if at["node"] == node_id]
        node = next(at for at in self.engines if at.node_id == node_id)
        self.engines.remove(node)
        for pid in pids:
            kill(pid)
        self.cluster.remove_node(node, allow_graceful=False)

    def run(self, **options: Any) -> None:
        """Deploys the application with one replica a node, and waits for it."""
        given: dict[str, Any] = {
            "front_resources": {"head": 1.0},
            "front_cpus": 0,
            "threads": 2,
            **options,
        }
        if given != self._given:  # else it is there, but for what a test has ended
            serve.run(app(Options(**given)), name="verbatim", route_prefix="/")
        self._given = given
        self.ready(given.get("replicas", 2))

    def who(self) -> list[dict[str, Any]]:
        """Processes and node of each replica that answers."""
        handle = serve.get_deployment_handle("Replica", "verbatim")
        try:
            told = handle.broadcast("who").results(timeout_s=10 * SCALE, return_exceptions=True)
        except DeploymentUnavailableError:
            return []  # none of them lives just now
        return [at for at in told if isinstance(at, dict)]

    def ready(self, replicas: int) -> list[dict[str, Any]]:
        """Waits until so many replicas run, each with a child that lives."""

        def all_run() -> list[dict[str, Any]] | None:
            found = [at for at in self.who() if Path(f"/proc/{at['pid']}").exists()]
            return found if len(found) == replicas else None

        found: list[dict[str, Any]] = until(f"{replicas} replicas", all_run, 60)
        return found

    def stop_app(self) -> None:
        """Ends the application, so that the next one begins with empty caches."""
        self._given = None
        if "verbatim" in serve.status().applications:
            serve.delete("verbatim")

    def stop(self) -> None:

        serve.shutdown()
        ray.shutdown()
        self.cluster.shutdown()
