"""Whole answers that take longer than a client waits for a byte."""

import asyncio
import gc
import http.client
import json
from typing import Any

import pytest
from starlette.responses import Response, StreamingResponse

from helpers import SCALE
from kinds import KINDS, TEXT
from local import Local
from verbatim_ray import patience
from verbatim_ray.child import Child
from verbatim_ray.errors import Broken
from verbatim_ray.patience import HEADER, patiently

SOON = {HEADER: "0.002"}


async def parts_of(response: Response) -> list[bytes]:
    assert isinstance(response, StreamingResponse)
    return [bytes(part) async for part in response.body_iterator]  # type: ignore[arg-type]


def test_spaces_come_until_there_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BEAT_S", (0.001, 0.001))

    async def run() -> list[bytes]:
        answer = asyncio.Event()

        async def work() -> Response:
            await answer.wait()
            return Response(b'{"a":1}', 200, {"content-type": "application/json"})

        response = await patiently(work(), SOON, {"x-verbatim-seed": "5"})
        assert isinstance(response, StreamingResponse)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-verbatim-seed"] == "5"
        told = []
        async for part in response.body_iterator:
            told.append(bytes(part))  # type: ignore[arg-type]
            if len(told) == 3:
                answer.set()
        return told

    told = asyncio.run(run())
    assert told[:3] == [b" "] * 3
    assert json.loads(b"".join(told)) == {"a": 1}


def test_without_the_header_an_answer_is_as_it_is() -> None:
    async def run(headers: dict[str, str]) -> Response:
        made = Response(b"no", 503)

        async def work() -> Response:
            await asyncio.sleep(0.01)
            return made

        response = await patiently(work(), headers, {"a": "b"})
        assert response is made
        return response

    for said in (None, "", "x", "-1", "0", "nan", "inf", "600"):
        asyncio.run(run({} if said is None else {HEADER: said}))


def test_an_error_that_comes_late_is_no_answer() -> None:
    async def run() -> None:
        late = asyncio.Event()

        async def work() -> Response:
            await late.wait()
            return Response(b'{"error":{}}', 503)

        response = await patiently(work(), SOON, {})
        assert isinstance(response, StreamingResponse)
        late.set()
        told = b""
        with pytest.raises(Broken, match="503"):
            async for part in response.body_iterator:
                told += bytes(part)  # type: ignore[arg-type]
        assert told.strip() == b'{"error":{}}'

    asyncio.run(run())


def test_a_stream_that_comes_late_is_passed_on() -> None:
    async def run() -> list[bytes]:
        async def lines() -> Any:
            yield "a\n"
            yield b"b\n"

        async def work() -> Response:
            await asyncio.sleep(0.01)
            return StreamingResponse(lines())

        return await parts_of(await patiently(work(), SOON, {}))

    assert b"".join(asyncio.run(run())).strip() == b"a\nb"


@pytest.mark.parametrize("when", ["waiting", "unheard", "listening"])
def test_who_leaves_ends_the_work(when: str) -> None:
    async def run() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def work() -> Response:
            begun.set()
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()
            raise AssertionError

        if when == "waiting":
            waiting = asyncio.ensure_future(patiently(work(), {}, {}))
            await begun.wait()
            waiting.cancel()
        else:
            response = await patiently(work(), SOON, {})
            assert isinstance(response, StreamingResponse)
            parts: Any = response.body_iterator
            if when == "listening":
                assert await anext(parts) == b" "
                await parts.aclose()
            del response, parts
            gc.collect()
        await asyncio.wait_for(ended.wait(), 30 * SCALE)

    asyncio.run(run())


def test_a_client_of_openai_waits_as_long_as_it_takes(local: Local, solo: Child) -> None:
    """No engine can be asked until the client has heard that its answer is being made."""
    url = local.serve(cache=None, wait_s=600)
    path, body = KINDS["chat"]
    sent = {**body, "stream_options": None}
    engines, local.wires = local.wires, {}
    connection = http.client.HTTPConnection(*url.removeprefix("http://").split(":"))
    about = {"Content-Type": "application/json", "x-request-id": "same", HEADER: "0.2"}
    connection.request("POST", path, json.dumps(sent), about)
    reply = connection.getresponse()
    assert reply.status == 200
    assert reply.headers["x-verbatim-seed"] == "4"
    assert reply.headers["x-verbatim-cache"] == "off"
    assert reply.read(1) == b" "
    local.wires = engines
    answer = json.loads(reply.read())
    connection.request("POST", path, json.dumps(sent), {**about, HEADER: "6000"})
    at_once = json.loads(connection.getresponse().read())
    assert answer["choices"] == at_once["choices"]
    assert answer["id"] == at_once["id"]


def test_who_waits_for_nothing_sees_a_connection_that_breaks(local: Local) -> None:
    url = local.serve(cache=None, wait_s=1)
    engines, local.wires = local.wires, {}
    connection = http.client.HTTPConnection(*url.removeprefix("http://").split(":"))
    body = json.dumps({"prompt": "a", "max_tokens": 2})
    connection.request("POST", TEXT, body, {"Content-Type": "application/json", HEADER: "0.2"})
    reply = connection.getresponse()
    assert reply.status == 200
    with pytest.raises(http.client.IncompleteRead) as broken:
        reply.read()
    assert json.loads(broken.value.partial)["error"]["code"] == "no_replica"
    local.wires = engines
