"""Who is asked for a stream, and when: engines on paper, which answer, refuse, fail or hang."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

from engine import FINGERPRINT, events
from verbatim_ray import relay, router
from verbatim_ray.engines import Call, Head
from verbatim_ray.errors import Broken
from verbatim_ray.hedge import Budget
from verbatim_ray.options import Options
from verbatim_ray.relay import Relay
from verbatim_ray.router import Ask
from verbatim_ray.takeover import CHAT, TEXT, Told

Reply = AsyncGenerator[Head | bytes, None]
Script = Callable[[dict[str, Any]], Reply]

BODY = {"messages": [], "seed": 1}


def head() -> Head:
    return Head(200, {"content-type": "text/event-stream"})


class Paper:
    """Engines that follow one script each, in the order in which they are asked; others hang."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.counts: dict[str, int] = {}
        self.metrics = self
        self.asked: list[dict[str, Any]] = []
        self.silent: list[str | None] = []
        self.open = self.closed = 0

    def count(self, kind: str) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def failed(self, error: Broken) -> None:
        self.count("failures")

    def takeover(self, seconds: float) -> None:
        self.count("went on")

    async def reply(self, call: Call, asked: dict[str, Any]) -> Reply:
        self.asked.append(asked)
        self.silent.append(call.ask.silent)
        call.ask.asked.append(name := f"engine-{len(self.asked)}")
        script = self.scripts.pop(0) if self.scripts else hangs
        self.open += 1
        try:
            async for said in script(asked):
                if isinstance(said, Head):
                    said.headers["x-verbatim-replica"] = name
                yield said
        finally:
            self.open -= 1
            self.closed += 1


def tells(start: int = 0, end: int | None = None, path: str = CHAT) -> Script:
    """Its events of these numbers, and then it breaks if they are not all."""

    async def script(asked: dict[str, Any]) -> Reply:
        yield head()
        for event in events(path, asked)[start:end]:
            yield event
        if end is not None:
            raise Broken("cut")

    return script


def then(*parts: Script) -> Script:
    async def script(asked: dict[str, Any]) -> Reply:
        for part in parts:
            async for said in part(asked):
                yield said

    return script


async def hangs(_: dict[str, Any]) -> Reply:
    await asyncio.sleep(3600)
    yield b""


def says(status: int, kind: str = "application/json") -> Script:
    """Refuses, as `Engines` passes it on."""

    async def script(_: dict[str, Any]) -> Reply:
        body = b'{"error":{"code":"said"}}'
        if status >= 429:
            raise Broken(f"status {status}", (status, {"content-type": kind}, body))
        yield Head(status, {"content-type": kind})
        yield body

    return script


def only(*said: bytes) -> Script:
    async def script(_: dict[str, Any]) -> Reply:
        yield head()
        for event in said:
            yield event

    return script


def ask(
    paper: Paper, body: dict[str, Any] | None = None, **given: Any
) -> tuple[list[Head], bytes, Budget]:
    """What the client gets, and how many hedges are left running."""
    path = CHAT if body is None else TEXT
    told, budget = Told(path, body or BODY), Budget()
    options = Options(**{"hedge_s": 0.02, "first_hedge_s": 0.02, **given})
    call = Call("POST", path, {}, b"", Ask("a"))

    async def run() -> list[Head | bytes]:
        streams = Relay(paper, call, told, options, budget)  # type: ignore[arg-type]
        return [said async for said in streams.run()]

    router.SUSPECTS.clear()
    said = asyncio.run(asyncio.wait_for(run(), 20))
    assert budget.hedges == 0, "a hedge that is over counts no more"
    assert paper.open == 0, "nobody computes any more"
    assert not paper.scripts, "all were asked"
    heads = [one for one in said if isinstance(one, Head)]
    return heads, b"".join(one for one in said if isinstance(one, bytes)), budget


WHOLE = b"".join(events(CHAT, BODY))


@pytest.mark.parametrize("other", [says(400), says(503), tells(end=0)])
def test_a_second_engine_that_refuses_or_fails_ends_nothing(other: Script) -> None:
    async def is_slow(asked: dict[str, Any]) -> Reply:
        yield head()
        for at, event in enumerate(events(CHAT, asked)):
            while at == 4 and not paper.closed:
                await asyncio.sleep(0.001)  # until the other has said its own
            yield event

    paper = Paper(is_slow, other)
    heads, raw, _ = ask(paper, hedge_s=0.2)
    assert (len(heads), raw) == (1, WHOLE)
    assert paper.counts["hedges"] >= 1


def test_a_hedge_of_another_model_is_not_heard() -> None:
    """Both are asked before either has told which model it is."""

    async def is_late(asked: dict[str, Any]) -> Reply:
        while len(paper.asked) < 2:
            await asyncio.sleep(0.001)
        yield head()
        whole = events(CHAT, asked)
        yield whole[0]  # nothing but the role
        while not paper.closed:
            await asyncio.sleep(0.001)
        for event in whole[1:]:
            yield event

    async def another(asked: dict[str, Any]) -> Reply:
        assert "system_fingerprint" not in asked
        yield head()
        await asyncio.sleep(0.05)
        for event in events(CHAT, asked):
            yield event.replace(FINGERPRINT.encode(), b"vb-other")

    paper = Paper(is_late, another)
    _, raw, _ = ask(paper, hedge_s=5)
    assert raw == WHOLE


def test_a_stream_that_is_cut_waits_for_room() -> None:
    cut, full = tells(end=4), says(429)
    paper = Paper(cut, full, full, full, full, full, tells())
    _, raw, _ = ask(paper, hedge_s=0)
    assert raw == WHOLE
    assert paper.counts["takeovers"] == 1
    assert paper.counts["went on"] == 1
    paper = Paper(full, full)
    heads, raw, _ = ask(paper, hedge_s=0, attempts=2)
    assert heads[0].status == 429, "a stream that has not begun is told at once"
    paper = Paper(cut, full)
    _, raw, _ = ask(paper, hedge_s=0, attempts=2, wait_s=1e-9)
    assert b'"resumable": true' in raw and b"[DONE]" not in raw


def test_who_keeps_a_connection_alive_is_passed_on() -> None:
    ping = b": ping\n\n"
    paper = Paper(then(only(ping), tells()))
    heads, raw, _ = ask(paper)
    assert len(heads) == 1
    assert raw == ping + WHOLE


def test_a_client_hears_of_tokens_without_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that sends events sends no comments, and of some events nothing is passed on."""
    assert ask(Paper(tells()), hedge_s=0)[1] == WHOLE
    monkeypatch.setattr(relay, "PING_S", 0.0)
    raw = ask(Paper(tells()), hedge_s=0)[1]
    assert raw.count(b": ping\n\n") == 2, "an event for each token that is held back"
    assert raw.replace(b": ping\n\n", b"") == WHOLE


def test_a_refusal_is_told_as_it_is() -> None:
    heads, raw, _ = ask(Paper(says(404)))
    assert heads[0].status == 404
    assert json.loads(raw)["error"]["code"] == "said"
    heads, raw, _ = ask(Paper(tells(end=4), says(400)), hedge_s=0)
    assert heads[0].status == 200
    assert raw.endswith(b'data: {"error":{"code":"said"}}\n\n')


def test_a_first_engine_that_hangs_is_hedged_and_left() -> None:
    paper = Paper(hangs, tells())
    _, raw, _ = ask(paper)
    assert raw == WHOLE


def test_an_engine_that_falls_silent_again_is_not_asked_beside_itself() -> None:
    """It wins against the second, so it was not asked last."""

    async def falls_silent(asked: dict[str, Any]) -> Reply:
        yield head()
        for at, event in enumerate(events(CHAT, asked)):
            while len(paper.asked) < (0, 0, 0, 2, 2, 3)[min(at, 5)]:
                await asyncio.sleep(0.001)
            if at == 5:
                await asyncio.sleep(3600)
            yield event

    paper = Paper(falls_silent, hangs, tells())
    _, raw, _ = ask(paper)
    assert raw == WHOLE
    assert paper.silent == [None, "engine-1", "engine-1"]


def test_who_stops_to_listen_ends_what_runs() -> None:
    async def run() -> int:
        paper = Paper(tells())
        told, call = Told(CHAT, BODY), Call("POST", CHAT, {}, b"", Ask("a"))
        stream = Relay(paper, call, told, Options(), Budget()).run()  # type: ignore[arg-type]
        for _ in range(3):
            await anext(stream)
        await stream.aclose()
        return paper.open

    assert asyncio.run(run()) == 0


@pytest.mark.parametrize("cut", range(1, 11))
def test_echo_is_told_once(cut: int) -> None:
    body = {"prompt": "a", "seed": 1, "echo": True}
    paper = Paper(tells(end=cut, path=TEXT), tells(path=TEXT))
    if cut == len(events(TEXT, {**body, "return_token_ids": True})):
        paper.scripts.pop()
    _, raw, _ = ask(paper, body, hedge_s=0)
    assert raw == b"".join(events(TEXT, body))
