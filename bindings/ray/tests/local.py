"""A front over real engines without Ray: what Ray would choose is chosen here, by the same rule.

Between front and engines stands a wire that can be cut behind any token.
"""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, TypeVar

import uvicorn
from starlette.requests import Request

from helpers import free_port, until
from verbatim_ray import router
from verbatim_ray.child import Child
from verbatim_ray.front import Front
from verbatim_ray.options import Options
from verbatim_ray.router import Ask, rank
from wire import Wire

T = TypeVar("T")


class Local:
    """A front with its engines, in a thread of its own."""

    def __init__(self, binary: str, engines: int = 2, args: list[str] | None = None) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.binary, self.args = binary, args or []
        self.wires: dict[str, Wire] = {}
        self._names = itertools.count()
        router.SUSPECTS.clear()
        router.LOAD.clear()
        for _ in range(engines):
            self.add()
        self._servers: list[uvicorn.Server] = []
        self.port = 0
        self.fronts: list[Front] = []

    def add(self, args: list[str] | None = None) -> Wire:
        """One more engine."""
        wire = Wire(Child(self.binary, ["--threads", "1", *(self.args if args is None else args)]))
        self.run(wire.listen())
        self.wires[f"engine-{next(self._names)}"] = wire
        return wire

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something in the front's loop."""
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return done.result(timeout=120)

    @contextlib.asynccontextmanager
    async def choose_replica(self, ask: Ask) -> AsyncIterator[Any]:
        """What Ray Serve's handle does."""
        while True:
            alive = {name: at for name, at in self.wires.items() if at.child.alive}
            known: dict[str, str | None] = {at: w.child.fingerprint for at, w in alive.items()}
            if names := rank(known, ask, router.LOAD):
                break
            await asyncio.sleep(0.02)
        ask.asked.append(names[0])
        child = alive[names[0]].child
        told = {"url": alive[names[0]].url, "key": child.key, "fingerprint": child.fingerprint}
        yield SimpleNamespace(replica_id=names[0], replica_metadata=told)

    def serve(self, **options: Any) -> str:
        """Starts a front; its address."""
        front = Front(self, Options(**options))  # type: ignore[arg-type]
        self.fronts.append(front)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            response = await front(Request(scope, receive))
            await response(scope, receive, send)

        self.port = free_port()
        config = uvicorn.Config(app, "127.0.0.1", self.port, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        asyncio.run_coroutine_threadsafe(server._serve(), self.loop)
        until("the front listens", lambda: server.started)
        self._servers.append(server)
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Ends fronts and engines."""
        self.run(self._stop())
        for wire in self.wires.values():
            wire.child.process.kill()
            wire.child.wait()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=10)

    async def _stop(self) -> None:
        for server in self._servers:
            server.should_exit = server.force_exit = True
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for front in self.fronts:
            await front._engines.close()
