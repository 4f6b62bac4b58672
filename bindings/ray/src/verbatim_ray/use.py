"""What a request takes while it runs: of its key's quotas, and of the room for bodies."""

from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from verbatim_ray.errors import Refused
from verbatim_ray.keys import Key


class Room:
    """Bytes of the bodies that a front has at a time."""

    def __init__(self, most: int) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Takes some. Raises Refused (503) where so many are not left."""
        if size > self._left:
            message = "the bodies of other requests take all of max_bodies_bytes"
            raise Refused(503, "overloaded", message, retry_after=1)
        self._left -= size

    def give(self, size: int) -> None:
        """They are free again."""
        self._left += size


class Use:
    """What one request takes, until `end` or its own end: a stream may never be listened to."""

    def __init__(self, key: Key | None, room: Room) -> None:
        """Raises Refused (429) where a quota of the key is spent."""
        self._key: Key | None = None
        self._room, self._bytes, self._tokens = room, 0, 0
        self.name = key.name if key else ""
        if key is not None:
            key.begin()
            self._key = key

    def hold(self, size: int) -> None:
        """Bytes of the body. Raises Refused (503) where there is no room for them."""
        self._room.take(size)
        self._bytes += size

    def count(self, tokens: int) -> None:
        """Tokens of prompt and output."""
        self._tokens += tokens

    def end(self) -> None:
        """The request has ended."""
        self._room.give(self._bytes)
        self._bytes = 0
        if self._key is not None:
            self._key.end(self._tokens)
            self._key = None

    __del__ = end

    async def over(self, parts: AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
        """Ends it when the last part was sent, or the client is gone."""
        try:
            async for part in parts:
                yield part
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()
            self.end()
