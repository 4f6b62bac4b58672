"""The front: the OpenAI API over all replicas, whose clients see none of them die.

Streams of completions and chat are taken over where their engine breaks, and run beside a second
one where it is slow (`relay`). Whole answers are asked for again. Everything else that an engine
serves is passed through. Nothing is kept but answers in the cache.
"""

import asyncio
import contextlib
import json
import random
import re
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from verbatim_ray import bodies, cache
from verbatim_ray.bodies import aside
from verbatim_ray.engines import SSE, Call, Engines, Head, is_stream
from verbatim_ray.errors import Broken, NoReplica, Refused, Reply, gave_up
from verbatim_ray.hedge import Budget
from verbatim_ray.keys import Keys
from verbatim_ray.options import Options
from verbatim_ray.patience import patiently
from verbatim_ray.relay import Relay, backoff
from verbatim_ray.router import Ask
from verbatim_ray.takeover import CHAT, TEXT, Told, draw_seed, wanted_fingerprint
from verbatim_ray.use import Room, Use

PUTS_MAX = 64
"""Answers that are on their way into the cache, at most."""


class Front:
    """One front; there may be several, and they know nothing of each other."""

    def __init__(self, replicas: DeploymentHandle[Any], options: Options) -> None:
        """Raises ValueError or OSError where the file of keys or the cache is not right."""
        self._options = options
        self._engines = Engines(replicas, options.wait_s)
        self._metrics = self._engines.metrics
        self._cache = cache.open_cache(options.cache, options.cache_bytes)
        self._keys = Keys.read(options.api_key_file)
        self._budget = Budget()
        self._room = Room(options.max_bodies_bytes)
        self._puts: set[asyncio.Task[None]] = set()

    async def __call__(self, request: Request) -> Response:
        """Answers a request."""
        if request.url.path == "/health":
            return self._health()
        try:
            with contextlib.ExitStack() as stack:
                use = Use(self._keys.find(request.headers), self._room)
                stack.callback(use.end)
                response = await self._answer(request, await self._body(request, use), use)
                if isinstance(response, StreamingResponse):
                    response.body_iterator = use.over(response.body_iterator)
                    stack.pop_all()  # it ends with the stream
                return response
        except Refused as error:
            self._metrics.count("refused")
            return _response(error.reply())

    def _health(self) -> Response:
        state = {"status": "ok", "fingerprint": self._engines.fingerprint}
        counts = {"streams": self._budget.streams, **self._metrics.counts}
        counts["cache_failures"] = self._cache.failures if self._cache else 0
        return Response(json.dumps({**state, **counts}), media_type="application/json")

    async def _body(self, request: Request, use: Use) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self._options.max_body_bytes:
                raise Refused(413, "body_too_large", "the body is larger than max_body_bytes")
            use.hold(len(part))
            parts.append(part)
        return b"".join(parts)

    async def _answer(self, request: Request, raw: bytes, use: Use) -> Response:
        self._metrics.count("requests")
        path, query = request.url.path, request.url.query
        body = None
        if request.method == "POST":
            body = await aside(len(raw), bodies.loads, raw, self._options.max_json_values)
        headers = {**request.headers, "x-request-id": _name(request, body or {})}
        ask = Ask(_beginning(headers, body or {}), self._fingerprint(body or {}))
        target = f"{path}?{query}" if query else path
        call = Call(request.method, target, headers, raw, ask)
        full = path if path.startswith("/v1/") else "/v1" + path
        if full.startswith(("/v1/files", "/v1/batches")):
            message = "files and batches are kept by one server, and here are several"
            raise Refused(404, "batches_disabled", f"{message}: see verbatim_ray.batch")
        if body is None or full not in (TEXT, CHAT):
            return await patiently(self._whole(call), headers, {})
        call.path = full
        place = await self._place(call, body, use.name)
        if place and (kept := await place.get()):
            self._metrics.count("cache_hits")
            told = {"x-verbatim-cache": "hit", "x-verbatim-seed": str(body["seed"])}
            told["content-type"] = kept[0]
            return Response(kept[1], 200, told)
        if body.get("stream") is True:
            response = await self._stream(call, body, place, use)
        else:
            call.body = await aside(len(raw), bodies.dumps, body, len(raw))
            told = {"x-verbatim-seed": str(body["seed"])} if "seed" in body else {}
            response = await patiently(self._counted(call, place, use), headers, told)
        response.headers["x-verbatim-cache"] = "miss" if place else "off"
        self._metrics.count("cache_misses" if place else "cache_off")
        return response

    def _fingerprint(self, body: dict[str, Any]) -> str | None:
        """The only fingerprint that may answer. Raises Refused where that is another one."""
        only, wanted = self._options.fingerprint, wanted_fingerprint(body)
        if only and wanted and only != wanted:
            message = f"fingerprint {wanted!r:.100} was asked for, and only {only} may answer here"
            raise Refused(409, "fingerprint_mismatch", message)
        return wanted or only

    async def _counted(self, call: Call, place: cache.Place | None, use: Use) -> Response:
        """A whole answer, whose tokens are counted, and which is kept if it has a place."""
        response = await self._whole(call)
        if response.status_code == 200:
            answer = bytes(response.body)
            said = await aside(len(answer), bodies.loads, answer) or {}
            use.count((said.get("usage") or {}).get("total_tokens", 0))
            if place:
                kind = response.headers["content-type"]
                self._keep(place.put(kind, answer, said.get("system_fingerprint")))
        return response

    async def _place(self, call: Call, body: dict[str, Any], tenant: str) -> cache.Place | None:
        """Where the answer may be kept. A body without a seed gets one."""
        is_same = body.get("seed") is not None or body.get("temperature") == 0
        draw_seed(body)
        fingerprint = call.ask.fingerprint or self._engines.fingerprint
        if not (self._cache and is_same and fingerprint and "seed" in body):
            return None
        asked, size = (fingerprint, call.path, body, tenant), len(call.body)
        return cache.Place(self._cache, fingerprint, await aside(size, cache.key, *asked, size))

    def _keep(self, put: Coroutine[Any, Any, None]) -> None:
        """Keeps an answer while its client goes on; where a store is slow, not all of them."""
        if len(self._puts) >= PUTS_MAX:
            put.close()
            return
        task = asyncio.get_running_loop().create_task(put)
        self._puts.add(task)
        task.add_done_callback(self._puts.discard)

    async def _whole(self, call: Call) -> Response:
        """An answer from whichever engine brings it to its end, or a stream of another kind."""
        fails = 0
        while True:
            source = self._engines.reply(call, call.body)
            try:
                head = await anext(source)
                assert isinstance(head, Head)
                if is_stream(head):
                    return StreamingResponse(_rest(source), head.status, head.headers)
                body = [part async for part in source if isinstance(part, bytes)]
                return Response(b"".join(body), head.status, head.headers)
            except Broken as error:
                self._metrics.failed(error)
                fails += 1
                if fails >= self._options.attempts or isinstance(error, NoReplica):
                    return _response(gave_up(error))
                await asyncio.sleep(backoff(fails))

    async def _stream(
        self, call: Call, body: dict[str, Any], place: cache.Place | None, use: Use
    ) -> Response:
        """A stream that is taken over, and kept if it has a place."""
        options = body.get("stream_options") or {}
        if self._options.interval_ms and isinstance(options, dict):
            options = {"interval_ms": self._options.interval_ms, **options}
            body = {**body, "stream_options": options}
        told = Told(call.path, body)
        events = Relay(self._engines, call, told, self._options, self._budget).run()
        head = await anext(events)
        assert isinstance(head, Head)
        if not is_stream(head):
            rest = [part async for part in events if isinstance(part, bytes)]
            return Response(b"".join(rest), head.status, head.headers)

        async def relay() -> AsyncGenerator[bytes, None]:
            sent, size = [], 0
            self._budget.streams += 1
            try:
                async for data in events:
                    assert isinstance(data, bytes)
                    yield data
                    size += len(data)
                    if place and size <= place.max_answer and not data.startswith(b":"):
                        sent.append(data)
            finally:
                self._budget.streams -= 1
                use.count(told.count())
                await events.aclose()
            if place and told.over == "done" and size <= place.max_answer:
                self._keep(place.put(SSE, b"".join(sent), told.fingerprint))

        return StreamingResponse(relay(), 200, head.headers)


def _beginning(headers: dict[str, str], body: dict[str, Any]) -> str:
    """What requests have in common that share a prefix: a conversation up to its first question.

    A client that knows better says so in `prompt_cache_key` or `session_id`.
    """
    salt = [body.get("cache_salt")]
    if named := body.get("prompt_cache_key") or body.get("session_id"):
        return bodies.beginning([salt, named], 4096)
    if named := headers.get("x-session-id"):
        return named[:4096]
    messages, prompt = body.get("messages"), body.get("prompt")
    start: list[Any] = []
    if isinstance(messages, list):
        for message in messages:
            start.append(message)
            if isinstance(message, dict) and message.get("role") == "user":
                break
    elif isinstance(prompt, (str, list)):
        start.append(prompt[: 256 if isinstance(prompt, str) else 64])  # less than a first turn
    return bodies.beginning([salt, start], 64 << 10)


def _name(request: Request, body: dict[str, Any]) -> str:
    """The id of a request, of which each engine makes the answer's, if it is one it would take."""
    for name in (body.get("request_id"), request.headers.get("x-request-id")):
        if isinstance(name, str) and re.fullmatch(r"[!-~]{1,128}", name):
            return name
    return f"{random.getrandbits(64):016x}"


async def _rest(source: AsyncGenerator[Head | bytes, None]) -> AsyncGenerator[bytes, None]:
    try:
        async for part in source:
            if isinstance(part, bytes):
                yield part
    finally:
        await source.aclose()


def _response(reply: Reply) -> Response:
    status, headers, body = reply
    return Response(body, status, headers)
