"""Fixtures: a server alone, fronts without Ray, and a cluster with it."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from verbatim_ray.binary import find
from verbatim_ray.child import Child

if TYPE_CHECKING:
    from cluster import Nodes
    from local import Local


@pytest.fixture(scope="session")
def binary() -> str:
    """The program under test; nothing is built for it."""
    try:
        return find(may_build=False)
    except FileNotFoundError as error:
        pytest.skip(f"skipped: tests with real engines ({error})")


@pytest.fixture(scope="session")
def solo(binary: str) -> Iterator[Child]:
    """A server of its own, for what an answer is without a fault."""
    child = Child(binary, ["--threads", "1"])
    yield child
    child.process.kill()
    child.wait()


@pytest.fixture
def local(binary: str) -> Iterator["Local"]:
    """A front over two engines, in this process and without Ray."""
    from local import Local

    made = Local(binary)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def nodes(binary: str) -> Iterator["Nodes"]:
    """A cluster of a head and two nodes. Raylets inherit this environment, and replicas theirs."""
    from cluster import Nodes

    os.environ.update(VERBATIM_REAL=binary, VERBATIM_SLOW_MS="40")
    made = Nodes()
    yield made
    made.stop()
