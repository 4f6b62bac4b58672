"""What a client has been told of a stream, and how another engine is asked for the rest.

An engine tells the ids of the tokens that each event brings (`return_token_ids`). Whoever has them
can ask any engine with the same fingerprint to go on behind them (`resume`), and gets the events
that the first one would have sent. Nothing else of a stream is kept.
"""

import json
import random
import re
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from verbatim_ray.errors import Broken

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"

# In a string of JSON each quote has a backslash before it, so these only match fields.
_IDS = re.compile(rb',"(?:prompt_)?token_ids":\[[0-9,]*\]')
_CREATED = re.compile(rb'"created":(\d+)')


async def whole_events(parts: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The events of a stream that comes in any parts, each with the empty line after it."""
    rest = b""
    async for part in parts:
        *whole, rest = (rest + part).split(b"\n\n")
        for event in whole:
            yield event + b"\n\n"


def draw_seed(body: dict[str, Any]) -> None:
    """Gives a body without a seed one, so that whoever goes on draws the same noise.

    What goes on itself must bring the seed that it was told: an engine refuses it without.
    """
    if body.get("seed") is None and (_resume(body) is None or _is_joined(body)):
        body["seed"] = 0 if body.get("temperature") == 0 else random.getrandbits(53)


def wanted_fingerprint(body: dict[str, Any]) -> str | None:
    """The only fingerprint that may answer a body, if it says so."""
    wanted = [(_resume(body) or {}).get("fingerprint"), body.get("system_fingerprint")]
    return next((name for name in wanted if isinstance(name, str)), None)


class Told:
    """One stream, from the side of who passes it on."""

    def __init__(self, path: str, body: dict[str, Any]) -> None:
        """`body` is what the client sent, with a seed; it may itself go on with a cut stream."""
        self.path, self.body = path, body
        self.wants_ids = bool(body.get("return_token_ids"))
        self.fingerprint = wanted_fingerprint(body)
        prompt = body.get("prompt") if path == TEXT else None
        several = isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list))
        self.prompts: list[list[int] | None] = [None] * (len(prompt) if several and prompt else 1)
        self.n = _count(body.get("n"))
        self.choices = self.n * len(self.prompts)
        # Of the choices that something came of: a body may name any number of them.
        self.ids: dict[int, list[int]] = {}
        self.ended: set[int] = set()
        # Of the choices that had ended before this body, which engines are not asked for.
        self._null: set[int] = set()
        self.progress = 0
        """Grows with each event that brings the stream on."""
        self.over: str | None = None
        """How the stream ended, once it has: `done`, or `error` where no engine would go on."""
        # The choices whose role was told, and those whose prompt was repeated (`echo`).
        self._before: set[tuple[int, bool]] = set()
        # Whether an event was passed on, and the usage.
        self._has_begun = self._has_usage = False
        options = body.get("stream_options")
        self._wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._created: bytes | None = None
        if not _is_joined(body):
            self._begin(_resume(body) or {})

    def _begin(self, resume: dict[str, Any]) -> None:
        """Takes over what the client was told before, where it is in the form for that."""
        given: Any = resume.get("token_ids")
        if self.choices == 1 and isinstance(given, list) and not _is_lists(given):
            given = [given]
        if isinstance(given, list) and len(given) == self.choices and _is_lists(given):
            self.ids = {at: list(one) for at, one in enumerate(given) if one is not None}
            self._null = set(range(len(given))) - self.ids.keys()
            self.ended = set(self._null)
        prompts: Any = resume.get("prompt_token_ids")
        if isinstance(prompts, list) and prompts:
            prompts = prompts if _is_lists(prompts) else [prompts]
            if len(prompts) == len(self.prompts):
                self.prompts = prompts

    def ask(self) -> dict[str, Any]:
        """The body that asks for what is missing: at first the client's own, with ids."""
        ask = {**self.body, "stream": True, "return_token_ids": True}
        if self.fingerprint and ask.get("system_fingerprint") is None:
            ask["system_fingerprint"] = self.fingerprint
        if _is_joined(self.body):
            self._ask_joined(ask)
        elif any(self.ids.values()) or self.ended:
            # Choices that ended are sent too, so that the usage at the end is of the whole.
            told = [
                None if at in self._null else list(self.ids.get(at, ()))
                for at in range(self.choices)
            ]
            resume: dict[str, Any] = {"token_ids": told}
            if all(self.prompts):
                one = self.path == CHAT or len(self.prompts) == 1
                resume["prompt_token_ids"] = self.prompts[0] if one else self.prompts
            ask["resume"] = resume
        return ask

    def _ask_joined(self, ask: dict[str, Any]) -> None:
        """Puts what came behind the list that has the prompt and the output so far."""
        place, name = (ask, "prompt") if self.path == TEXT else (dict(ask["resume"]), "token_ids")
        if isinstance(place.get(name), list):
            place[name] = [*place[name], *(token for one in self.ids.values() for token in one)]
        if place is not ask:
            ask["resume"] = place

    def count(self) -> int:
        """Tokens of prompts and outputs that are known so far."""
        return sum(len(one) for one in [*self.prompts, *self.ids.values()] if one)

    def take(self, event: bytes) -> bytes:
        """Notes one event (`data: …` and the empty line after it): what the client gets for it.

        Raises Broken where another engine must go on.
        """
        if not event.startswith(b"data: {"):
            if event == DONE:
                self.over = "done"
            return event  # else it is a comment, which keeps connections alive
        try:
            said = json.loads(event[6:])
        except ValueError:
            raise Broken("an event that is no JSON") from None
        if error := said.get("error"):
            if error.get("resumable") or error.get("type") == "server_error":
                raise Broken(str(error.get("code") or error.get("message")))
            self.over = "error"  # every engine would say the same
            return event
        fingerprint = said.get("system_fingerprint")
        if fingerprint != (self.fingerprint or fingerprint):
            # Both were asked before either had told which model it is.
            raise Broken(f"the fingerprint is {fingerprint}")
        self.fingerprint = fingerprint
        event = self._same_head(event, said)
        if not said.get("choices"):
            told = b"" if self._has_usage else event
            self._has_usage = True
            return told
        choice = said["choices"][0]
        if choice["index"] in self.ended:
            return b""
        # The first event tells the seed, so it is passed on even if it says nothing else.
        is_first = "verbatim" in said and not self._has_begun
        told = self._note(event, choice, is_first)
        self._has_begun = self._has_begun or told != b""
        return told

    def _note(self, event: bytes, choice: dict[str, Any], is_first: bool) -> bytes:
        """Notes an event of a choice that has not ended."""
        at: int = choice["index"]
        new, is_end = choice.get("token_ids") or [], choice.get("finish_reason") is not None
        if not new and not is_end:
            # The role, or the prompt that is repeated. Behind a token it is what an engine that
            # breaks still had: whoever goes on brings it in its place.
            before = (at, "role" in (choice.get("delta") or ()))
            if before in self._before or self.ids.get(at):
                return b""
            self._before.add(before)
            return event
        if (prompt := choice.get("prompt_token_ids")) and not _is_joined(self.body):
            self.prompts[at // self.n] = prompt
        self.ids.setdefault(at, []).extend(new)
        self.progress += 1
        if is_end:
            self.ended.add(at)
        if self.wants_ids:
            return event
        if _is_silent(choice) and not (is_first or is_end):
            return b""  # only its ids were news
        return _IDS.sub(b"", event)

    def _is_last(self, choices: list[dict[str, Any]] | None) -> bool:
        """Whether an event is the stream's last: that one tells the seed again."""
        if not choices:
            return True
        is_end = choices[0].get("finish_reason") is not None and not self._wants_usage
        return is_end and len(self.ended | {choices[0]["index"]}) == self.choices

    def _same_head(self, event: bytes, said: dict[str, Any]) -> bytes:
        """An event of whichever engine, as the one that began would have sent it."""
        if self._created is None:
            found = _CREATED.search(event)
            self._created = found[1] if found else b""
        if self._has_begun and "verbatim" in said and not self._is_last(said.get("choices")):
            del said["verbatim"]
            event = b"data: " + json.dumps(said, separators=(",", ":")).encode() + b"\n\n"
        if b'"created":' + self._created + b"," not in event:
            event = _CREATED.sub(b'"created":' + self._created, event, count=1)
        return event


def _resume(body: dict[str, Any]) -> dict[str, Any] | None:
    resume = body.get("resume")
    return resume if isinstance(resume, dict) else None


def _is_joined(body: dict[str, Any]) -> bool:
    """Whether a body goes on with one choice whose output follows its prompt in one list."""
    resume = _resume(body) or {}
    return resume.get("prompt_tokens") is not None or resume.get("choice") is not None


def _count(n: Any) -> int:
    """How many choices an engine takes `n` for: 2.0 is 2."""
    is_whole = isinstance(n, int) or (isinstance(n, float) and n.is_integer())
    return int(n) if is_whole and n > 0 else 1


def _is_lists(lists: list[Any]) -> bool:
    """Whether there is a list for each choice (or prompt), or null."""
    return bool(lists) and all(one is None or isinstance(one, list) for one in lists)


def _is_silent(choice: dict[str, Any]) -> bool:
    """Whether an event tells nothing but ids: its text is held back in the engine."""
    if choice.get("logprobs"):
        return False
    delta = choice.get("delta")
    return not choice.get("text") if delta is None else delta in ({}, {"content": ""})
