"""A server of our own: it starts, says why it does not, and ends with whoever started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import get, post, until
from verbatim_ray import binary as binaries
from verbatim_ray.child import Child, ChildError


def test_it_serves_only_who_has_the_key(binary: str) -> None:
    child = Child(binary, ["--threads", "1"])
    try:
        assert get(child.url, "/health")["status"] == "ok"
        body = {"prompt": "a", "max_tokens": 1}
        assert post(child.url, "/v1/completions", body)[0] == 401
        assert post(child.url, "/v1/completions", body, child.headers)[0] == 200
        command = Path(f"/proc/{child.pid}/cmdline").read_bytes()
        assert child.key.encode() not in command
    finally:
        assert child.stop() == 0
    assert not child.alive


def test_it_says_why_it_does_not_start(binary: str) -> None:
    with pytest.raises(ChildError, match="/nowhere"):
        Child(binary, ["--model", "/nowhere"])


def test_it_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "verbatim"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.delenv("VERBATIM_BINARY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.find() == str(program)
    monkeypatch.setenv("VERBATIM_BINARY", str(tmp_path / "other"))
    with pytest.raises(FileNotFoundError, match="other"):
        binaries.find()
    assert binaries.find(str(program)) == str(program)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_with_its_parent(binary: str, number: signal.Signals) -> None:
    code = (
        "import sys, time; from verbatim_ray.child import Child;"
        "child = Child(sys.argv[1]); print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, binary], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    os.kill(parent.pid, number)
    parent.wait()
    until("the child is gone", lambda: not Path(f"/proc/{pid}").exists())


def test_it_outlives_the_thread_that_started_it(binary: str) -> None:
    """PR_SET_PDEATHSIG is of the thread that forks, and Ray starts replicas on any."""
    import threading

    made: list[Child] = []
    thread = threading.Thread(target=lambda: made.append(Child(binary)))
    thread.start()
    thread.join()
    child = made[0]
    try:
        until("it has answered", lambda: get(child.url, "/health")["status"] == "ok")
        with pytest.raises(subprocess.TimeoutExpired):
            child.process.wait(timeout=1.5)
        assert get(child.url, "/health")["status"] == "ok"
    finally:
        child.stop()
