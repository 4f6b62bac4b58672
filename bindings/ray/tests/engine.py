"""An engine on paper: the events that `verbatim serve` sends, and how it resumes them."""

import json
from typing import Any

from verbatim_ray.takeover import CHAT, DONE

FINGERPRINT = "vb-0123456789abcdef"


def text_of(prompt: int, choice: int, count: int) -> list[tuple[int, str]]:
    """Token ids of a choice with the text that each brings; every third one is held back."""
    tokens = []
    held = ""
    for at in range(count):
        held += f"{prompt}.{choice}.{at},"
        shown, held = ("", held) if at % 3 == 1 else (held, "")
        tokens.append((1000 * prompt + 100 * choice + at, shown))
    return tokens


def events(path: str, body: dict[str, Any], count: int = 7, created: int = 5) -> list[bytes]:
    """All events that answer a body: `count` tokens a choice, the choices in turn."""
    prompt = body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) else 1
    n = int(body.get("n") or 1)
    resume = body.get("resume")
    ids = resume["token_ids"] if resume else [[]] * (prompts * n)
    if resume:
        assert len(ids) == prompts * n
        assert resume.get("fingerprint", FINGERPRINT) == FINGERPRINT
    assert body.get("system_fingerprint", FINGERPRINT) == FINGERPRINT
    shell = {
        "id": "x-1",
        "object": "chunk",
        "created": created,
        "model": "m",
        "system_fingerprint": FINGERPRINT,
    }
    sent: list[bytes] = []
    left = [at for at in range(len(ids)) if ids[at] is not None]
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))

    def send(choice: dict[str, Any] | None, **more: Any) -> None:
        if choice and choice["finish_reason"]:
            left.pop()
        # In the first event, and in the last.
        is_told = not sent or choice is None or not (left or wants_usage)
        first = {"verbatim": {"seed": body["seed"], "ignored": []}} if is_told else {}
        event = {**shell, "choices": [choice] if choice else [], **first, **more}
        sent.append(b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n")

    def one(at: int, text: str | None, finish: str | None, **more: Any) -> dict[str, Any]:
        if path == CHAT:
            told: dict[str, Any] = {"delta": {} if text is None else {"content": text}}
        else:
            told = {"text": text or ""}
        scores = (
            {"content": [{"token": text, "logprob": -1.5e-7 * at}]} if "logprobs" in body else None
        )
        return {"index": at, **told, "logprobs": scores, "finish_reason": finish, **more}

    if path == CHAT and not resume:
        for at in range(n):
            send(
                {"index": at, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
            )
    told = {at: len(one_) for at, one_ in enumerate(ids) if one_ is not None}
    for step in range(count + 1):
        for at, begun in told.items():
            tokens = text_of(at // n, at % n, count)
            assert ids[at] == [token for token, _ in tokens[:begun]]
            if step < begun:
                continue
            if step == count:
                tail = tokens[-1][1] == "" and f"{at // n}.{at % n}.{count - 1},"
                send(one(at, tail or None, "length"))
                continue
            if step == 0 and body.get("echo"):
                send(one(at, f"prompt {at // n}: ", None))
            token, text = tokens[step]
            if text == "" and not body.get("return_token_ids") and "logprobs" not in body:
                continue
            more: dict[str, Any] = {}
            if body.get("return_token_ids"):
                more["token_ids"] = [token]
                if step == 0:
                    more["prompt_token_ids"] = [7, 8, at // n]
            send(one(at, text, None, **more))
    if wants_usage:
        output = sum(count for _ in told)
        send(None, usage={"prompt_tokens": 3 * prompts, "completion_tokens": output})
    sent.append(DONE)
    return sent
