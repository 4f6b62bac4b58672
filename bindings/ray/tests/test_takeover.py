"""What a client has been told: the same bytes, wherever the engines are cut."""

import itertools
import json
import re
from typing import Any

import pytest

from engine import FINGERPRINT, events
from verbatim_ray.errors import Broken
from verbatim_ray.takeover import CHAT, DONE, TEXT, Told

BODIES: list[tuple[str, dict[str, Any]]] = [
    (TEXT, {"prompt": "a", "seed": 1}),
    (TEXT, {"prompt": "a", "seed": 1, "return_token_ids": True}),
    (TEXT, {"prompt": "a", "seed": 1, "logprobs": 2, "stream_options": {"include_usage": True}}),
    (TEXT, {"prompt": ["a", "b"], "n": 2, "seed": 1, "stream_options": {"include_usage": True}}),
    (TEXT, {"prompt": [[1, 2], [3]], "n": 1, "seed": 1, "return_token_ids": True}),
    (CHAT, {"messages": [], "seed": 1}),
    (CHAT, {"messages": [], "seed": 1, "n": 2, "stream_options": {"include_usage": True}}),
    (CHAT, {"messages": [], "seed": 1, "n": 3, "logprobs": True, "return_token_ids": True}),
]


def run(path: str, body: dict[str, Any], cuts: list[int]) -> tuple[bytes, int]:
    """What a client gets if engine i is cut after `cuts[i]` events, and how many were asked."""
    told, out, asked = Told(path, body), b"", 0
    for cut in [*cuts, None]:
        asked += 1
        held: dict[int, list[bytes]] = {}
        for event in events(path, told.ask(), created=5 + asked)[:cut]:
            out += told.take(event, held)
        if told.over:
            break
    assert told.over == "done"
    begun = set(re.findall(rb'"created":\d+', out))
    assert len(begun) == 1, "the stream has one time at which it began"
    return out.replace(begun.pop(), b'"created":6'), asked


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_a_stream_that_is_cut_anywhere_has_the_same_bytes(path: str, body: dict[str, Any]) -> None:
    whole, asked = run(path, body, [])
    assert asked == 1
    solo = b"".join(events(path, body, created=6))
    assert whole == solo, "an engine that is not cut sends what the client asked for"
    length = len(events(path, {**body, "return_token_ids": True}))
    for cut in range(length):
        assert run(path, body, [cut])[0] == whole, f"cut after {cut} events"
    for cuts in itertools.product(range(0, length, 3), range(4), range(3)):
        assert run(path, body, list(cuts))[0] == whole, f"cut after {cuts} events"


def test_what_another_engine_is_asked() -> None:
    path, body = CHAT, {"messages": [], "seed": 1, "n": 2}
    told = Told(path, body)
    assert "resume" not in told.ask(), "nothing was told, so nothing is resumed"
    for event in events(path, told.ask())[:5]:  # two roles, then a token of 0, 1, 0
        told.take(event, {})
    ask = told.ask()
    assert ask["resume"] == {"token_ids": [[0, 1], [100]], "prompt_token_ids": [7, 8, 0]}
    assert ask["system_fingerprint"] == FINGERPRINT
    assert {name: ask[name] for name in body} == body, "the rest is as the client sent it"
    assert told.count() == 3 + 3


def test_the_prompts_are_only_sent_where_all_are_known() -> None:
    body = {"prompt": ["a", "b"], "seed": 1}
    told = Told(TEXT, body)
    sent = events(TEXT, told.ask())
    told.take(sent[0], {})
    assert told.ask()["resume"] == {"token_ids": [[0], []]}
    told.take(sent[1], {})
    assert told.ask()["resume"]["prompt_token_ids"] == [[7, 8, 0], [7, 8, 1]]


def test_a_client_that_resumes_is_resumed_again() -> None:
    body: dict[str, Any] = {"prompt": "a", "seed": 1, "n": 2}
    whole = b"".join(events(TEXT, body))
    resume = {"token_ids": [[0, 1], [100, 101]], "fingerprint": FINGERPRINT}
    rest = {**body, "resume": resume}
    expected, _ = run(TEXT, rest, [])
    assert expected != whole
    for cut in range(6):
        assert run(TEXT, rest, [cut])[0] == expected
    flat = Told(TEXT, {"prompt": "a", "seed": 1, "resume": {"token_ids": [4, 5]}})
    assert flat.ask()["resume"] == {"token_ids": [[4, 5]]}
    ended = Told(TEXT, {**body, "resume": {"token_ids": [None, [100]]}})
    assert ended.ask()["resume"] == {"token_ids": [None, [100]]}
    older = {"prompt_tokens": 1}
    assert Told(TEXT, {"prompt": [1, 2], "seed": 1, "resume": older}).ask()["resume"] == older


def test_events_without_ids_wait_for_them() -> None:
    told, held = Told(CHAT, {"seed": 1}), {}
    assert told.take(_delta({"tool_calls": []}), held) == b""
    assert told.take(_delta({"tool_calls": [1]}, token_ids=[4]), held).count(b"data: ") == 2
    assert told.take(_delta({"content": "never told whole"}), held) == b""
    assert told.ask()["resume"]["token_ids"] == [[4]]
    assert b"never" not in told.take(_delta({"content": "b"}, token_ids=[5]), {})


def test_errors() -> None:
    told = Told(TEXT, {"seed": 1})
    for error in ({"resumable": True}, {"type": "server_error"}):
        with pytest.raises(Broken):
            told.take(b"data: " + json.dumps({"error": error}).encode() + b"\n\n", {})
    with pytest.raises(Broken, match="no JSON"):
        told.take(b"data: {cut\n\n", {})
    assert told.take(b": ping\n\n", {}) == b""
    assert told.over is None
    final = b'data: {"error":{"type":"invalid_request_error","code":null}}\n\n'
    assert told.take(final, {}) == final
    assert told.over == "error", "every engine would say so"


def test_a_body_cannot_take_memory() -> None:
    told = Told(TEXT, {"prompt": ["a"] * 1000, "n": 1 << 40, "seed": 1})
    assert told.choices == 1000 << 40
    assert "resume" not in told.ask()
    odd = Told(CHAT, {"n": "x", "prompt": 4, "resume": {"token_ids": "abc"}, "seed": 1})
    assert odd.choices == 1
    for wrong in ([5, 6], ["ab", None], [[1]], 7, {"a": 1}):
        resume = {"token_ids": wrong, "prompt_token_ids": [[1], [2], [3]]}
        asked = Told(CHAT, {"n": 2, "seed": 1, "resume": resume}).ask()["resume"]
        assert asked == resume, "an engine says best what is wrong with it"


def test_text_that_looks_like_ids_stays() -> None:
    told = Told(TEXT, {"seed": 1})
    tricky = ',"token_ids":[1],"created":7'
    event = _event({"index": 0, "text": tricky, "finish_reason": None, "token_ids": [3]})
    out = told.take(event, {})
    assert json.loads(out[6:])["choices"][0] == {"index": 0, "text": tricky, "finish_reason": None}
    assert json.loads(out[6:])["created"] == 1


def _event(choice: dict[str, Any]) -> bytes:
    event = {"id": "x", "created": 1, "choices": [choice]}
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def _delta(delta: dict[str, Any], **more: Any) -> bytes:
    return _event({"index": 0, "delta": delta, "finish_reason": None, **more})


def test_done_is_done() -> None:
    told = Told(TEXT, {"seed": 1})
    assert told.take(DONE, {}) == DONE
    assert told.over == "done"
