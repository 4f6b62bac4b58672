"""Whole answers that take longer than their client waits for a byte.

OpenAI's and Anthropic's clients say in a header how long that is, and ask again after it. As a
server does, a front sends them the head of the answer after half of that time, and then a space now
and then, which means nothing before JSON. An error that comes later breaks the connection, so that
nobody takes it for an answer: the status was sent.
"""

import asyncio
import math
import weakref
from collections.abc import AsyncGenerator, Coroutine, Mapping
from typing import Any

from starlette.responses import Response, StreamingResponse

from verbatim_ray.errors import Broken

HEADER = "x-stainless-read-timeout"
"""Where clients say how many seconds they wait."""

BEAT_S = (0.1, 15.0)
"""The shortest and the longest time between two spaces."""


async def patiently(
    work: Coroutine[Any, Any, Response], headers: Mapping[str, str], told: Mapping[str, str]
) -> Response:
    """The response that `work` makes, or one that begins before it is made, with headers `told`.

    `headers` are the request's. Who stops to listen ends the work.
    """
    seconds = _seconds(headers.get(HEADER, ""))
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=seconds and seconds / 2)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if seconds is None or task.done():
        return task.result()
    parts = _parts(task, min(max(seconds / 4, BEAT_S[0]), BEAT_S[1]))
    weakref.finalize(parts, task.cancel)  # nobody may ever listen to them
    return StreamingResponse(parts, 200, {"content-type": "application/json", **told})


async def _parts(task: asyncio.Task[Response], beat_s: float) -> AsyncGenerator[bytes, None]:
    """Spaces until there is a response, and then its body."""
    try:
        while not task.done():
            yield b" "
            await asyncio.wait([task], timeout=beat_s)
        response = task.result()
        if isinstance(response, StreamingResponse):
            async for part in response.body_iterator:
                yield bytes(part) if not isinstance(part, str) else part.encode()
            return
        yield bytes(response.body)
        if response.status_code != 200:
            raise Broken(f"status {response.status_code}, after 200 was sent")
    finally:
        task.cancel()


def _seconds(said: str) -> float | None:
    """The time that a client waits for a byte, if it tells one that makes sense."""
    try:
        seconds = float(said)
    except ValueError:
        return None
    return seconds if seconds > 0 and math.isfinite(seconds) else None
