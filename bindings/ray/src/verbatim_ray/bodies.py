"""The JSON of bodies, which may be large: streams go on while one is read or written.

Python runs one thread at a time, and a call of `json` is a single step of C: in a thread of its own
it stops everything else as long. But the half of `json` that is written in Python gives way after
each value. So large bodies go through that, in one thread, one after the other.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from json.scanner import py_make_scanner  # type: ignore[attr-defined]
from typing import Any, TypeVar

from verbatim_ray.errors import Refused

T = TypeVar("T")

LARGE = 256 << 10
"""Bytes from which a body is large. What is smaller takes some ten milliseconds at most."""

_ASIDE = ThreadPoolExecutor(1, "verbatim-bodies")


class _Gradual(json.JSONDecoder):
    """The decoder, without C but for the text of strings."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.scan_once = py_make_scanner(self)


async def aside(size: int, work: Callable[..., T], *args: Any) -> T:
    """What `work` returns: of a body of so many bytes, which if it is large has its turn."""
    if size < LARGE:
        return work(*args)
    return await asyncio.get_running_loop().run_in_executor(_ASIDE, partial(work, *args))


def loads(raw: bytes, most: int | None = None) -> dict[str, Any] | None:
    """The body, if it is an object; an engine says best what is wrong with any other.

    Raises Refused (400) where it has more values and names than `most`: each takes far more memory
    than its text.
    """
    if most is not None and len(raw) >= most and _nodes(raw, most) > most:
        message = f"the body has more than {most} JSON values and names (option max_json_values)"
        raise Refused(400, None, message)
    try:
        # Of bytes `json` would take UTF-16, too, of which no values were counted.
        body = json.loads(raw.decode(), cls=_Gradual if len(raw) >= LARGE else None)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def dumps(value: Any, size: int, **how: Any) -> bytes:
    """As `json.dumps`; `size` is that of the body from which the value came."""
    encoder = json.JSONEncoder(**how)
    return (encoder.encode(value) if size < LARGE else "".join(encoder.iterencode(value))).encode()


def beginning(value: Any, most: int) -> str:
    """So many characters of its JSON, or those before it is too deep, without writing all of it."""
    written = ""
    # What is nested too deep for Python may not be so for C, which has read it.
    with contextlib.suppress(RecursionError):
        for part in json.JSONEncoder().iterencode(value):
            written += part
            if len(written) >= most:
                break
    return written[:most]


def _nodes(raw: bytes, most: int) -> int:
    """How many values and names a text has that is JSON, or more than `most` if it has more."""
    plain = raw.replace(rb"\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * most:
        return most + 1
    outside = b"".join(plain.split(b'"')[::2])
    return 1 + sum(map(outside.count, (b",", b":", b"[", b"{")))
