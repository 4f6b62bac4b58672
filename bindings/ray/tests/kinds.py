"""Requests of every kind, and how two answers to one are compared."""

import collections
import json
from typing import Any

from verbatim_ray.takeover import CHAT, TEXT

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["city", "count"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}
ASKED = [{"role": "user", "content": "What is the capital of France?"}]
COUNTED = {"stream_options": {"include_usage": True}}
WILD = {"temperature": 1.6, "seed": 11}

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "text": (TEXT, {"prompt": "Once upon a time", "max_tokens": 18, "seed": 3, **COUNTED}),
    "ids": (TEXT, {"prompt": "Once", "max_tokens": 12, "seed": 3, "return_token_ids": True}),
    "logprobs": (TEXT, {"prompt": "Once", "max_tokens": 18, "logprobs": 3, **WILD, **COUNTED}),
    "bytes": (TEXT, {"prompt": "x", "max_tokens": 24, "temperature": 3.0, "seed": 5}),
    "penalties": (
        TEXT,
        {
            "prompt": "One two three",
            "max_tokens": 18,
            "presence_penalty": 0.7,
            "frequency_penalty": 0.4,
            "repetition_penalty": 1.2,
            "min_tokens": 12,
            **WILD,
            **COUNTED,
        },
    ),
    "stop": (
        TEXT,
        {"prompt": "Once", "max_tokens": 40, "stop": ["qq", "e t", " of the"], "seed": 3},
    ),
    "prompts": (
        TEXT,
        {"prompt": ["Once", "One two"], "n": 2, "max_tokens": 10, "logprobs": 1, **WILD, **COUNTED},
    ),
    "echo": (TEXT, {"prompt": "Once upon", "echo": True, "max_tokens": 9, "seed": 2}),
    "chat": (CHAT, {"messages": ASKED, "max_tokens": 18, "seed": 4, **COUNTED}),
    "choices": (
        CHAT,
        {
            "messages": ASKED,
            "n": 2,
            "max_tokens": 14,
            "logprobs": True,
            "top_logprobs": 2,
            **WILD,
            **COUNTED,
        },
    ),
    "tools": (
        CHAT,
        {
            "messages": ASKED,
            "tools": [TOOL],
            "tool_choice": "required",
            "max_tokens": 60,
            "seed": 4,
        },
    ),
    "schema": (
        CHAT,
        {
            "messages": ASKED,
            "max_tokens": 60,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "c", "schema": SCHEMA},
            },
            **WILD,
        },
    ),
}


def events(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream, which must have ended as one that is whole."""
    parts = raw.split(b"\n\n")
    assert parts[-2:] == [b"data: [DONE]", b""], raw[-400:]
    return [json.loads(part.removeprefix(b"data: ")) for part in parts[:-2]]


def compared(raw: bytes) -> dict[int, list[Any]]:
    """What must be equal: each choice's events in order, and the usage (as choice -1).

    Only times and what a cache spared may differ; the order of choices is timing.
    """
    told: dict[int, list[Any]] = collections.defaultdict(list)
    seen = events(raw)
    assert len({(at["id"], at["created"], at["system_fingerprint"]) for at in seen}) == 1
    assert "verbatim" in seen[0]
    assert "verbatim" in seen[-1], "the seed is told with the last event, too"
    assert len({json.dumps(at["verbatim"]) for at in seen if "verbatim" in at}) == 1
    assert not any("verbatim" in at for at in seen[1:] if not _is_end(at))
    for event in seen:
        choice = event["choices"][0] if event["choices"] else {"index": -1}
        usage = event.get("usage") or {}
        usage.pop("prompt_tokens_details", None)
        told[choice["index"]].append([choice, usage, event["id"]])
    return dict(told)


def _is_end(event: dict[str, Any]) -> bool:
    return not event["choices"] or event["choices"][0]["finish_reason"] is not None


def tokens(path: str, body: dict[str, Any], raw: bytes) -> int:
    """Events that brought a token, of a stream with ids."""
    return sum(bool(at["choices"] and at["choices"][0].get("token_ids")) for at in events(raw))
