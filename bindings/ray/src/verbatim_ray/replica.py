"""A replica: one server of its own, whose address it tells. No token passes through it."""

import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

import aiohttp
import ray
from ray import serve

from verbatim_ray.child import Child
from verbatim_ray.metrics import EngineGauges


class Replica:
    """Starts `verbatim serve`, is as healthy as that is, and ends with it."""

    def __init__(
        self, model: str | None, binary: str | None = None, args: Sequence[str] = ()
    ) -> None:
        """`model` as for `--model`; `args` are further flags of the server."""
        flags = ["--model", model] if model else []
        # Fronts on other nodes ask it too, so it listens where Ray does.
        host = ray.util.get_node_ip_address()
        self.child = Child(binary, [*flags, *args], host=host)
        self._is_closing = False
        self._gauges = EngineGauges()
        self._session: aiohttp.ClientSession | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """A replica without a server would only take requests away from others."""
        code = self.child.wait()
        if not self._is_closing:
            print(f"verbatim ended with {code}, and so does its replica", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)

    def record_replica_metadata(self) -> dict[str, Any]:
        """What the router and fronts know of it: Ray asks once, when it is ready."""
        child = self.child
        return {"url": child.url, "key": child.key, "fingerprint": child.fingerprint}

    async def check_health(self) -> None:
        """Raises where the server does not say that it works; Ray then replaces the replica."""
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self.child.headers)
        timeout = aiohttp.ClientTimeout(total=4)
        async with self._session.get(self.child.url + "/health", timeout=timeout) as reply:
            reply.raise_for_status()
            health = await reply.json()
        self._gauges.set(health)
        if health["status"] != "ok":
            raise RuntimeError(f"verbatim says that it is {health['status']}")

    async def who(self) -> dict[str, Any]:
        """Processes and node, for tests and operators."""
        return {
            "replica": serve.get_replica_context().replica_id.unique_id,
            "url": self.child.url,
            "pid": self.child.pid,
            "actor": os.getpid(),
            "node": ray.get_runtime_context().get_node_id(),
        }

    def __del__(self) -> None:
        """Ends the server once Ray has waited for the requests that it knows of."""
        self._is_closing = True
        if hasattr(self, "child"):  # a server that did not start is no replica to end
            self.child.stop()
