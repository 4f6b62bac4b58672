"""A `verbatim serve` of our own: started, watched, ended. It never outlives this process."""

import collections
import json
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from verbatim_ray.binary import find


class ChildError(RuntimeError):
    """The server did not start; the message has the last lines that it wrote."""


class Child:
    """One server on a free port of `host`, with a key that only who has this object knows.

    The child is told to end with its parent (`--exit-with-parent`). No Python runs between fork
    and exec: a `preexec_fn` in a Ray worker inherits alarms that kill the server seconds later.
    """

    def __init__(
        self,
        binary: str | None = None,
        args: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """Starts it and waits until it serves. Raises ChildError, or what `binary.find` raises."""
        self.key = secrets.token_urlsafe(24)
        command = [find(binary), "serve", "--host", host, "--port", "0", "--exit-with-parent"]
        # In the environment, since other users of the machine can read command lines.
        surroundings = {**os.environ, **(env or {}), "VERBATIM_API_KEY": self.key}
        self.process = subprocess.Popen(
            [*command, *args],
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: collections.deque[str] = collections.deque(maxlen=20)
        self._reader = threading.Thread(target=self._relay, daemon=True)
        self._reader.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self._reader.join(timeout=1)
            said = "".join(self._said)
            raise ChildError(f"verbatim ended with {code} before it served anything:\n{said}")
        ready = json.loads(line)
        self.url: str = ready["url"]
        self.model: str = ready["model"]
        self.fingerprint: str = ready["fingerprint"]
        self.pid: int = ready["pid"]

    def _relay(self) -> None:
        """Passes on what the child writes, and keeps the end of it for an error."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)
            print(line, end="", file=sys.stderr, flush=True)

    @property
    def headers(self) -> dict[str, str]:
        """What a request to it must bring."""
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def wait(self) -> int:
        """Waits for its end: the exit code, or minus the signal that killed it."""
        return self.process.wait()

    def stop(self, seconds: float = 35.0) -> int:
        """SIGTERM, so that streams may end (`--drain-seconds`); SIGKILL after so many seconds."""
        self.process.terminate()
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
