"""The stores of others, against real servers: Redis, and S3 as moto serves it.

Skipped by name where they are not installed.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from helpers import SCALE, free_port, post, until
from kinds import KINDS
from verbatim_ray import cache
from verbatim_ray.cache import Cache, Objects, Redis, open_cache

if TYPE_CHECKING:
    from local import Local

KIND = "text/event-stream"
ANSWER = b"data: \x00\xff\n\n" * 50


class Server:
    """A Redis server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *flags: str) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*command, *flags], cwd=self.folder, stdout=subprocess.DEVNULL
        )
        until("Redis answers", lambda: asyncio.run(self._answers()))

    async def _answers(self) -> bool:
        from redis import asyncio as redis

        client = redis.from_url(self.url)
        try:
            return bool(await client.ping())
        except redis.ConnectionError:
            return False
        finally:
            await client.aclose()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def opened(url: str) -> Cache:
    """A cache whose store may take its time: this machine may be busy."""
    made = open_cache(url, 1)
    assert made is not None
    made._seconds = 10 * SCALE
    return made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    pytest.importorskip("redis", reason="skipped: the cache in Redis (the client is missing)")
    if not shutil.which("redis-server"):
        pytest.skip("skipped: the cache in Redis (redis-server is missing)")
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


def test_redis_keeps_answers_for_all_fronts(server: Server) -> None:
    async def run() -> None:
        one, other = opened(server.url), opened(server.url)
        assert isinstance(one._store, Redis)
        assert await one.get("a") is None
        await one.put("a", KIND, ANSWER)
        assert await other.get("a") == (KIND, ANSWER)
        assert await other.get("b") is None
        large = bytes(one.max_answer)
        await asyncio.gather(*(one.put(str(at), KIND, large) for at in range(4)))
        assert [await other.get(str(at)) for at in range(4)] == [(KIND, large)] * 4
        assert one.failures == other.failures == 0

    asyncio.run(run())


def test_redis_that_is_full_has_misses(server: Server) -> None:
    server.kill()
    server.start("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")

    async def run() -> None:
        store = opened(server.url)
        await store.put("fits", KIND, ANSWER)
        for at in range(8):
            await store.put(str(at), KIND, bytes(500_000))
        assert store.failures >= 1
        assert await store.get("fits") == (KIND, ANSWER)
        assert await store.get("7") is None

    asyncio.run(run())


def test_redis_that_is_silent_or_dead_has_misses(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        store = opened(server.url)
        assert server.process
        await store.put("a", KIND, ANSWER)
        store._seconds = 0.2
        os.kill(server.process.pid, signal.SIGSTOP)
        assert await store.get("a") is None
        assert await store.get("a") is None
        assert store.failures == 1, "it is not waited for again"
        os.kill(server.process.pid, signal.SIGCONT)
        store._seconds = 10 * SCALE
        monkeypatch.setattr(cache, "REST_S", 0.0)
        store._rests_until = 0.0
        assert await store.get("a") == (KIND, ANSWER)
        assert await store.get("b") is None, "never the answer to another question"
        server.kill()
        assert await store.get("a") is None
        await store.put("b", KIND, ANSWER)
        await asyncio.to_thread(server.start)
        assert await store.get("a") is None, "nothing was saved"
        await store.put("a", KIND, ANSWER)
        assert await store.get("a") == (KIND, ANSWER)

    asyncio.run(run())


def test_what_one_front_was_answered_another_finds_in_redis(server: Server, local: "Local") -> None:
    path, body = KINDS["text"]
    body = {**body, "stream": True}
    first = local.serve(cache=server.url)
    post(first, path, {**body, "seed": 9})  # from now on the front knows the fingerprint
    miss = post(first, path, body)
    second = local.serve(cache=server.url)
    post(second, path, {**body, "seed": 9})
    hit = until("the answer is kept", lambda: _hit(post(second, path, body)))
    assert miss[1]["x-verbatim-cache"] == "miss"
    assert hit[2] == miss[2]


def _hit(reply: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes] | None:
    return reply if reply[1]["x-verbatim-cache"] == "hit" else None


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    reason = "skipped: the cache in S3 (s3fs or moto[server] is missing)"
    pytest.importorskip("s3fs", reason=reason)
    moto = pytest.importorskip("moto.server", reason=reason)
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{(port := free_port())}"),
    ):
        monkeypatch.setenv(name, value)
    service = moto.ThreadedMotoServer("127.0.0.1", port, verbose=False)
    service.start()
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("answers")
    yield "s3://answers/of/verbatim"
    s3fs.S3FileSystem.clear_instance_cache()
    with contextlib.suppress(RuntimeError):
        service.stop()


def test_s3_keeps_answers_for_all_fronts(bucket: str) -> None:
    async def run() -> None:
        one, other = opened(bucket), opened(bucket)
        assert isinstance(one._store, Objects)
        assert await one.get("a") is None
        await one.put("a", KIND, ANSWER)
        assert await other.get("a") == (KIND, ANSWER)
        assert await other.get("b") is None
        await one.put("a", KIND, b"anew")
        assert await other.get("a") == (KIND, b"anew"), "nothing of it is remembered here"
        await asyncio.gather(*(one.put(str(at), KIND, bytes(200_000)) for at in range(4)))
        assert await other.get("3") == (KIND, bytes(200_000))
        assert one.failures == other.failures == 0
        nowhere = opened("s3://no-such-bucket/x")
        assert await nowhere.get("a") is None
        await nowhere.put("a", KIND, b"a")
        assert nowhere.failures >= 1

    asyncio.run(run())
