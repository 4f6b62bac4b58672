"""Who may ask, and how much."""

from pathlib import Path

import pytest

from verbatim_ray import keys
from verbatim_ray.errors import Refused
from verbatim_ray.keys import Keys

FILE = """
# everybody
ann sk-a requests-per-minute=2 concurrent=1
sk#b  # alone
bob sk-c tokens-per-minute=10
"""


@pytest.fixture
def read(tmp_path: Path) -> Keys:
    (tmp_path / "keys").write_text(FILE)
    return Keys.read(str(tmp_path / "keys"))


def test_who_asks(read: Keys) -> None:
    def name(**headers: str) -> str:
        found = read.find({at.replace("_", "-"): value for at, value in headers.items()})
        assert found is not None
        return found.name

    assert name(authorization="Bearer sk-a") == "ann"
    assert name(authorization="bearer  sk-c") == "bob"
    assert name(x_api_key="sk#b") == "key4"
    for wrong in ({}, {"authorization": "Bearer sk-"}, {"authorization": "Basic sk-a"}):
        with pytest.raises(Refused) as error:
            read.find(wrong)
        assert error.value.status == 401
    assert Keys.read(None).find({}) is None


def test_quotas(read: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(keys.time, "monotonic", lambda: now)
    ann = read.find({"x-api-key": "sk-a"})
    bob = read.find({"x-api-key": "sk-c"})
    assert ann and bob
    ann.begin()
    with pytest.raises(Refused, match="concurrent"):
        ann.begin()
    ann.end(5)
    ann.begin()
    ann.end(5)
    now += 20
    with pytest.raises(Refused, match="requests-per-minute") as error:
        ann.begin()
    assert error.value.status == 429
    assert error.value.reply()[1]["retry-after"] == "40"
    now += 40
    ann.begin()
    bob.begin()
    bob.end(10)
    with pytest.raises(Refused, match="tokens-per-minute"):
        bob.begin()


def test_a_line_that_makes_no_sense_is_named(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    for line in ("a b c", "a b concurrent=x", "a b max-priority=3"):
        path.write_text(f"ok key\n{line}\n")
        with pytest.raises(ValueError, match="keys:2: "):
            Keys.read(str(path))
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match="no key"):
        Keys.read(str(path))
