"""A wire between a front and an engine, which is slow or is cut behind any token.

It needs nothing but Python: `slow.py` runs with any.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any


class Wire:
    """Passes bytes between the front and one engine, until it is cut."""

    def __init__(self, child: Any) -> None:
        self.child = child
        self.url = ""
        self.cut_after: int | None = None
        """Tokens of one reply after which both connections end."""
        self.on_cut: Callable[[Any], object] = lambda _: None
        self.hangs = False
        """Whether a cut is silence instead of an end."""
        self.delay = 0.0
        """Seconds before each chunk of a reply."""
        self.asked = self.open = self.cuts = 0

    async def listen(self, host: str = "127.0.0.1") -> None:
        """Begins to take connections, at `url`."""
        server = await asyncio.start_server(self._serve, host, 0)
        self.url = f"http://{host}:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        host, _, port = self.child.url.removeprefix("http://").partition(":")
        writers = [back]
        self.open += 1
        try:
            far, forth = await asyncio.open_connection(host, int(port))
            writers.append(forth)
            there = asyncio.create_task(self._pump(near, forth))
            is_cut = await self._replies(far, back)
            if is_cut and self.hangs:
                await there  # until the other side has had enough
            elif is_cut:
                await asyncio.sleep(0.05)  # what was sent arrives
            there.cancel()
            if not is_cut:
                await back.drain()
                back.close()
                writers.remove(back)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            for writer in writers:
                writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                self.asked += data.count(b" HTTP/1.1\r\n")
                sink.write(data)
                await sink.drain()

    async def _replies(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> bool:
        """Passes replies on, chunk by chunk: an engine sends each event as one. Whether it cut."""
        tokens = length = 0
        while True:
            if self.cut_after is not None and tokens >= self.cut_after:
                self.cut_after = None
                self.cuts += 1
                self.on_cut(self.child)
                return True
            line = await source.readline()
            if not line:
                return False
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
            if line == b"\r\n" and length:
                line, length = line + await source.readexactly(length), 0
            with contextlib.suppress(ValueError):
                if size := int(line, 16):
                    line += await source.readexactly(size + 2)
                    await asyncio.sleep(self.delay)
            tokens += line.count(b'"token_ids":[') - line.count(b'"prompt_token_ids":[')
            if line.startswith(b"HTTP/"):
                tokens = 0
            sink.write(line)
            await sink.drain()
            if line == b"0\r\n":
                tokens = 0  # the end of a reply; the connection may serve another
