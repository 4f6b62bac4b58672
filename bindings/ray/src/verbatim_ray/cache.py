"""Answers that were given before, kept byte for byte.

With a seed an answer is a function of the fingerprint and the request, at any temperature. So it
can be kept in any store for any time, and nothing in it is ever out of date. A store that fails,
is slow or is full is a miss: no request ever fails by it.
"""

import asyncio
import collections
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from verbatim_ray import bodies

T = TypeVar("T")

# They change no byte of an answer. What else a server ignores it names in its answer, null or not.
_WITHOUT_EFFECT = ("priority", "request_id")
_CHECK = 32

REST_S = 5.0
"""Seconds for which a store is not asked that did not answer in time."""


def key(fingerprint: str, path: str, body: dict[str, Any], tenant: str = "", size: int = 0) -> str:
    """The key of an answer, in hexadecimal: equal for bodies that ask for the same bytes.

    `tenant` keeps answers apart, so that nobody learns from the time of an answer what others ask.
    `size` is that of the body's text, as for `bodies.dumps`.
    """
    same = {name: at for name, at in body.items() if name not in _WITHOUT_EFFECT}
    asked = [fingerprint, path, tenant, same]
    written = bodies.dumps(asked, size, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(written).hexdigest()


class Store(Protocol):
    """Bytes by key. What a store raises, `Cache` takes as a miss."""

    async def get(self, key: str) -> bytes | None:
        """The bytes, or None."""

    async def put(self, key: str, value: bytes) -> None:
        """Keeps bytes, perhaps in place of others."""


class Memory:
    """In this process; those that were asked for longest ago go first."""

    def __init__(self, max_bytes: int) -> None:
        self._kept: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self._room = max_bytes

    async def get(self, key: str) -> bytes | None:
        if (value := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes) -> None:
        self._room += len(self._kept.pop(key, b"")) - len(value)
        self._kept[key] = value
        while self._room < 0:
            self._room += len(self._kept.popitem(last=False)[1])


class Disk:
    """A file for each answer in a folder, which several processes may share.

    Nothing else in the folder is touched. All files are looked at only when as much was written as
    the last look had left free, so a process may go beyond the room by a tenth of it.
    """

    END = ".answer"

    def __init__(self, folder: str, max_bytes: int) -> None:
        self._folder, self._max, self._free = Path(folder), max_bytes, 0
        self._folder.mkdir(parents=True, exist_ok=True)

    async def get(self, key: str) -> bytes | None:
        return await asyncio.to_thread(self._read, self._folder / (key + self.END))

    async def put(self, key: str, value: bytes) -> None:
        await asyncio.to_thread(self._write, self._folder / (key + self.END), value)

    def _read(self, path: Path) -> bytes | None:
        try:
            os.utime(path)  # its time is when it was last asked for
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, path: Path, value: bytes) -> None:
        self._free -= len(value)
        if self._free < 0:
            self._trim(len(value))
        handle, name = tempfile.mkstemp(prefix=".new-", suffix=self.END, dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(value)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise

    def _trim(self, coming: int) -> None:
        """Removes the files that were asked for longest ago, until a tenth of the room is free."""
        files = []
        for at in os.scandir(self._folder):
            with contextlib.suppress(FileNotFoundError):  # another process trims, too
                if at.name.endswith(self.END):
                    files.append((at.stat(), at.path))
        total = coming + sum(stat.st_size for stat, _ in files)
        for stat, path in sorted(files, key=lambda file: file[0].st_mtime):
            if total <= self._max - self._max // 10:
                break
            Path(path).unlink(missing_ok=True)
            total -= stat.st_size
        self._free = self._max - total


class Redis:
    """A Redis server, which has its own rule for what it drops (`maxmemory-policy`)."""

    def __init__(self, url: str) -> None:
        from redis import asyncio as redis  # noqa: PLC0415 (only for who uses it)

        self._redis = redis.from_url(url)

    async def get(self, key: str) -> bytes | None:
        return cast(bytes | None, await self._redis.get("verbatim:" + key))

    async def put(self, key: str, value: bytes) -> None:
        await self._redis.set("verbatim:" + key, value)


class Objects:
    """Whatever fsspec has a filesystem for, such as s3://bucket/folder."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs  # noqa: PLC0415 (only for who uses it)

        self._files, self._root = url_to_fs(url)

    async def get(self, key: str) -> bytes | None:
        try:
            return cast(bytes, await asyncio.to_thread(self._files.cat_file, f"{self._root}/{key}"))
        except FileNotFoundError:
            return None

    async def put(self, key: str, value: bytes) -> None:
        await asyncio.to_thread(self._files.pipe_file, f"{self._root}/{key}", value)


class Cache:
    """A store whose contents are checked, and whose failures are misses."""

    def __init__(self, store: Store, max_answer: int = 1 << 20, seconds: float = 0.5) -> None:
        """`max_answer`: bytes of an answer that is kept; `seconds`: how long a store may take."""
        self._store, self.max_answer, self._seconds = store, max_answer, seconds
        self._rests_until = 0.0
        self.failures = 0

    async def get(self, key: str) -> tuple[str, bytes] | None:
        """The media type and bytes of an answer."""
        kept = await self._try(lambda: self._store.get(key))
        if kept is None or hashlib.sha256(kept[_CHECK:]).digest() != kept[:_CHECK]:
            return None
        kind, _, answer = kept[_CHECK:].partition(b"\n")
        return kind.decode(), answer

    async def put(self, key: str, kind: str, answer: bytes) -> None:
        """Keeps an answer, if it is not too large."""
        value = kind.encode() + b"\n" + answer
        if len(answer) <= self.max_answer:
            checked = hashlib.sha256(value).digest() + value
            await self._try(lambda: self._store.put(key, checked))

    async def _try(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Asks the store. One that was silent is left alone for a while: few wait for it."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            return await asyncio.wait_for(work(), self._seconds)
        except TimeoutError:
            self._rests_until = time.monotonic() + REST_S
        except Exception:
            pass
        self.failures += 1
        return None


class Place:
    """Where the answer to one request may be kept."""

    def __init__(self, cache: Cache, fingerprint: str, key: str) -> None:
        """For answers of this fingerprint, which is in the key, too."""
        self._cache, self._fingerprint, self._key = cache, fingerprint, key
        self.max_answer = cache.max_answer

    async def get(self) -> tuple[str, bytes] | None:
        """The media type and bytes of the answer."""
        return await self._cache.get(self._key)

    async def put(self, kind: str, answer: bytes, fingerprint: str | None) -> None:
        """Keeps the answer, unless another model gave it: replicas may just be replaced."""
        if fingerprint == self._fingerprint:
            await self._cache.put(self._key, kind, answer)


def open_cache(where: str | None, max_bytes: int) -> Cache | None:
    """`memory`, a folder, redis://…, or a URL that fsspec knows; None where nothing is kept."""
    if not where:
        return None
    if where == "memory":
        return Cache(Memory(max_bytes))
    if where.startswith(("redis://", "rediss://", "unix://")):
        return Cache(Redis(where))
    if "://" in where:
        return Cache(Objects(where), seconds=2.0)
    return Cache(Disk(where, max_bytes))
