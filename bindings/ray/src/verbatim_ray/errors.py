"""What can go wrong between a front and its engines, and what clients are told of it."""

import json
from typing import Any

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers and body of an answer."""


class Broken(Exception):
    """This engine will not finish what was asked of it; another can."""

    def __init__(self, why: str, reply: Reply | None = None) -> None:
        """`why` in a few words; `reply` is what the engine said, for when no other does better."""
        super().__init__(why)
        self.reply = reply


class NoReplica(Broken):
    """There was no replica to ask, for as long as a request may wait."""


class Final(Broken):
    """What this engine says in its `reply` every other would say."""


class Refused(Exception):
    """A request that the front itself does not take."""

    def __init__(
        self, status: int, code: str | None, message: str, retry_after: float = 0.0
    ) -> None:
        """`status` and `code` as a server's own refusals have them."""
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after

    def reply(self) -> Reply:
        """The answer that says so."""
        kinds = {429: "rate_limit_error", 503: "server_error"}
        kind = kinds.get(self.status, "invalid_request_error")
        error = {"message": str(self), "type": kind, "param": None, "code": self.code}
        return _reply(self.status, error, self.retry_after)


def gave_up(broken: Broken, in_stream: bool = False) -> Reply:
    """The one clear error where no engine could answer: what the last one said, if it said any.

    In a stream it says that any engine may go on with it later.
    """
    if broken.reply is not None and not in_stream:
        return broken.reply
    message = f"no engine could answer: {broken}"
    error = {"message": message, "type": "server_error", "param": None, "code": "no_replica"}
    return _reply(503, {**error, "resumable": True}, 1.0)


def _reply(status: int, error: dict[str, Any], retry_after: float) -> Reply:
    head = {"content-type": "application/json"}
    if retry_after:
        head |= {"retry-after": str(max(1, round(retry_after))), "x-should-retry": "true"}
    return status, head, json.dumps({"error": error}).encode()
