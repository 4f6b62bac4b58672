"""The front over real engines, without Ray: cut wires, dead and stopped engines, full queues."""

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from helpers import get, post, until
from kinds import CHAT, KINDS, TEXT, compared, events, tokens
from local import Local
from verbatim_ray import bodies
from verbatim_ray.child import Child

NAMED = {"x-request-id": "same"}


def ask(url: str, kind: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
    path, body = KINDS[kind]
    return post(url, path, {**body, "stream": True, **more}, NAMED)


def alone(solo: Child, kind: str, **more: Any) -> bytes:
    """The same request to a server of its own."""
    path, body = KINDS[kind]
    sent = {**NAMED, **solo.headers}
    status, _, raw = post(solo.url, path, {**body, "stream": True, **more}, sent)
    assert status == 200, raw
    return raw


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_same_wherever_its_engine_breaks(
    local: Local, solo: Child, kind: str
) -> None:
    url = local.serve(cache=None, hedge_s=None)
    expected = alone(solo, kind)
    length = tokens(*KINDS[kind], alone(solo, kind, return_token_ids=True))
    status, _, raw = ask(url, kind)
    assert status == 200
    assert compared(raw) == compared(expected)
    for cut in sorted({0, 1, length // 2, length - 1, length}):
        for wire in local.wires.values():
            wire.cut_after = cut
        status, _, raw = ask(url, kind)
        assert status == 200, raw
        assert compared(raw) == compared(expected), f"cut after {cut} tokens"
        for wire in local.wires.values():
            wire.cut_after = None
    assert sum(wire.cuts for wire in local.wires.values()) >= 4


def strike(local: Local, cut: int, how: Callable[[Child], object]) -> None:
    """Does something to the engine that tells so many tokens first, and to no other."""

    def once(child: Child) -> None:
        for wire in local.wires.values():
            wire.cut_after = None
        how(child)

    for wire in local.wires.values():
        wire.cut_after, wire.on_cut = cut, once


def test_an_engine_that_is_killed(local: Local, solo: Child) -> None:
    url = local.serve(cache=None, hedge_s=None)
    for kind, cut in (("text", 5), ("choices", 9), ("schema", 3)):
        strike(local, cut, lambda child: child.process.kill())
        status, _, raw = ask(url, kind)
        assert status == 200
        assert compared(raw) == compared(alone(solo, kind))
        until("one is dead", lambda: sum(at.child.alive for at in local.wires.values()) == 1)
        local.wires = {name: at for name, at in local.wires.items() if at.child.alive}
        local.add()
    assert get(url, "/health")["takeovers"] == 3


def test_whole_answers_are_asked_for_again(local: Local, solo: Child) -> None:
    url = local.serve(cache=None)
    path, body = KINDS["chat"]
    body = {**body, "stream_options": None}
    expected = json.loads(post(solo.url, path, body, {**NAMED, **solo.headers})[2])
    stopped = next(iter(local.wires.values()))
    for wire in local.wires.values():
        wire.cut_after = 0
    status, _, raw = post(url, path, body, NAMED)
    assert status == 200
    assert json.loads(raw)["choices"] == expected["choices"]
    assert stopped.cuts + next(reversed(local.wires.values())).cuts >= 1


def test_a_stopped_engine_is_hedged(local: Local, solo: Child) -> None:
    url = local.serve(cache=None, hedge_s=0.3, first_hedge_s=0.3)
    expected = compared(alone(solo, "text"))
    name, path_body = "", KINDS["text"]
    # Whoever has this prefix is stopped, before the request comes and in the middle of it.
    ask(url, "text")
    for wire in local.wires.values():
        wire.asked = 0
    ask(url, "text")
    name = next(at for at, wire in local.wires.items() if wire.asked)
    child = local.wires[name].child
    os.kill(child.pid, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        status, _, raw = post(url, path_body[0], {**path_body[1], "stream": True}, NAMED)
        assert status == 200
        assert time.monotonic() - begun >= 0.3, "an engine is given its time"
        assert compared(raw) == expected
        assert get(url, "/health")["hedges"] >= 1
        begun = time.monotonic()
        ask(url, "text")
        asked_at_once = get(url, "/health")["hedges"]
        ask(url, "text")
        assert get(url, "/health")["hedges"] == asked_at_once, "a suspect comes last for others"
    finally:
        os.kill(child.pid, signal.SIGCONT)


def test_an_engine_that_falls_silent_in_mid_stream_is_hedged(local: Local, solo: Child) -> None:
    url = local.serve(cache=None, hedge_s=0.3)
    for wire in local.wires.values():
        wire.hangs = True
    for kind in ("text", "choices", "tools"):
        strike(local, 4, lambda _: None)
        status, _, raw = ask(url, kind)
        assert status == 200
        assert compared(raw) == compared(alone(solo, kind))
    assert get(url, "/health")["hedges"] >= 3
    until("whoever lost is not asked any more", lambda: _open(local) == 0)


def _open(local: Local) -> int:
    """Requests that engines still answer."""
    return sum(get(wire.child.url, "/health")["running"] for wire in local.wires.values())


def test_where_all_are_dead_there_is_one_clear_error(local: Local) -> None:
    url = local.serve(cache=None, wait_s=0.5)
    for wire in local.wires.values():
        wire.child.process.kill()
        wire.child.wait()
    for kind, stream in (("text", True), ("chat", False)):
        path, body = KINDS[kind]
        body = {**body, "stream": stream, "stream_options": None}
        status, headers, raw = post(url, path, body)
        assert status == 503
        assert int(headers["retry-after"]) >= 1
        error = json.loads(raw)["error"]
        assert (error["code"], error["resumable"]) == ("no_replica", True)
        assert "0.5 s" in error["message"]


def test_where_nobody_can_go_on_the_stream_says_so_and_is_not_whole(local: Local) -> None:
    url = local.serve(cache=None, wait_s=0.5, hedge_s=None)
    for wire in local.wires.values():
        wire.cut_after = 5
        wire.on_cut = lambda _: [at.child.process.kill() for at in local.wires.values()]
    status, _, raw = ask(url, "text")
    assert status == 200
    *told, last, empty = raw.split(b"\n\n")
    assert empty == b""
    assert len(told) >= 5
    assert json.loads(last.removeprefix(b"data: "))["error"]["resumable"] is True
    assert b"[DONE]" not in raw


def test_a_request_that_kills_engines_does_not_kill_all(local: Local) -> None:
    for _ in range(4):
        local.add()
    url = local.serve(cache=None, attempts=3, hedge_s=None)
    for wire in local.wires.values():
        wire.cut_after = 0
    status, _, raw = ask(url, "text")
    assert status == 503
    assert sum(wire.cuts for wire in local.wires.values()) == 3
    assert json.loads(raw)["error"]["code"] == "no_replica"


def test_another_fingerprint_never_goes_on(local: Local, solo: Child) -> None:
    other = local.add(["--kv", "f32"])
    assert other.child.fingerprint != solo.fingerprint
    url = local.serve(cache=None, wait_s=0.5, hedge_s=None)
    # Only one of the right fingerprint is left, and it dies.
    names = list(local.wires)
    for name in names[1:-1]:
        local.wires[name].child.process.kill()
        local.wires[name].child.wait()
    right = local.wires[names[0]]
    right.cut_after, right.on_cut = 5, lambda child: child.process.kill()
    status, _, raw = ask(url, "text", system_fingerprint=solo.fingerprint)
    assert status == 200
    assert solo.fingerprint.encode() in raw
    assert other.child.fingerprint.encode() not in raw
    assert b"no replica with fingerprint" in raw
    assert b"[DONE]" not in raw
    assert other.asked == 0
    # The engine itself refuses, too.
    sent = {**other.child.headers}
    body = {"prompt": "a", "system_fingerprint": solo.fingerprint}
    status, _, raw = post(other.child.url, TEXT, body, sent)
    assert status == 409
    assert json.loads(raw)["error"]["code"] == "fingerprint_mismatch"


def test_a_full_queue_is_told_as_it_is(local: Local) -> None:
    for wire in list(local.wires.values()):
        wire.child.process.kill()
        wire.child.wait()
    local.wires.clear()
    for _ in range(2):
        local.add(["--max-seqs", "1", "--max-queue", "1"])
    url = local.serve(cache=None, hedge_s=None)
    slow = {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "stream": True}
    with ThreadPoolExecutor(12) as many:
        replies = list(many.map(lambda at: post(url, TEXT, {**slow, "seed": at}), range(12)))
    statuses = {status for status, _, _ in replies}
    assert statuses <= {200, 429}
    for status, headers, raw in replies:
        if status == 429:
            assert "retry-after" in headers
            assert json.loads(raw)["error"]["type"] == "rate_limit_error"
        else:
            assert raw.endswith(b"data: [DONE]\n\n")


def test_answers_are_kept(local: Local) -> None:
    url = local.serve(cache="memory")
    ask(url, "text")  # from now on the front knows the fingerprint
    for kind in ("text", "choices", "schema"):
        path, body = KINDS[kind]
        for stream in (True, False):
            sent = {**body, "stream": stream, "user": "somebody"}
            if not stream:
                sent.pop("stream_options", None)
            first = post(url, path, sent)
            asked = sum(wire.asked for wire in local.wires.values())
            again = post(url, path, dict(reversed(sent.items())))
            assert again[2] == first[2]
            assert (first[1]["x-verbatim-cache"], again[1]["x-verbatim-cache"]) == ("miss", "hit")
            assert again[1]["content-type"] == first[1]["content-type"]
            assert sum(wire.asked for wire in local.wires.values()) == asked
    drawn = {"prompt": "Once", "max_tokens": 2}
    assert post(url, TEXT, drawn)[1]["x-verbatim-cache"] == "off"
    greedy = {**drawn, "temperature": 0}
    assert post(url, TEXT, greedy)[1]["x-verbatim-cache"] == "miss"
    assert post(url, TEXT, greedy)[1]["x-verbatim-cache"] == "hit"


def test_a_stream_that_broke_is_not_kept(local: Local) -> None:
    url = local.serve(cache="memory", wait_s=0.3, attempts=1, hedge_s=None)
    ask(url, "chat")
    for wire in local.wires.values():
        wire.cut_after = 3
    assert b"no_replica" in ask(url, "text")[2]
    for wire in local.wires.values():
        wire.cut_after = None
    _status, headers, raw = ask(url, "text")
    assert headers["x-verbatim-cache"] == "miss"
    assert raw.endswith(b"data: [DONE]\n\n")


def test_keys(local: Local, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("ann sk-a\nbob sk-b\n")
    url = local.serve(api_key_file=str(tmp_path / "keys"))
    body = {"prompt": "Once", "max_tokens": 2, "seed": 1}
    assert post(url, TEXT, body)[0] == 401
    ann, bob = ({"authorization": f"Bearer {key}"} for key in ("sk-a", "sk-b"))
    assert post(url, TEXT, body, ann)[0] == 200
    assert post(url, TEXT, body, ann)[1]["x-verbatim-cache"] == "miss"
    assert post(url, TEXT, body, ann)[1]["x-verbatim-cache"] == "hit"
    assert post(url, TEXT, body, bob)[1]["x-verbatim-cache"] == "miss", "not by another's answer"


def test_what_is_wrong_is_told_by_an_engine(local: Local, solo: Child) -> None:
    url = local.serve(max_body_bytes=400_000)
    for path, sent in (
        (TEXT, b"{"),
        (TEXT, b'{"prompt": ' + b"[" * 5000),
        (TEXT, b'"text"'),
        (CHAT, {"messages": []}),
        (CHAT, {"messages": "x", "stream": True}),
        (TEXT, {"prompt": "a", "n": 0, "stream": True}),
        (TEXT, {"prompt": "a", "seed": 1, "resume": {"token_ids": [[1], [2]]}}),
        (TEXT, {"prompt": "a", "stream": True, "resume": {"token_ids": [5]}}),
        (CHAT, {"messages": KINDS["chat"][1]["messages"], "resume": {"token_ids": [5]}}),
        (TEXT, {"prompt": "a", "stream": True, "system_fingerprint": 5}),
        (TEXT, {"prompt": "a", "stream": True, "resume": {"fingerprint": [5]}}),
        ("/v1/nothing", {}),
        ("/v1/embeddings", {"input": "a"}),
        (TEXT, {"prompt": "large " * 60_000}),
        (TEXT, {"prompt": "large " * 60_000, "stream": True}),
    ):
        status, _, raw = post(url, path, sent, NAMED)
        expected = post(solo.url, path, sent, {**NAMED, **solo.headers})
        assert (status, json.loads(raw)) == (expected[0], json.loads(expected[2]))
        assert 400 <= status < 500
    assert post(url, TEXT, b" " * 400_001)[0] == 413
    values = b'{"prompt":[%s]}' % b",".join([b"1"] * 110_000)
    status, _, raw = post(local.serve(max_json_values=100_000), TEXT, values)
    expected = post(solo.url, TEXT, values, solo.headers)
    assert status == expected[0] == 400
    of_front = raw.replace(b"max_json_values", b"max-json-nodes")
    assert json.loads(of_front) == json.loads(expected[2])
    assert get(url, "/health")["streams"] == 0


def test_what_goes_on_in_one_list_is_taken_over(local: Local, solo: Child) -> None:
    """The older form of `resume`: the output follows the prompt, and the choice has a number."""
    url = local.serve(cache=None, hedge_s=None)
    for path, more in (
        (TEXT, {"prompt": "Once"}),
        (CHAT, {"messages": KINDS["chat"][1]["messages"], "logprobs": True}),
    ):
        body = {"n": 2, "max_tokens": 16, "temperature": 1.6, "seed": 5, "stream": True, **more}
        body |= {"presence_penalty": 0.9, "ignore_eos": True, "return_token_ids": True}
        raw = post(solo.url, path, body, {**NAMED, **solo.headers})[2]
        told = [at["choices"][0] for at in events(raw) if at["choices"]]
        mine = [at for at in told if at["index"] == 1]
        prompt = next(at["prompt_token_ids"] for at in mine if "prompt_token_ids" in at)
        ids = [token for at in mine for token in at.get("token_ids", [])]
        given = {"prompt_tokens": len(prompt), "choice": 1}
        sent = {**body, "n": 1, "resume": given}
        if path == TEXT:
            sent["prompt"] = prompt + ids[:4]
        else:
            given["token_ids"] = prompt + ids[:4]
        expected = compared(post(solo.url, path, sent, {**NAMED, **solo.headers})[2])
        assert list(expected) == [1]
        for cut in (0, 1, 5):
            for wire in local.wires.values():
                wire.cut_after, wire.cuts = cut, 0
            status, _, raw = post(url, path, sent, NAMED)
            assert status == 200
            assert compared(raw) == expected, f"cut after {cut}"
            assert sum(wire.cuts for wire in local.wires.values()) >= 1
            for wire in local.wires.values():
                wire.cut_after = None


def test_numbers_are_read_as_an_engine_reads_them(local: Local, solo: Child) -> None:
    url = local.serve(cache=None, hedge_s=None)
    expected = compared(alone(solo, "choices"))
    assert set(expected) == {-1, 0, 1}
    strike(local, 9, lambda _: None)
    status, _, raw = ask(url, "choices", n=2.0)
    assert status == 200
    assert compared(raw) == expected


def test_a_large_body_is_taken_over(local: Local, solo: Child) -> None:
    for wire in local.wires.values():
        wire.child.process.kill()
        wire.child.wait()
    local.wires.clear()
    for _ in range(2):
        local.add(["--max-body-bytes", "1000000"])
    url = local.serve(hedge_s=None)
    filled = {"user": "x" * bodies.LARGE}
    strike(local, 5, lambda child: child.process.kill())
    status, _, raw = ask(url, "text", **filled)
    assert status == 200
    expected = compared(alone(solo, "text", user="x"))
    assert compared(raw) == expected
    assert get(url, "/health")["takeovers"] == 1
    told = ask(url, "text", **filled)  # the fingerprint was not known before the first
    again = ask(url, "text", **filled)
    assert again[2] == told[2]
    assert (told[1]["x-verbatim-cache"], again[1]["x-verbatim-cache"]) == ("miss", "hit")


def test_only_one_model_may_answer(local: Local, solo: Child) -> None:
    url = local.serve(cache=None, fingerprint=solo.fingerprint)
    assert post(url, *KINDS["ids"])[0] == 200
    for condition in ({"system_fingerprint": "vb-x"}, {"resume": {"fingerprint": "vb-x"}}):
        status, _, raw = post(url, TEXT, {"prompt": "a", "stream": True, **condition})
        assert status == 409
        assert json.loads(raw)["error"]["code"] == "fingerprint_mismatch"


def test_files_and_batches_are_of_one_server(local: Local) -> None:
    url = local.serve()
    for path in ("/v1/files", "/v1/batches", "/batches/batch_1"):
        status, _, raw = post(url, path, {})
        assert status == 404
        assert "verbatim_ray.batch" in json.loads(raw)["error"]["message"]


def test_everything_else_passes_through(local: Local, solo: Child) -> None:
    url = local.serve()
    sent = {"prompt": "a b c"}
    assert post(url, "/tokenize", sent)[2] == post(solo.url, "/tokenize", sent, solo.headers)[2]
    assert get(url, "/v1/models")["data"][0]["system_fingerprint"] == solo.fingerprint
    body = {"messages": KINDS["chat"][1]["messages"], "stream": True}
    _, _, raw = post(url, "/v1/messages", {**body, "seed": 1, "max_tokens": 4})
    assert b"event: message_stop" in raw
    options = {"num_predict": 4, "seed": 1}
    _, _, raw = post(url, "/api/chat", {"model": "verbatim-demo", "options": options, **body})
    assert json.loads(raw.splitlines()[-1])["done"] is True


def test_who_leaves_takes_no_more_of_an_engine(local: Local) -> None:
    import http.client

    url = local.serve(cache=None)
    connection = http.client.HTTPConnection("127.0.0.1", local.port)
    body = {"prompt": "Once", "max_tokens": 480, "ignore_eos": True, "stream": True, "n": 8}
    connection.request("POST", TEXT, json.dumps(body), {"Content-Type": "application/json"})
    connection.getresponse().read(100)
    connection.close()
    until("no stream is left", lambda: get(url, "/health")["streams"] == 0)
    for wire in local.wires.values():
        child = wire.child
        until("the engine is idle", lambda c=child: get(c.url, "/health")["running"] == 0)


def test_a_client_goes_on_at_another_front(local: Local, solo: Child) -> None:
    import asyncio

    from verbatim_ray import stream

    first = local.serve(cache=None, attempts=1, hedge_s=None)
    second = local.serve(cache=None)
    path, body = KINDS["choices"]
    for wire in local.wires.values():
        wire.cut_after = 6

    async def listen() -> bytes:
        told = [at async for at in stream([first, second], path, body, NAMED)]
        return b"".join(b"data: " + json.dumps(at).encode() + b"\n\n" for at in told)

    raw = asyncio.run(listen()) + b"data: [DONE]\n\n"
    expected = compared(alone(solo, "choices"))
    assert sum(wire.cuts for wire in local.wires.values()) >= 1
    assert compared(raw) == expected


def test_fewer_and_larger_events(local: Local) -> None:
    url = local.serve(cache=None, interval_ms=2000)
    path, body = KINDS["text"]
    status, _, raw = post(url, path, {**body, "stream": True})
    assert status == 200
    seen = compared(raw)
    own = post(url, path, {**body, "stream": True, "stream_options": {"interval_ms": 0}})[2]
    assert len(seen[0]) < len(compared(own)[0])
    text = ["".join(one[0]["text"] for one in compared(at)[0]) for at in (raw, own)]
    assert text[0] == text[1]
