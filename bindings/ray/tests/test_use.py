"""What requests take while they run, and that all of it comes back."""

from collections.abc import AsyncGenerator

import pytest

from verbatim_ray.errors import Refused
from verbatim_ray.keys import Key
from verbatim_ray.use import Room, Use


def test_who_leaves_before_the_first_byte_gives_its_place_back() -> None:
    async def parts() -> AsyncGenerator[bytes, None]:
        yield b"a"

    key, room = Key("ann", b"sk", {"concurrent": 1}), Room(10)
    use = Use(key, room)
    use.hold(10)
    body = use.over(parts())  # nobody ever listens to it
    with pytest.raises(Refused, match="concurrent"):
        Use(key, room)
    del use, body
    assert key.running == 0
    Use(key, room).hold(10)


def test_bodies_have_a_room() -> None:
    room = Room(10)
    first, second = Use(None, room), Use(None, room)
    first.hold(6)
    second.hold(4)
    with pytest.raises(Refused, match="max_bodies_bytes") as error:
        second.hold(1)
    status, head, _ = error.value.reply()
    assert (status, head["retry-after"]) == (503, "1")
    first.end()
    first.end()
    second.hold(6)
