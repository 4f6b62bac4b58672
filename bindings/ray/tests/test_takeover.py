"""What a client has been told: the same bytes, wherever the engines are cut."""

import itertools
import json
import re
from typing import Any

import pytest

from engine import FINGERPRINT, events
from verbatim_ray.errors import Broken
from verbatim_ray.takeover import CHAT, DONE, TEXT, Told, draw_seed

BODIES: list[tuple[str, dict[str, Any]]] = [
    (TEXT, {"prompt": "a", "seed": 1}),
    (TEXT, {"prompt": "a", "seed": 1, "return_token_ids": True}),
    (TEXT, {"prompt": "a", "seed": 1, "logprobs": 2, "stream_options": {"include_usage": True}}),
    (TEXT, {"prompt": ["a", "b"], "n": 2, "seed": 1, "stream_options": {"include_usage": True}}),
    (TEXT, {"prompt": [[1, 2], [3]], "n": 1, "seed": 1, "return_token_ids": True}),
    (TEXT, {"prompt": ["a", "b"], "echo": True, "seed": 1, "return_token_ids": True}),
    (CHAT, {"messages": [], "seed": 1, "n": 2.0, "echo": True}),
    (CHAT, {"messages": [], "seed": 1}),
    (CHAT, {"messages": [], "seed": 1, "n": 2, "stream_options": {"include_usage": True}}),
    (CHAT, {"messages": [], "seed": 1, "n": 3, "logprobs": True, "return_token_ids": True}),
]


def run(path: str, body: dict[str, Any], cuts: list[int]) -> tuple[bytes, int]:
    """What a client gets if engine i is cut after `cuts[i]` events, and how many were asked."""
    told, out, asked = Told(path, body), b"", 0
    for cut in [*cuts, None]:
        asked += 1
        for event in events(path, told.ask(), created=5 + asked)[:cut]:
            out += told.take(event)
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
        told.take(event)
    ask = told.ask()
    assert ask["resume"] == {"token_ids": [[0, 1], [100]], "prompt_token_ids": [7, 8, 0]}
    assert ask["system_fingerprint"] == FINGERPRINT
    assert {name: ask[name] for name in body} == body, "the rest is as the client sent it"
    assert told.count() == 3 + 3


def test_the_prompts_are_only_sent_where_all_are_known() -> None:
    body = {"prompt": ["a", "b"], "seed": 1}
    told = Told(TEXT, body)
    sent = events(TEXT, told.ask())
    told.take(sent[0])
    assert told.ask()["resume"] == {"token_ids": [[0], []]}
    told.take(sent[1])
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


def test_what_an_engine_that_breaks_still_had_is_not_told() -> None:
    told = Told(CHAT, {"seed": 1})
    role = {"role": "assistant", "content": ""}
    assert told.take(_delta(role)) and not told.take(_delta(role))
    assert told.take(_delta({"content": "the prompt"})) and not told.take(_delta({"content": "x"}))
    assert told.take(_delta({"content": "a"}, token_ids=[4]))
    assert told.take(_delta({"content": "held back"})) == b"", "the end brings it again"
    assert told.ask()["resume"]["token_ids"] == [[4]]


def test_one_list_of_prompt_and_output_grows() -> None:
    given = {"prompt_tokens": 2, "choice": 1}
    text = {"prompt": [1, 2, 3], "seed": 1, "resume": given}
    chat = {"messages": [], "seed": 1, "resume": {**given, "token_ids": [1, 2, 3]}}
    for path, body in ((TEXT, text), (CHAT, chat)):
        told = Told(path, body)
        assert told.ask()["resume"] == body["resume"]
        for token in (4, 5):
            choice = {"index": 1, "text": "a", "finish_reason": None, "token_ids": [token]}
            assert told.take(_event({**choice, "prompt_token_ids": [1, 2, 3]}))
        ask = told.ask()
        whole = ask["prompt"] if path == TEXT else ask["resume"].pop("token_ids")
        assert whole == [1, 2, 3, 4, 5]
        assert ask["resume"] == given
        assert chat["resume"] == {**given, "token_ids": [1, 2, 3]}, "the client's own stays"


def test_a_seed_is_drawn_for_what_begins() -> None:
    for body in ({}, {"seed": None}, {"resume": {"prompt_tokens": 3}}):
        draw_seed(body)
        assert 0 <= body["seed"] < 1 << 53
    greedy: dict[str, Any] = {"temperature": 0}
    draw_seed(greedy)
    assert greedy["seed"] == 0
    goes_on: dict[str, Any] = {"resume": {"token_ids": [1]}, "temperature": 0}
    draw_seed(goes_on)
    assert "seed" not in goes_on, "it would go on with other noise"


def test_two_models_never_tell_one_stream() -> None:
    told = Told(TEXT, {"seed": 1})
    choice = {"index": 0, "text": "a", "finish_reason": None, "token_ids": [4]}
    assert told.take(_event(choice, system_fingerprint="vb-1"))
    with pytest.raises(Broken, match="vb-2"):
        told.take(_event(choice, system_fingerprint="vb-2"))
    assert told.ids == {0: [4]}
    pinned = Told(TEXT, {"seed": 1, "system_fingerprint": "vb-1"})
    with pytest.raises(Broken, match="vb-2"):
        pinned.take(_event(choice, system_fingerprint="vb-2"))
    odd = Told(TEXT, {"seed": 1, "system_fingerprint": [1], "resume": {"fingerprint": 5}})
    assert odd.fingerprint is None
    assert odd.ask()["system_fingerprint"] == [1], "an engine says best what is wrong with it"


def test_errors() -> None:
    told = Told(TEXT, {"seed": 1})
    for error in ({"resumable": True}, {"type": "server_error"}):
        with pytest.raises(Broken):
            told.take(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
    with pytest.raises(Broken, match="no JSON"):
        told.take(b"data: {cut\n\n")
    assert told.take(b": ping\n\n") == b": ping\n\n", "it keeps the client's connection alive"
    assert told.over is None
    final = b'data: {"error":{"type":"invalid_request_error","code":null}}\n\n'
    assert told.take(final) == final
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
    out = told.take(event)
    assert json.loads(out[6:])["choices"][0] == {"index": 0, "text": tricky, "finish_reason": None}
    assert json.loads(out[6:])["created"] == 1


def _event(choice: dict[str, Any], **more: Any) -> bytes:
    event = {"id": "x", "created": 1, **more, "choices": [choice]}
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def _delta(delta: dict[str, Any], **more: Any) -> bytes:
    return _event({"index": 0, "delta": delta, "finish_reason": None, **more})


def test_done_is_done() -> None:
    told = Told(TEXT, {"seed": 1})
    assert told.take(DONE) == DONE
    assert told.over == "done"
