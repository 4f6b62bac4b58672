"""One stream, from whichever engines bring it to its end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator

from verbatim_ray import router
from verbatim_ray.engines import Call, Engines, Head, is_stream
from verbatim_ray.errors import Broken, Final, NoReplica, Reply, gave_up
from verbatim_ray.hedge import Budget, Race
from verbatim_ray.options import Options
from verbatim_ray.takeover import Told

BACKOFF_S = (0.0, 0.05, 0.2, 0.5)
"""Pauses before the next engine is asked, by how many have failed since the last token."""

END_S = 1.0
"""How long the end of a reply may take behind its last event."""

PING_S = 10.0
"""Seconds without a byte after which a client is told that its stream goes on.

An engine tells that, too, but not where it sends events with nothing but the ids of tokens.
"""

Source = AsyncGenerator[Head | bytes, None]


def backoff(fails: int) -> float:
    """Seconds to wait after so many failures, of which there was at least one."""
    return BACKOFF_S[min(fails, len(BACKOFF_S)) - 1]


class Relay:
    """Who is asked for a stream, and when."""

    def __init__(
        self, engines: Engines, call: Call, told: Told, options: Options, budget: Budget
    ) -> None:
        """`call` says how to ask, `told` what for."""
        self._engines, self._call, self._told = engines, call, told
        self._options, self._budget = options, budget
        self._race: Race[Head | bytes] = Race()
        # Which replicas have begun to reply.
        self._names: dict[Source, str | None] = {}
        self._fails = self._hedges = 0
        self._last = time.monotonic()
        self._cut_at: float | None = None

    async def run(self) -> Source:
        """The head of a reply, then what the client gets: an error, where no stream begins.

        Whoever stops to listen must close it, and then no engine computes any more for it.
        """
        has_head, spoke = False, time.monotonic()
        try:
            self._ask()
            while True:
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
                if self._told.over is None:
                    self._race.add(source)
                if not said and time.monotonic() - spoke >= PING_S:
                    said = b": ping\n\n"
                if said and not (has_head and isinstance(said, Head)):
                    has_head, spoke = True, time.monotonic()  # the first that is said is a head
                    yield said
                if self._told.over is not None:
                    await _end(source)
                    return
        finally:
            await self._alone()

    async def _hear(self, source: Source, said: Head | bytes) -> Head | bytes:
        """What the client gets of what an engine said."""
        if isinstance(said, bytes):
            return await self._take(said)
        if not is_stream(said):
            rest = [at async for at in source if isinstance(at, bytes)]
            raise Final("refused", (said.status, said.headers, b"".join(rest)))
        self._names[source] = said.headers.get("x-verbatim-replica")
        return said

    def _ask(self) -> None:
        """Asks one more engine for what the client was not told yet."""
        ask = self._call.ask
        ask.fingerprint = self._told.fingerprint or ask.fingerprint
        self._race.add(self._engines.reply(self._call, self._told.ask()))

    def _silence(self) -> float | None:
        """Seconds until a second engine should be asked."""
        options = self._options
        if not options.hedge_s or len(self._race) > 1:
            return None
        patience = options.hedge_s if self._told.progress else options.first_hedge_s
        return max(0.0, self._last + patience - time.monotonic())

    def _hedge(self) -> None:
        """Asks another engine beside the one that is silent."""
        self._last = time.monotonic()
        if not self._budget.take():
            return
        self._hedges += 1
        self._engines.metrics.count("hedges")
        # It may not have been asked last; one that never replied has been.
        ask, names = self._call.ask, [self._names.get(source) for source in self._race]
        ask.silent = names[0] or next(iter(ask.asked[-1:]), None)
        if ask.silent is not None:
            router.suspect(ask.silent)
        self._ask()

    async def _alone(self) -> None:
        """Whoever else is asked may stop."""
        await self._race.clear()
        self._give_back()

    def _give_back(self) -> None:
        """There is no second engine any more."""
        self._call.ask.silent = None
        self._budget.give(self._hedges)
        self._hedges = 0

    async def _take(self, event: bytes) -> bytes:
        """Notes an event: what the client gets for it."""
        before = self._told.progress
        out = self._told.take(event)
        if self._told.progress > before:
            self._last, self._fails = time.monotonic(), 0
            if self._cut_at is not None:
                self._engines.metrics.takeover(self._last - self._cut_at)
                self._cut_at = None
            if self._hedges:
                await self._alone()
        return out

    async def _broke(self, error: Exception) -> Reply | None:
        """An engine failed: another is asked, or this is the answer that says that none can."""
        broken = error if isinstance(error, Broken) else Broken("the stream ended early")
        is_final = isinstance(broken, Final)
        is_second = len(self._race) > 0
        if not is_final and not (is_second and isinstance(broken, NoReplica)):
            self._engines.metrics.failed(broken)
        if is_second:
            self._give_back()
            return None
        if self._told.progress and self._cut_at is None and not is_final:
            self._engines.metrics.count("takeovers")
            self._cut_at = self._last
        pause = self._pause(broken)
        if is_final or isinstance(broken, NoReplica) or self._fails >= self._options.attempts:
            return gave_up(broken, in_stream=self._told.progress > 0 and not is_final)
        await asyncio.sleep(pause)
        self._ask()
        return None

    def _pause(self, broken: Broken) -> float:
        """Counts a failure: seconds to wait after it.

        It is none where an engine has no room for a stream that has begun: that may wait as long as
        a new one may wait for an engine.
        """
        is_full = broken.reply is not None and broken.reply[0] == 429
        if is_full and self._cut_at and time.monotonic() - self._cut_at < self._options.wait_s:
            return BACKOFF_S[-1]
        self._fails += 1
        return backoff(self._fails)


async def _end(source: Source) -> None:
    """Hears the end of a reply, so that its connection can be used again."""
    with contextlib.suppress(Broken, TimeoutError):
        async with asyncio.timeout(END_S):
            async for _ in source:
                pass
