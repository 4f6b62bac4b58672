"""Two servers of one model, which can be killed and started again, and a small HTTP client."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0  # seconds for whatever should take one


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def eventually(what, condition) -> None:
    """Waits until a condition holds."""
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until, f"{what} did not happen within {DEADLINE} s"
        time.sleep(0.02)


def ask(url: str, path: str, body=None, headers=None) -> tuple[int, dict, bytes]:
    """Status, headers and body of an answer. Raises OSError or HTTPException where it was cut."""
    connection = connect(url)
    try:
        return ask_on(connection, path, body, headers)
    finally:
        connection.close()


def connect(url: str) -> http.client.HTTPConnection:
    at = urlsplit(url)
    return http.client.HTTPConnection(at.hostname, at.port, timeout=DEADLINE)


def ask_on(connection, path: str, body=None, headers=None) -> tuple[int, dict, bytes]:
    """As `ask`, on a connection that may have others behind it."""
    data = None if body is None else json.dumps(body)
    method = "GET" if body is None else "POST"
    connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
    answer = connection.getresponse()
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()


def is_well(url: str, path: str) -> bool:
    try:
        return ask(url, path)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


class Stream:
    """The events of a streamed answer, and whether it was said to be whole."""

    def __init__(self, url: str, path: str, body: dict, on_event=lambda count: None) -> None:
        self.status, self.events, self.is_done, self.error = 0, [], False, None
        connection = connect(url)
        try:
            data = json.dumps({**body, "stream": True})
            connection.request("POST", path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self.status = answer.status
            if self.status != 200:
                self.error = {"message": answer.read(2000).decode(), "code": self.status}
            for line in iter(answer.readline, b""):
                if line.startswith(b"data: [DONE]"):
                    self.is_done = True
                elif line.startswith(b"data: "):
                    event = json.loads(line.removeprefix(b"data: "))
                    if "error" in event:
                        self.error = event["error"]
                    else:
                        self.events.append(event)
                        on_event(len(self.events))
            # A cut between two chunks reads as the end of the body.
        except (OSError, http.client.HTTPException) as error:
            self.error = self.error or {"message": repr(error), "cut": True}
        finally:
            connection.close()

    @property
    def is_whole(self) -> bool:
        """What a client has to look at: `[DONE]`, and no error before it."""
        return self.is_done and self.error is None

    def choices(self) -> list[dict]:
        return [choice for event in self.events for choice in event["choices"]]

    def ids(self) -> list[int]:
        return [i for choice in self.choices() for i in choice.get("token_ids") or []]

    def text(self) -> str:
        return "".join(choice.get("text") or "" for choice in self.choices())


class Servers:
    """The servers `a` and `b`, each at one address for its whole life."""

    def __init__(self, program: str, folder: Path) -> None:
        # The built-in model with a longer context, so that an answer takes long enough to be cut.
        model = folder / "demo"
        shutil.copytree(ROOT / "host-linux/demo/model", model)
        config = (model / "config.json").read_text()
        longer = re.sub(r'"max_position_embeddings": \d+', '"max_position_embeddings": 4096', config)
        (model / "config.json").write_text(longer)
        self.command = [
            program,
            "serve",
            "--model",
            str(model),
            "--served-model-name",
            "demo",
            "--threads",
            "1",
        ]
        self.folder, self.ports, self.processes = folder, [free_port(), free_port()], [None, None]
        for index in range(2):
            self.start(index)

    def url(self, index: int) -> str:
        return f"http://127.0.0.1:{self.ports[index]}"

    def start(self, index: int, *flags: str) -> None:
        log = (self.folder / f"server-{index}.log").open("a")
        command = [*self.command, "--port", str(self.ports[index]), *flags]
        self.processes[index] = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "VERBATIM_LOG": "off"}
        )
        log.close()
        eventually("a server's start", lambda: is_well(self.url(index), "/ready"))

    def end(self, index: int, strike: int = signal.SIGKILL) -> int:
        """Sends a signal to a server, and waits for its end: its exit code."""
        self.processes[index].send_signal(strike)
        return self.processes[index].wait(DEADLINE)

    def stop(self) -> None:
        for process in self.processes:
            if process and process.poll() is None:
                process.kill()
                process.wait()
