"""What the tests share."""

import contextlib
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

SCALE = max(1.0, 4.0 / (os.cpu_count() or 1)) * float(os.environ.get("VERBATIM_TEST_SCALE", "1"))
"""By how much longer things take here than on an idle machine of four cores."""


def until(what: str, holds: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Waits until something holds, and returns it; fails after so many seconds (scaled)."""
    end = time.monotonic() + seconds * SCALE
    while True:
        if found := holds():
            return found
        assert time.monotonic() < end, f"not within {seconds * SCALE:.0f} s: {what}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(
    url: str, path: str, body: Any, headers: dict[str, str] | None = None, seconds: float = 60.0
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request that is answered whole."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **(headers or {})}
    asked = urllib.request.Request(url + path, data, sent)
    try:
        with urllib.request.urlopen(asked, timeout=seconds * SCALE) as reply:
            return reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def get(url: str, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(url + path, timeout=30 * SCALE) as reply:
        return dict(json.load(reply))


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
