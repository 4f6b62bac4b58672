"""What a client has been told of a stream, and how another engine is asked for the rest.

An engine tells the ids of the tokens that each event brings (`return_token_ids`). Whoever has them
can ask any engine with the same fingerprint to go on behind them (`resume`), and gets the events
that the first one would have sent. Nothing else of a stream is kept.

One token may bring several events, of which the last has its ids. Events without ids are therefore
held back until that one comes: a stream that is cut between them begins again before the token.
"""

import json
import re
from typing import Any, cast

from verbatim_ray.errors import Broken

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"

# In a string of JSON each quote has a backslash before it, so these only match fields.
_IDS = re.compile(rb',"(?:prompt_)?token_ids":\[[0-9,]*\]')
_CREATED = re.compile(rb'"created":(\d+)')


class Told:
    """One stream, from the side of who passes it on."""

    def __init__(self, path: str, body: dict[str, Any]) -> None:
        """`body` is what the client sent, with a seed; it may itself go on with a cut stream."""
        self.path, self.body = path, body
        self.wants_ids = bool(body.get("return_token_ids"))
        self.fingerprint: str | None = body.get("system_fingerprint")
        prompt, n = body.get("prompt"), body.get("n")
        several = isinstance(prompt, list) and prompt and isinstance(prompt[0], (str, list))
        self.prompts: list[list[int] | None] = [None] * (len(prompt) if several and prompt else 1)
        self.n = n if isinstance(n, int) and n > 0 else 1
        self.choices = self.n * len(self.prompts)
        # Of the choices that something came of: a body may name any number of them.
        self.ids: dict[int, list[int] | None] = {}
        self.ended: set[int] = set()
        self.progress = 0
        """Grows with each event that brings the stream on."""
        self.over: str | None = None
        """How the stream ended, once it has: `done`, or `error` where no engine would go on."""
        self._has_role: set[int] = set()
        # Whether an event was passed on, and the usage.
        self._has_begun = self._has_usage = False
        options = body.get("stream_options")
        self._wants_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        self._created: bytes | None = None
        self._begin(body.get("resume"))

    def _begin(self, resume: Any) -> None:
        """Takes over what the client was told before, where it is in the form for that."""
        if not isinstance(resume, dict) or "prompt_tokens" in resume:
            return
        given: Any = resume.get("token_ids")
        if self.choices == 1 and isinstance(given, list) and not _is_lists(given):
            given = [given]
        if isinstance(given, list) and len(given) == self.choices and _is_lists(given):
            self.ids = {at: None if one is None else list(one) for at, one in enumerate(given)}
            self.ended = {at for at, one in self.ids.items() if one is None}
            self._has_role = set(self.ids)
        prompts: Any = resume.get("prompt_token_ids")
        if isinstance(prompts, list) and prompts:
            prompts = prompts if _is_lists(prompts) else [prompts]
            if len(prompts) == len(self.prompts):
                self.prompts = prompts
        self.fingerprint = resume.get("fingerprint") or self.fingerprint

    def ask(self) -> dict[str, Any]:
        """The body that asks for what is missing: at first the client's own, with ids."""
        ask = {**self.body, "stream": True, "return_token_ids": True}
        if self.fingerprint:
            ask["system_fingerprint"] = self.fingerprint
        if any(self.ids.values()) or self.ended:
            # Choices that ended are sent too, so that the usage at the end is of the whole.
            told = [self.ids.get(at, []) for at in range(self.choices)]
            resume: dict[str, Any] = {"token_ids": told}
            if all(self.prompts):
                one = self.path == CHAT or len(self.prompts) == 1
                resume["prompt_token_ids"] = self.prompts[0] if one else self.prompts
            ask["resume"] = resume
        return ask

    def count(self) -> int:
        """Tokens of prompts and outputs that are known so far."""
        return sum(len(one) for one in [*self.prompts, *self.ids.values()] if one)

    def take(self, event: bytes, held: dict[int, list[bytes]]) -> bytes:
        """Notes one event (`data: …` and the empty line after it): what the client gets for it.

        `held` is what is held back of the engine that sent it: empty at first, and thrown away
        with the connection. Raises Broken where the engine says that another must go on.
        """
        if not event.startswith(b"data: {"):
            if event != DONE:
                return b""  # a comment, which keeps the engine's connection alive
            self.over = "done"
            return event
        try:
            said = json.loads(event[6:])
        except ValueError:
            raise Broken("an event that is no JSON") from None
        if error := said.get("error"):
            if error.get("resumable") or error.get("type") == "server_error":
                raise Broken(str(error.get("code") or error.get("message")))
            self.over = "error"  # every engine would say the same
            return event
        self.fingerprint = self.fingerprint or said.get("system_fingerprint")
        event = self._same_head(event, said)
        if not said.get("choices"):
            told = b"" if self._has_usage else event
            self._has_usage = True
            return told
        choice = said["choices"][0]
        at: int = choice["index"]
        if at >= self.choices or at in self.ended:
            return b""
        # The first event tells the seed, so it is passed on even if it says nothing else.
        is_first = "verbatim" in said and not self._has_begun
        told = self._note(event, choice, held.setdefault(at, []), is_first)
        self._has_begun = self._has_begun or told != b""
        return told

    def _note(
        self, event: bytes, choice: dict[str, Any], held: list[bytes], is_first: bool
    ) -> bytes:
        """Notes an event of a choice that has not ended."""
        at: int = choice["index"]
        is_empty = not is_first and self._is_empty(choice)
        delta = choice.get("delta")
        if delta is not None and "role" in delta:
            if at in self._has_role:
                return b""
            self._has_role.add(at)
            return event
        if prompt := choice.get("prompt_token_ids"):
            self.prompts[at // self.n] = prompt
        new, ended = choice.get("token_ids") or [], choice.get("finish_reason") is not None
        if new or ended or not is_empty:
            held.append(event if self.wants_ids else _IDS.sub(b"", event))
        if not new and not ended:
            return b""
        cast(list[int], self.ids.setdefault(at, [])).extend(new)
        self.progress += 1
        if new and not ended and not self.wants_ids and is_empty:
            held.pop()  # only its ids were news
        if ended:
            self.ended.add(at)
        told = b"".join(held)
        held.clear()
        return told

    def _is_empty(self, choice: dict[str, Any]) -> bool:
        """Whether an event tells nothing but ids: its text is held back in the engine."""
        if choice.get("logprobs") or choice.get("finish_reason") is not None:
            return False
        delta = choice.get("delta")
        return not choice.get("text") if delta is None else delta in ({}, {"content": ""})

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


def _is_lists(lists: list[Any]) -> bool:
    """Whether there is a list for each choice (or prompt), or null."""
    return bool(lists) and all(one is None or isinstance(one, list) for one in lists)
