"""The front's way to the engines: Ray chooses one, and HTTP asks it."""

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from verbatim_ray import bodies, router
from verbatim_ray.errors import Broken, NoReplica
from verbatim_ray.metrics import FrontMetrics
from verbatim_ray.router import Ask
from verbatim_ray.takeover import whole_events

SSE = "text/event-stream"

# Of a request, and of a reply, what is passed on. Ray tells `x-request-id` itself.
_ASKS = ("content-type", "accept", "x-request-id", "anthropic-version")
_TELLS = ("content-type", "x-verbatim-seed", "retry-after", "x-should-retry")


@dataclass
class Head:
    """How an engine begins to reply."""

    status: int
    headers: dict[str, str]


@dataclass
class Call:
    """A request as a client sent it, and who was asked for it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    ask: Ask


class Engines:
    """The replicas of one deployment."""

    def __init__(self, replicas: DeploymentHandle[Any], wait_s: float) -> None:
        """`wait_s`: how long a request waits for a replica that may be asked."""
        self._replicas, self._wait_s = replicas, wait_s
        self.metrics = FrontMetrics()
        self._leaving: set[asyncio.Task[Any]] = set()
        self._session: aiohttp.ClientSession | None = None
        self.fingerprint: str | None = None
        """That of the engine that was chosen last."""

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self._session

    async def close(self) -> None:
        """Ends all connections."""
        if self._session is not None:
            await self._session.close()

    @contextlib.asynccontextmanager
    async def chosen(self, ask: Ask) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The name of a replica and what it told of itself. It counts as busy meanwhile.

        Raises NoReplica where none may be asked within the time to wait.
        """

        async def enter() -> tuple[Any, Any]:
            choice = self._replicas.choose_replica(ask=ask)
            return choice, await choice.__aenter__()

        # In a context of its own: Ray's router finds a waiting call by the request that it belongs
        # to, and of two calls of one request at once it would lose one for ever.
        loop = asyncio.get_running_loop()
        task = loop.create_task(enter(), context=contextvars.Context())
        try:
            choice, selection = await asyncio.wait_for(task, self._wait_s)
        except TimeoutError:
            wanted = f" with fingerprint {ask.fingerprint}" if ask.fingerprint else ""
            raise NoReplica(f"no replica{wanted} could be asked in {self._wait_s:g} s") from None
        except (RayError, RayServeException) as error:
            raise Broken(type(error).__name__) from error
        name = selection.replica_id
        if ask.asked[-1:] != [name]:
            ask.asked.append(name)
        router.LOAD[name] += 1
        try:
            yield name, selection.replica_metadata
        finally:
            router.LOAD[name] -= 1
            if not router.LOAD[name]:
                del router.LOAD[name]  # it may never come again
            # A replica that is dead cannot be told, and nobody should wait for it.
            leave = loop.create_task(choice.__aexit__(None, None, None))
            self._leaving.add(leave)
            leave.add_done_callback(self._leaving.discard)

    async def reply(
        self, call: Call, body: bytes | dict[str, Any]
    ) -> AsyncGenerator[Head | bytes, None]:
        """Asks one replica: the head of its reply, then the body: of server-sent events whole ones.

        `body` is sent, which may be made of the call's. Raises Broken for all that another replica
        may do better.
        """
        if isinstance(body, dict):
            size = len(call.body)
            body = await bodies.aside(size, bodies.dumps, body, size)
        async with self.chosen(call.ask) as (name, replica):
            self.fingerprint = replica["fingerprint"]
            headers = {at: value for at in _ASKS if (value := call.headers.get(at))}
            headers["authorization"] = f"Bearer {replica['key']}"
            asked = self._client().request(
                call.method, replica["url"] + call.path, data=body or None, headers=headers
            )
            try:
                async with asked as reply:
                    await _check(reply)
                    told = {at: value for at in _TELLS if (value := reply.headers.get(at))}
                    told["x-verbatim-replica"] = name
                    yield Head(reply.status, told)
                    parts = reply.content.iter_any()
                    is_events = told.get("content-type", "").startswith(SSE)
                    async for part in whole_events(parts) if is_events else parts:
                        yield part
            except (aiohttp.ClientError, OSError) as error:
                router.suspect(name)
                raise Broken(type(error).__name__) from error


def is_stream(head: Head) -> bool:
    """Whether events follow, rather than one answer."""
    kind = head.headers.get("content-type", "")
    return head.status == 200 and kind.startswith((SSE, "application/x-ndjson"))


async def _check(reply: aiohttp.ClientResponse) -> None:
    """Raises Broken for a reply after which another replica should be asked."""
    if reply.status < 500 and reply.status not in (409, 429):
        return
    head = {at: value for at in _TELLS if (value := reply.headers.get(at))}
    raise Broken(f"status {reply.status}", (reply.status, head, await reply.read()))


def _socket(address: Any) -> socket.socket:
    """A socket that finds out within seconds that the machine at its other end is gone."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 3),
        ("TCP_KEEPINTVL", 1),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 6000),
    ):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return made
