"""Streams that say the same, side by side: whoever has the next piece first is heard.

Since engines of one fingerprint give the same bits, a second one can be asked as soon as the
first is slow, and no client can tell which of them it hears.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Budget:
    """How many streams of a front are asked of two engines: at most half of them, or four.

    Where everything is slow, a second engine would only make everything slower.
    """

    def __init__(self) -> None:
        self.streams = self.hedges = 0

    def take(self) -> bool:
        """Whether one more may begin; it counts until `give`."""
        if self.hedges >= max(4, self.streams // 2):
            return False
        self.hedges += 1
        return True

    def give(self, hedges: int) -> None:
        """So many have ended."""
        self.hedges -= hedges


class Race(Generic[Item]):
    """Asynchronous generators, of which the next items are awaited at the same time."""

    def __init__(self) -> None:
        self._turns: dict[asyncio.Future[Item], AsyncGenerator[Item, None]] = {}

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[AsyncGenerator[Item, None]]:
        return iter(self._turns.values())

    def add(self, source: AsyncGenerator[Item, None]) -> None:
        """Awaits the next item of a source, from its beginning or after `next` gave one."""
        self._turns[asyncio.ensure_future(anext(source))] = source

    async def next(
        self, seconds: float | None
    ) -> tuple[AsyncGenerator[Item, None], asyncio.Future[Item]] | None:
        """Whoever is first, and its item or error; None after so many seconds of silence.

        It takes no part in the race any more until it is added again.
        """
        wait = asyncio.FIRST_COMPLETED
        done, _ = await asyncio.wait(self._turns, timeout=seconds, return_when=wait)
        for turn in done:
            return self._turns.pop(turn), turn
        return None

    async def clear(self) -> None:
        """Ends all that are running."""
        turns, self._turns = self._turns, {}
        for turn in turns:
            turn.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
        for source in turns.values():
            await source.aclose()
