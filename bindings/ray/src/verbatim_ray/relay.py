"""One stream, from whichever engines bring it to its end."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator

from verbatim_ray import router
from verbatim_ray.engines import Call, Engines, Head, is_stream
from verbatim_ray.errors import Broken, NoReplica, Reply, gave_up
from verbatim_ray.hedge import Budget, Race
from verbatim_ray.metrics import FrontMetrics
from verbatim_ray.options import FrontOptions
from verbatim_ray.takeover import Told

BACKOFF_S = (0.0, 0.05, 0.2, 0.5)
"""Pauses before the next engine is asked, by how many have failed since the last token."""

Source = AsyncGenerator[Head | bytes, None]


def backoff(fails: int) -> float:
    """Seconds to wait after so many failures, of which there was at least one."""
    return BACKOFF_S[min(fails, len(BACKOFF_S)) - 1]


class Relay:
    """Who is asked for a stream, and when."""

    def __init__(
        self, engines: Engines, call: Call, told: Told, options: FrontOptions, budget: Budget
    ) -> None:
        """`call` says how to ask, `told` what for."""
        self._engines, self._call, self._told = engines, call, told
        self._options, self._budget = options, budget
        self._race: Race[Head | bytes] = Race()
        # What is held back of each source, by its id.
        self._held: dict[int, dict[int, list[bytes]]] = {}
        self._fails = self._hedges = 0
        self._last = time.monotonic()
        self._cut_at: float | None = None

    @property
    def _metrics(self) -> FrontMetrics:
        return self._engines.metrics

    async def run(self) -> Source:
        """The head of a reply, then what the client gets: an error, where no stream begins.

        Whoever stops to listen must close it, and then no engine computes any more for it.
        """
        has_head = False
        try:
            self._ask()
            while self._told.over is None:
                turn = await self._race.next(self._silence())
                if turn is None:
                    self._hedge()
                    continue
                source, item = turn
                try:
                    said = await self._hear(source, item.result())
                except (Broken, StopAsyncIteration) as error:
                    await source.aclose()
                    if end := await self._broke(error):
                        if not has_head:
                            yield Head(end[0], end[1])
                        yield b"data: " + end[2] + b"\n\n" if has_head else end[2]
                        return
                    continue
                if said and not (has_head and isinstance(said, Head)):
                    has_head = True  # the first that is said
                    yield said
                await self._go_on(source)
        finally:
            await self._alone()

    async def _hear(self, source: Source, said: Head | bytes) -> Head | bytes:
        """What the client gets of what an engine said."""
        if isinstance(said, bytes):
            return await self._take(source, said)
        if not is_stream(said):
            raise Broken("refused", await _refusal(said, source))
        return said

    async def _go_on(self, source: Source) -> None:
        """Hears more of an engine; of its reply's end, so that the connection can be used again."""
        if self._told.over is None:
            self._race.add(source)
            return
        with contextlib.suppress(Broken):
            async for _ in source:
                pass

    def _ask(self) -> None:
        """Asks one more engine for what the client was not told yet."""
        ask = self._call.ask
        ask.fingerprint = self._told.fingerprint or ask.fingerprint
        source = self._engines.reply(self._call, json.dumps(self._told.ask()).encode())
        self._held[id(source)] = {}
        self._race.add(source)

    def _silence(self) -> float | None:
        """Seconds until a second engine should be asked."""
        options = self._options
        if options.hedge_s is None or len(self._race) > 1:
            return None
        patience = options.hedge_s if self._told.progress else options.first_hedge_s
        return max(0.0, self._last + patience - time.monotonic())

    def _hedge(self) -> None:
        self._last = time.monotonic()
        if self._budget.take():
            self._hedges += 1
            self._metrics.count("hedges")
            for name in self._call.ask.asked[-1:]:
                router.suspect(name)
            self._ask()

    async def _alone(self) -> None:
        """Whoever else is asked may stop."""
        await self._race.clear()
        self._budget.give(self._hedges)
        self._hedges = 0

    async def _take(self, source: Source, event: bytes) -> bytes:
        """Notes an event: what the client gets for it."""
        before = self._told.progress
        out = self._told.take(event, self._held[id(source)])
        if self._told.progress > before:
            self._last, self._fails = time.monotonic(), 0
            if self._cut_at is not None:
                self._metrics.takeover(self._last - self._cut_at)
                self._cut_at = None
            if self._hedges:
                await self._alone()
        return out

    async def _broke(self, error: Exception) -> Reply | None:
        """An engine failed: another is asked, or this is the answer that says that none can."""
        broken = error if isinstance(error, Broken) else Broken("the stream ended early")
        is_refused = broken.reply is not None and str(broken) == "refused"
        if not is_refused:
            self._metrics.failed(broken)
            if len(self._race):
                return None
            self._fails += 1
        is_over = is_refused or isinstance(broken, NoReplica)
        if is_over or self._fails >= self._options.attempts:
            return gave_up(broken, in_stream=self._told.progress > 0 and not is_refused)
        if self._told.progress:
            self._metrics.count("takeovers")
            self._cut_at = self._cut_at or self._last
        await asyncio.sleep(backoff(self._fails))
        self._ask()
        return None


async def _refusal(head: Head, source: Source) -> Reply:
    """What an engine says of a request that it will not answer."""
    return head.status, head.headers, b"".join([at async for at in source if isinstance(at, bytes)])
