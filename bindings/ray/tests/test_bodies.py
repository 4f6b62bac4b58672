"""Bodies of any size, read and written without a pause for the streams of others."""

import asyncio
import json
import sys
import threading
from functools import partial
from typing import Any

import pytest

from helpers import SCALE
from verbatim_ray import bodies, cache
from verbatim_ray.errors import Refused


@pytest.fixture(autouse=True)
def soon_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few thousand values are enough to see what becomes of large bodies."""
    monkeypatch.setattr(bodies, "LARGE", 20_000)


def large(unit: str) -> bytes:
    """A body with very many of these."""
    return f'{{"prompt":[{",".join([unit] * (bodies.LARGE // len(unit)))}],"n":1}}'.encode()


UNITS = (
    "1",
    "-0.5e-7",
    '"a\\\\"',
    '"\\"\\u00e9\\ud83d\\ude00\\ud800"',
    "[]",
    "{}",
    '{"é":[1,null]}',
    "true",
    "NaN",
)


@pytest.mark.parametrize("unit", UNITS)
def test_a_large_body_is_read_and_written_as_a_small_one(unit: str) -> None:
    raw = large(unit)
    body = bodies.loads(raw)
    assert body is not None
    written = bodies.dumps(body, len(raw), sort_keys=True)
    assert written == json.dumps(json.loads(raw), sort_keys=True).encode()
    small = json.loads(raw)["prompt"][:3]
    assert bodies.dumps(small, 0) == json.dumps(small).encode() == bodies.dumps(small, len(raw))
    asked = ("vb-1", "/v1/completions", body, "")
    assert cache.key(*asked, len(raw)) == cache.key(*asked)


def test_what_is_no_object_is_for_an_engine_to_refuse() -> None:
    pad = b" " * bodies.LARGE
    for wrong in (b"{", b"[1]", b'"x"', b"[" * 100_000, b'{"a":\xff}', b'{"a":' * 100_000, b""):
        assert bodies.loads(wrong) is None
        assert bodies.loads(wrong + pad) is None


def test_values_are_counted_before_they_take_memory() -> None:
    for raw, nodes in (
        (b"{}", 2),
        (b'{"a":"[[[[,,,,::::"}', 3),
        (rb'{"a":"\\",",":"\\\"{,{,\\\\"}', 5),
        (b"[1,2,3]", 4),
        (b'{"a":{"b":[]}}', 6),
    ):
        assert bodies.loads(raw, nodes) == bodies.loads(raw), raw
        with pytest.raises(Refused, match=f"more than {nodes - 1} JSON values .*max_json_values"):
            bodies.loads(raw, nodes - 1)
    with pytest.raises(Refused):
        bodies.loads(large("[]"), 1000)
    with pytest.raises(Refused):
        bodies.loads(large('""'), 1000)
    for kind in ("utf-16-le", "utf-32-be"):  # in which the escaped quote is not seen as such
        hidden = ('{"a":"\\"","b":[' + "[]," * 999 + "1]}").encode(kind)
        assert bodies.loads(hidden, 1000) is None
    assert bodies.loads(b"\xef\xbb\xbf{}") is None, "as an engine"


def test_streams_go_on_while_a_large_body_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread has the loop while numbers are read, and the reader is no step of C."""
    went_on, callers = threading.Event(), set()

    def number(digits: str) -> int:
        callers.add((threading.get_ident(), sys._getframe(1).f_code.co_name))
        assert went_on.wait(60 * SCALE), "the loop stands still"
        return int(digits)

    monkeypatch.setattr(bodies, "_Gradual", partial(bodies._Gradual, parse_int=number))

    async def run() -> Any:
        raw = large("1")
        reading = asyncio.ensure_future(bodies.aside(len(raw), bodies.loads, raw))
        await asyncio.sleep(0)  # it has begun
        went_on.set()
        return await reading

    body = asyncio.run(run())
    assert body["prompt"] == [1] * bodies.LARGE
    ((thread, caller),) = callers
    assert thread != threading.get_ident()
    assert caller == "_scan_once", "the half of `json` that is written in Python"


def test_a_large_body_is_written_value_by_value() -> None:
    callers = []

    class Watched(list[int]):
        def __iter__(self) -> Any:
            callers.append(sys._getframe(1).f_code.co_name)
            return super().__iter__()

    for size in (bodies.LARGE, 0):
        assert bodies.dumps(Watched([1, 2, 3]), size) == b"[1, 2, 3]"
    assert callers[0] == "_iterencode_list", "the half of `json` that is written in Python"
    assert "_iterencode_list" not in callers[1:]


def test_only_what_is_large_has_a_turn() -> None:
    async def threads() -> list[int]:
        sizes = (0, bodies.LARGE - 1, bodies.LARGE, 1 << 30)
        return [await bodies.aside(size, threading.get_ident) for size in sizes]

    *here, first, second = asyncio.run(threads())
    assert here == [threading.get_ident()] * 2
    assert first == second != here[0]


def test_of_a_beginning_no_more_is_written_than_is_used() -> None:
    class Fails(list[int]):
        def __iter__(self) -> Any:
            yield 1
            raise AssertionError("too much is written")

    assert bodies.beginning(["x" * 10, Fails([1, 2])], 8) == '["xxxxxx'
    assert bodies.beginning([1, {"a": "b"}], 100) == '[1, {"a": "b"}]'
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    written = bodies.beginning(deep, 10_000)
    assert written == "[" * len(written) != "", "what comes before it is too deep"
