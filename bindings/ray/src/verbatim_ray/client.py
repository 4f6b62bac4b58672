"""A client whose streams outlive the front: what it was told is enough to go on anywhere.

    async for event in verbatim_ray.stream("http://a:8000", "/v1/chat/completions", body): ...

Any server or front with the same fingerprint can go on, behind whatever gateway.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import aiohttp

from verbatim_ray.errors import Broken
from verbatim_ray.takeover import Told, draw_seed, whole_events

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
"""Servers send something every ten seconds: who is silent for longer is gone."""


async def stream(
    urls: str | Sequence[str],
    path: str,
    body: Mapping[str, Any],
    headers: Mapping[str, str] | None = None,
    attempts: int = 8,
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of one stream, as an unbroken server would send them.

    `urls` are servers or fronts, the next of which is asked where one breaks; `body` is that of a
    completion or a chat. Raises Broken after so many failures without a token between, or where
    a request is refused: its `reply` is what was said.
    """
    places = [urls] if isinstance(urls, str) else list(urls)
    sent = {"x-request-id": f"{random.getrandbits(64):016x}", **(headers or {})}
    seeded = dict(body)
    draw_seed(seeded)
    told, fails = Told(path, seeded), 0
    async with aiohttp.ClientSession(headers=sent, timeout=TIMEOUT) as session:
        while True:
            before = told.progress
            try:
                async for event in _ask(session, places[fails % len(places)], told):
                    yield event
                if told.over is not None:
                    return
                error = Broken("the stream ended early")
            except Broken as broken:
                error = broken
            fails = 1 if told.progress > before else fails + 1
            if fails >= attempts or (error.reply and error.reply[0] in range(400, 429)):
                raise error
            await asyncio.sleep(min(2.0, 0.05 * 2**fails))


async def _ask(
    session: aiohttp.ClientSession, url: str, told: Told
) -> AsyncGenerator[dict[str, Any], None]:
    """What one server says."""
    try:
        async with session.post(url.rstrip("/") + told.path, json=told.ask()) as reply:
            if reply.status != 200:
                head = dict(reply.headers)
                raise Broken(f"status {reply.status}", (reply.status, head, await reply.read()))
            async for event in whole_events(reply.content.iter_any()):
                out = told.take(event)
                if out.startswith(b"data: {"):
                    yield json.loads(out[6:])
                if told.over is not None:
                    return
    except (aiohttp.ClientError, OSError) as error:
        raise Broken(type(error).__name__) from error
