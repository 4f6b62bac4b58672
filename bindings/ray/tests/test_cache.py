"""Answers that are kept: equal bytes, bounded room, and no failure that a request would see."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from verbatim_ray import cache
from verbatim_ray.cache import Cache, Disk, Memory, open_cache


def test_the_key_is_of_what_is_asked_not_of_how_it_is_written() -> None:
    body = {"prompt": "a", "seed": 1, "temperature": 1.0}
    same = cache.key("vb-1", "/v1/completions", body)
    reordered = dict(reversed(body.items()))
    silent = {**body, "priority": 3, "request_id": "x"}
    assert cache.key("vb-1", "/v1/completions", reordered) == same
    assert cache.key("vb-1", "/v1/completions", silent) == same
    others = [
        cache.key("vb-2", "/v1/completions", body),
        cache.key("vb-1", "/v1/chat/completions", body),
        cache.key("vb-1", "/v1/completions", body, "somebody"),
        *(
            cache.key("vb-1", "/v1/completions", {**body, **more})
            for more in (
                {"seed": 2},
                {"n": 2},
                {"stream": True},
                {"stop": "x"},
                {"user": "y"},
                {"x": None},
            )
        ),
    ]
    assert len({same, *others}) == 1 + len(others)


def keep(store: Cache, name: str, answer: bytes) -> None:
    asyncio.run(store.put(name, "text/event-stream", answer))


def kept(store: Cache, name: str) -> bytes | None:
    found = asyncio.run(store.get(name))
    assert found is None or found[0] == "text/event-stream"
    return found and found[1]


@pytest.fixture(params=["memory", "disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Cache:
    made = open_cache("memory" if request.param == "memory" else str(tmp_path / "kept"), 1000)
    assert made is not None
    return made


def test_what_is_kept_comes_back(store: Cache) -> None:
    assert kept(store, "a") is None
    keep(store, "a", b"one\n\ntwo")
    keep(store, "a", b"one\n\ntwo")
    assert kept(store, "a") == b"one\n\ntwo"
    assert store.failures == 0


def test_room_is_bounded_and_the_last_used_stay(store: Cache) -> None:
    for at in range(20):
        keep(store, str(at), bytes(100))
        kept(store, "0")
        if isinstance(store._store, Disk):  # files have times of their own
            for file in store._store._folder.iterdir():
                os.utime(file, (0, 10**9 if file.stem == "0" else int(file.stem)))
    alive = [at for at in range(20) if kept(store, str(at)) is not None]
    assert alive[0] == 0 and alive[-1] == 19
    assert 3 <= len(alive) <= 6
    keep(store, "large", bytes(store.max_answer + 1))
    assert kept(store, "large") is None


def test_a_torn_or_foreign_file_is_a_miss(tmp_path: Path) -> None:
    store = Cache(Disk(str(tmp_path), 1000))
    keep(store, "a", b"x" * 50)
    whole = (tmp_path / "a.answer").read_bytes()
    for torn in (whole[:-1], whole[:40], b"", b"y" + whole[1:]):
        (tmp_path / "a.answer").write_bytes(torn)
        assert kept(store, "a") is None
    assert not list(tmp_path.glob(".new-*"))


def test_a_folder_of_others_keeps_what_it_has(tmp_path: Path) -> None:
    for name in ("a.gguf", "notes"):
        (tmp_path / name).write_bytes(bytes(5000))
        os.utime(tmp_path / name, (0, 0))
    store = Cache(Disk(str(tmp_path), 1000))
    for at in range(20):
        keep(store, str(at), bytes(100))
    assert store.failures == 0
    assert len(list(tmp_path.glob("*.answer"))) <= 6
    assert (tmp_path / "a.gguf").exists() and (tmp_path / "notes").exists()


def test_two_processes_share_a_folder(tmp_path: Path) -> None:
    stores = [Cache(Disk(str(tmp_path), 10_000)) for _ in range(2)]
    for at in range(400):
        keep(stores[at % 2], str(at), bytes(100))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 12_000
    assert kept(stores[0], "399") == bytes(100)


def test_a_disk_that_is_full_is_no_error(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", small])
    if mounted.returncode != 0:
        pytest.skip("skipped: a disk that is full (only root may mount one)")
    try:
        store = Cache(Disk(str(small), 1 << 30))
        keep(store, "fits", bytes(10_000))
        for at in range(10):
            keep(store, str(at), bytes(20_000))
        assert store.failures >= 7
        assert kept(store, "fits") == bytes(10_000)
        assert not list(small.glob(".new-*")), "nothing half written stays"
    finally:
        subprocess.run(["umount", small], check=True)


def test_an_answer_of_another_model_is_not_kept() -> None:
    store = Cache(Memory(1000))
    place = cache.Place(store, "vb-1", "key")
    asyncio.run(place.put("text/event-stream", b"new", "vb-2"))
    assert asyncio.run(place.get()) is None
    asyncio.run(place.put("text/event-stream", b"old", "vb-1"))
    assert asyncio.run(place.get()) == ("text/event-stream", b"old")


def test_a_store_that_fails_or_hangs_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        asked = 0

        async def get(self, key: str) -> bytes | None:
            self.asked += 1
            raise ConnectionError(key)

        async def put(self, key: str, value: bytes) -> None:
            await asyncio.sleep(3600)

    store = Cache(Broken(), seconds=0.05)
    assert kept(store, "a") is None
    keep(store, "a", b"b")
    assert store.failures == 2
    assert kept(store, "a") is None
    assert store._store.asked == 1, "who was silent is not waited for again"  # type: ignore[attr-defined]
    monkeypatch.setattr(cache, "REST_S", 0.0)
    store._rests_until = 0.0
    assert kept(store, "a") is None
    assert store._store.asked == 2  # type: ignore[attr-defined]


def test_where_it_may_be(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    assert open_cache(None, 1) is None
    assert open_cache("", 1) is None
    objects = open_cache(f"file://{tmp_path}/objects", 1)
    assert objects is not None
    assert kept(objects, "a") is None
    (tmp_path / "objects").mkdir()
    keep(objects, "a", b"b")
    assert kept(objects, "a") == b"b"
    assert isinstance(open_cache("memory", 1)._store, Memory)  # type: ignore[union-attr]
