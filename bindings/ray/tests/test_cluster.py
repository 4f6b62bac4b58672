"""Ray itself: nodes, actors and engines die under streams, and what went wrong with Ray before.

Events are slowed down (`slow.py`), so that all of this happens in the middle of a stream.
"""

import asyncio
import http.client
import json
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from helpers import get, kill, post, until
from kinds import KINDS, TEXT, compared
from verbatim_ray import stream
from verbatim_ray.child import Child
from verbatim_ray.patience import HEADER

pytestmark = pytest.mark.cluster

NAMED = {"x-request-id": "same", "Content-Type": "application/json"}
SLOW = str(Path(__file__).with_name("slow.py"))


def listen(
    nodes: Any, kind: str, at: int | None = None, strike: Callable[[dict[str, Any]], None] = print
) -> tuple[bytes, int]:
    """A stream, and events after which something happened to the replica that began it."""
    path, body = KINDS[kind]
    connection = http.client.HTTPConnection("127.0.0.1", nodes.port, timeout=120)
    connection.request("POST", path, json.dumps({**body, "stream": True}), NAMED)
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    serving = reply.headers["x-verbatim-replica"]
    raw, count = b"", 0
    while line := reply.readline():
        raw += line
        count += line.startswith(b"data: {")
        if line == b"\n" and count == at:
            at, struck = None, next(one for one in nodes.who() if one["replica"] == serving)
            strike(struck)
    connection.close()
    return raw, count


def alone(solo: Child, kind: str) -> dict[int, list[Any]]:
    path, body = KINDS[kind]
    raw = post(solo.url, path, {**body, "stream": True}, {**NAMED, **solo.headers})[2]
    return compared(raw)


def begin(nodes: Any, **options: Any) -> None:
    given: dict[str, Any] = {"binary": SLOW, "cache": "", "hedge_s": 0, "drain_s": 15}
    given |= options
    nodes.run(**given)


@pytest.mark.parametrize(
    ("kind", "at"),
    [
        ("text", 1),
        pytest.param("text", 15, marks=pytest.mark.quick),
        ("chat", 18),
        pytest.param("choices", 9, marks=pytest.mark.quick),
        pytest.param("tools", 4, marks=pytest.mark.quick),
        ("stop", 7),
    ],
)
def test_the_engine_is_killed(nodes: Any, solo: Child, kind: str, at: int) -> None:
    begin(nodes)
    raw, _ = listen(nodes, kind, at, lambda one: kill(one["pid"]))
    assert compared(raw) == alone(solo, kind)
    nodes.ready(2)


@pytest.mark.quick
def test_the_actor_is_killed(nodes: Any, solo: Child) -> None:
    begin(nodes)
    children: list[int] = []

    def strike(one: dict[str, Any]) -> None:
        children.append(one["pid"])
        kill(one["actor"])

    raw, _ = listen(nodes, "schema", 5, strike)
    assert compared(raw) == alone(solo, "schema")
    until("its engine has ended, too", lambda: not Path(f"/proc/{children[0]}").exists())
    nodes.ready(2)


@pytest.mark.quick
def test_the_engine_or_the_actor_is_stopped(nodes: Any, solo: Child) -> None:
    """Two engines are asked in one request here, which Ray's router would confuse."""
    begin(nodes, hedge_s=0.3, first_hedge_s=3)
    for victim in ("pid", "actor"):
        struck: list[int] = []

        def strike(one: dict[str, Any], victim: str = victim, struck: list[int] = struck) -> None:
            struck.append(one[victim])
            kill(one[victim], signal.SIGSTOP)

        try:
            raw, _ = listen(nodes, "choices", 6, strike)
            assert compared(raw) == alone(solo, "choices")
        finally:
            for pid in struck:
                kill(pid, signal.SIGCONT)
        nodes.ready(2)


def test_an_actor_that_is_stopped_before_the_request_is_not_asked_twice(
    nodes: Any, solo: Child
) -> None:
    """A stopped replica never says who it is, so whoever hedges must know whom it asked."""
    begin(nodes, hedge_s=0.3, first_hedge_s=0.5)
    _, _ = listen(nodes, "text")
    path, body = KINDS["text"]
    told = post(nodes.url, path, {**body, "max_tokens": 1}, NAMED)[1]
    victim = next(at for at in nodes.who() if at["replica"] == told["x-verbatim-replica"])
    kill(victim["actor"], signal.SIGSTOP)
    kill(victim["pid"], signal.SIGSTOP)
    try:
        # Until the front has heard of all replicas it may not ask the one that it asked before.
        for _ in range(5):
            raw, _ = listen(nodes, "text")
            assert compared(raw) == alone(solo, "text")
            if get(nodes.url, "/health").get("hedges"):
                break
        assert get(nodes.url, "/health")["hedges"] >= 1
    finally:
        kill(victim["actor"], signal.SIGCONT)
        kill(victim["pid"], signal.SIGCONT)
    nodes.ready(2)


def test_a_node_is_removed(nodes: Any, solo: Child) -> None:
    begin(nodes)
    raw, _ = listen(nodes, "text", 5, lambda one: nodes.remove(one["node"]))
    assert compared(raw) == alone(solo, "text")
    nodes.add()
    nodes.ready(2)


def test_the_engine_is_asked_to_stop(nodes: Any, solo: Child) -> None:
    begin(nodes)
    raw, _ = listen(nodes, "text", 5, lambda one: kill(one["pid"], signal.SIGTERM))
    assert compared(raw) == alone(solo, "text")
    nodes.ready(2)


def test_replicas_that_leave_end_no_stream(nodes: Any, solo: Child) -> None:
    """Ray starts all replicas anew here, one after the other, and has one less of them then."""
    begin(nodes)
    with ThreadPoolExecutor(6) as many:
        streams = [many.submit(listen, nodes, "text") for _ in range(6)]
        time.sleep(0.3)
        begin(nodes, replicas=1)
        for one in streams:
            assert compared(one.result()[0]) == alone(solo, "text")


def test_all_replicas_are_dead(nodes: Any) -> None:
    begin(nodes, wait_s=0.5, attempts=2)
    all_of_them = nodes.who()
    for one in all_of_them:
        kill(one["actor"], signal.SIGSTOP)
        kill(one["pid"])
    try:
        path, body = KINDS["text"]
        status, headers, raw = post(nodes.url, path, {**body, "stream": True}, NAMED)
        assert status == 503
        assert "retry-after" in headers
        assert json.loads(raw)["error"]["resumable"] is True
        # A client that was told 200 before must not take the error for an answer.
        connection = http.client.HTTPConnection("127.0.0.1", nodes.port, timeout=60)
        whole = json.dumps({**body, "stream_options": None})
        connection.request("POST", path, whole, {**NAMED, HEADER: "0.02"})
        with pytest.raises(http.client.IncompleteRead) as broken:
            connection.getresponse().read()
        assert json.loads(broken.value.partial)["error"]["code"] == "no_replica"
    finally:
        for one in all_of_them:
            kill(one["actor"], signal.SIGCONT)
    nodes.ready(2)


def test_the_front_is_started_again_and_the_client_goes_on(nodes: Any, solo: Child) -> None:
    begin(nodes)
    path, body = KINDS["choices"]
    front = [at for at in _named("ServeReplica:verbatim:Front") if at]

    async def told() -> list[dict[str, Any]]:
        events = []
        async for event in stream(nodes.url, path, body, NAMED, attempts=60):
            events.append(event)
            if len(events) == 6:
                for pid in front:
                    kill(pid)
        return events

    assert front
    seen = asyncio.run(told())
    raw = b"".join(b"data: " + json.dumps(at).encode() + b"\n\n" for at in seen)
    assert compared(raw + b"data: [DONE]\n\n") == alone(solo, "choices")
    until(
        "a front is there again", lambda: _named("ServeReplica:verbatim:Front") not in ([], front)
    )


def _named(name: str) -> list[int]:
    """Processes whose command line begins so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if name in path.read_text():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.quick
def test_children_of_actors_live_on(nodes: Any, binary: str) -> None:
    """A `preexec_fn` in a Ray worker brought an alarm along that killed servers after 3 s."""
    import ray

    @ray.remote(num_cpus=0)
    class Starter:
        def start(self, count: int) -> None:
            self.children = [Child(binary, ["--threads", "1"]) for _ in range(count)]

        def alive(self) -> list[bool]:
            return [child.alive for child in self.children]

        def end(self) -> list[int]:
            return [child.stop() for child in self.children]

    starters = [Starter.remote() for _ in range(2)]  # type: ignore[attr-defined]
    ray.get([one.start.remote(4) for one in starters])
    time.sleep(4)
    assert ray.get([one.alive.remote() for one in starters]) == [[True] * 4] * 2
    assert ray.get([one.end.remote() for one in starters]) == [[0] * 4] * 2


@pytest.mark.quick
def test_many_requests_at_once(nodes: Any, solo: Child) -> None:
    """Calls of several requests wait in Ray's router together; each finds its own replica."""
    begin(nodes)
    path, body = KINDS["chat"]
    with ThreadPoolExecutor(16) as many:
        sent = {**body, "stream": True}
        raws = list(many.map(lambda _: post(nodes.url, path, sent, NAMED)[2], range(32)))
    expected = alone(solo, "chat")
    assert all(compared(raw) == expected for raw in raws)


@pytest.mark.slow
def test_random_kills(nodes: Any, solo: Child) -> None:
    """200 requests of all kinds, four at once, while engines and actors die: all are equal."""
    import random

    begin(nodes, hedge_s=1.0, attempts=8)
    expected = {kind: alone(solo, kind) for kind in KINDS}
    drawn, over, strikes = random.Random(1), threading.Event(), [0]

    def strike() -> None:
        while not over.wait(drawn.uniform(0.5, 2.5)):
            if not (found := nodes.who()):
                continue
            one, how = drawn.choice(found), drawn.choice(["pid", "pid", "actor", "stop"])
            strikes[0] += 1
            if how == "stop":
                kill(one["pid"], signal.SIGSTOP)
                threading.Timer(2.0, kill, (one["pid"], signal.SIGCONT)).start()
            else:
                kill(one[how])

    striker = threading.Thread(target=strike)
    striker.start()
    kinds = [drawn.choice(list(KINDS)) for _ in range(200)]
    try:
        with ThreadPoolExecutor(4) as many:
            heard = many.map(lambda at: listen(nodes, at), kinds)
            for kind, (raw, _) in zip(kinds, heard, strict=True):
                assert compared(raw) == expected[kind], kind
    finally:
        over.set()
        striker.join()
    counts = get(nodes.url, "/health")
    print(f"{strikes[0]} strikes; the front counts {counts}")
    assert strikes[0] >= 10
    assert counts["failures"] >= 5


def test_an_update_changes_nothing_for_streams(nodes: Any, solo: Child) -> None:
    """A replica of another fingerprint comes while a stream runs, which it never goes on with."""
    begin(nodes)
    with ThreadPoolExecutor(1) as one:
        running = one.submit(listen, nodes, "text")
        time.sleep(0.3)
        begin(nodes, args="--kv f32")
        raw = running.result()[0]
    assert compared(raw) == alone(solo, "text")
    status, _, raw = post(nodes.url, TEXT, {"prompt": "a", "max_tokens": 1})
    assert status == 200
    assert json.loads(raw)["system_fingerprint"] != solo.fingerprint


def test_serve_run_takes_the_arguments(nodes: Any) -> None:
    """`serve run verbatim_ray:app` builds the application from its words."""
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build

    from verbatim_ray import app

    built = build(app, {"replicas": "3", "threads": "2", "hedge_s": "0", "args": "--kv f32"})
    assert built is not None
    with pytest.raises(Exception, match="replica_count"):
        build(app, {"replica_count": "3"})
