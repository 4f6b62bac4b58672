"""Who is asked: the same for what begins alike, never twice in a row, never only one."""

import collections

import pytest

from verbatim_ray import router
from verbatim_ray.router import Ask, rank

FIVE: dict[str, str | None] = {f"replica-{at}": "vb-1" for at in range(5)}
NONE: dict[str, int] = {}


@pytest.fixture(autouse=True)
def _no_suspects() -> None:
    router.SUSPECTS.clear()


def first(replicas: dict[str, str | None], key: str, load: dict[str, int] = NONE) -> str:
    return rank(replicas, Ask(key), load)[0]


def test_what_begins_alike_goes_to_one_replica_and_the_rest_is_spread() -> None:
    assert len({first(FIVE, "a") for _ in range(10)}) == 1
    spread = collections.Counter(first(FIVE, str(key)) for key in range(1000))
    assert len(spread) == 5
    assert max(spread.values()) < 2 * min(spread.values())


def test_only_those_of_a_replica_move_when_it_goes() -> None:
    keys = [str(key) for key in range(500)]
    before = {key: first(FIVE, key) for key in keys}
    four = {name: has for name, has in FIVE.items() if name != "replica-3"}
    for key in keys:
        assert before[key] == "replica-3" or first(four, key) == before[key]


def test_no_replica_has_more_than_the_slack_beyond_the_idlest() -> None:
    load: collections.Counter[str] = collections.Counter()
    for _ in range(200):
        load[rank(FIVE, Ask("the same for all"), load, slack=4)[0]] += 1
        idlest = min(load[name] for name in FIVE)
        assert max(load.values()) <= idlest + 5
    assert sum(load.values()) == 200


def test_who_was_asked_comes_last_and_who_was_asked_longest_ago_first() -> None:
    ask = Ask("a")
    seen = []
    for _ in range(5):
        seen.append(rank(FIVE, ask, NONE)[0])
        ask.asked.append(seen[-1])
    assert sorted(seen) == sorted(FIVE), "each is asked once before any is asked twice"
    assert rank(FIVE, ask, NONE) == seen


def test_who_is_silent_is_not_asked_beside_itself() -> None:
    ask = Ask("a", asked=["replica-1", "replica-2"], silent="replica-1")
    assert set(rank(FIVE, ask, NONE)) == set(FIVE) - {"replica-1"}
    assert rank({"replica-1": "vb-1"}, ask, NONE) == []


def test_others_avoid_who_failed() -> None:
    failed = first(FIVE, "a")
    router.suspect(failed)
    assert rank(FIVE, Ask("a"), NONE)[-1] == failed
    router.SUSPECTS[failed] = 0.0  # long ago
    assert first(FIVE, "a") == failed


def test_another_fingerprint_is_never_asked() -> None:
    mixed: dict[str, str | None] = {"old": "vb-1", "new": "vb-2", "unknown": None}
    for key in map(str, range(20)):
        assert set(rank(mixed, Ask(key, "vb-1"), {"old": 100})) == {"old", "unknown"}
        assert rank({"new": "vb-2"}, Ask(key, "vb-1"), NONE) == []
