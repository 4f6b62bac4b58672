"""What an actor does, of Ray Data or not: it answers rows by a server of its own, many at a time.

A server that dies, or stops, is started again, and the rows that it had are asked for again: the
answers have the same bits.
"""

import asyncio
import contextlib
import json
import threading
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import pyarrow as pa

from verbatim_ray.batch import Servers
from verbatim_ray.batch.lines import Line, LineError, answered, of_row, read, refused
from verbatim_ray.child import Child, ChildError

T = TypeVar("T")

Answer = tuple[int, str, str | None]
"""The status, the answer (a line of JSON) and the `custom_id` of a row."""

REFUSED = 0
"""The status of a row that is no request."""
UNANSWERED = -1
"""The status of a row whose server broke every time."""

TRIES = 8
"""How often a row is asked for whose server breaks, at most."""
WAITS = 600
"""How often a row is asked for that a server has no room for, at most: for about ten minutes."""
STARTS = 3
"""How often in a row a server is started that does not come up."""
LOOK_S = 5.0
"""Seconds between two looks at the server's health, and for how long it may be silent."""
PATIENCE_S = 30.0
SHORT_S = 0.05
"""The first pause before a row is asked for again, in seconds; it doubles, to a second at most."""


@dataclass(frozen=True)
class Settings:
    """What all actors of a batch have in common."""

    servers: Servers = field(default_factory=Servers)
    """The servers; `args` has all of their flags."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The body of rows that have nothing but a prompt or messages, beside these."""
    done: Mapping[str, str] = field(default_factory=dict)
    """By `custom_id`, the names of lines that were answered before."""


def started(servers: Servers) -> Child:
    """A server. One that does not come up is started again: what kills servers kills new ones, too.

    Raises the ChildError of the last.
    """
    for _ in range(STARTS - 1):
        with contextlib.suppress(ChildError):
            return Child(servers.binary, servers.args)
    return Child(servers.binary, servers.args)


class Worker:
    """A server, and rows in, answers out."""

    def __init__(self, settings: Settings) -> None:
        """Starts the server; a `ChildError` if that cannot be."""
        self.settings = settings
        self.child = started(settings.servers)
        self.session: aiohttp.ClientSession | None = None
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self._run(self._open())

    def __call__(self, table: pa.Table) -> pa.Table:
        """The rows with three columns more: `status`, `answer` (a line of JSON) and `custom_id`.

        Rows that were answered before are left out. May be called by several threads at once.
        """
        answers = self._run(self._answer(table.to_pylist()))
        kept = [index for index, answer in enumerate(answers) if answer is not None]
        table = table.take(pa.array(kept, pa.int64()))
        table = table.drop_columns([name for name in COLUMNS if name in table.column_names])
        for place, (name, kind) in enumerate(COLUMNS.items()):
            values = [answer[place] for answer in answers if answer is not None]
            table = table.append_column(name, pa.array(values, kind))
        return table

    def lines(self, lines: list[str]) -> list[Answer]:
        """The answers to lines of which none was answered before, in their order."""
        answers = self._run(self._answer([{"line": line} for line in lines]))
        return [answer for answer in answers if answer is not None]

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _open(self) -> None:
        # A whole answer may take hours, and a body of a gigabyte is the server's to refuse.
        forever = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self.session = aiohttp.ClientSession(
            timeout=forever, connector=aiohttp.TCPConnector(limit=0)
        )
        self.turn = asyncio.Lock()
        self.watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Kills a server that is silent: its process may be stopped, and its rows would wait."""
        while True:
            await asyncio.sleep(LOOK_S)
            child, silence = self.child, aiohttp.ClientTimeout(total=PATIENCE_S)
            try:
                async with self.http.get(child.url + "/health", timeout=silence):
                    pass
            except TimeoutError:
                child.process.kill()
            except (aiohttp.ClientError, OSError):
                pass  # whoever asks it for a row starts it again

    @property
    def http(self) -> aiohttp.ClientSession:
        assert self.session is not None
        return self.session

    async def _alive(self) -> Child:
        """The server, started again if it has ended."""
        async with self.turn:
            if not self.child.alive:
                self.child = await asyncio.to_thread(started, self.settings.servers)
            return self.child

    async def _answer(self, rows: list[dict[str, Any]]) -> list[Answer | None]:
        return await asyncio.gather(*map(self._row, rows))

    async def _row(self, row: dict[str, Any]) -> Answer | None:
        """The answer to a row; None if it was answered before."""
        text = ""
        try:
            text = of_row(row, self.settings.parameters)
            line = read(text)
        except LineError as error:
            return REFUSED, refused(text, error), error.custom_id
        if (before := self.settings.done.get(line.custom_id)) is not None:
            if before != line.name:
                raise ValueError(f"another request was called {line.custom_id!r:.100} and answered")
            return None
        status, body = await self._ask(line)
        answer = "" if status == UNANSWERED else answered(line, status, body)
        return status, answer, line.custom_id

    async def _ask(self, line: Line) -> tuple[int, bytes]:
        """The status and body of the answer to a line, whatever becomes of the server."""
        if line.body.get("stream") is True:
            return 400, STREAM_REFUSED
        body = json.dumps(line.body).encode()
        broken, full = 0, 0
        while broken < TRIES and full < WAITS:
            if broken or full:
                await asyncio.sleep(min(SHORT_S * 2 ** min(broken + full, 10), 1.0))
            child = await self._alive()
            about = {**child.headers, "Content-Type": "application/json", "x-request-id": line.name}
            try:
                async with self.http.post(child.url + line.url, data=body, headers=about) as reply:
                    answer = await reply.read()
            except (aiohttp.ClientError, OSError):
                broken += 1
                continue
            if reply.status == 429:
                full += 1  # with other rows, which end
                continue
            if reply.status < 500 or reply.headers.get("x-should-retry") == "false":
                return reply.status, answer
            broken += 1
        return UNANSWERED, b""


COLUMNS = {"status": pa.int32(), "answer": pa.string(), "custom_id": pa.string()}
STREAM_REFUSED = json.dumps(
    {
        "error": {
            "message": "stream must be false in a batch",
            "type": "invalid_request_error",
            "param": "stream",
            "code": None,
        }
    },
    separators=(",", ":"),
).encode()
