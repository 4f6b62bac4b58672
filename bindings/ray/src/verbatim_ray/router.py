"""Which replica is asked: one that has the prefix of the request in its cache, unless it is busy.

Replicas are ranked by a hash of each with the beginning of the request (rendezvous hashing), so
that requests which begin alike meet in one cache, and only 1/N of them move where a replica comes
or goes. A replica with more requests than the idlest and a `slack` comes behind the others.
"""

import collections
import dataclasses
import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

SUSPECT_S = 5.0
"""Seconds for which a replica that broke a connection, or was too slow, comes last for all."""

LOAD: collections.Counter[str] = collections.Counter()
"""Requests that this process has sent to each replica and that have not ended."""

SUSPECTS: dict[str, float] = {}
"""Until when (monotonic seconds) a replica comes last."""


@dataclass
class Ask:
    """What the router knows of a request. All tries of one request share it."""

    key: str
    """What requests that begin alike have in common."""
    fingerprint: str | None = None
    """The only fingerprint that may answer."""
    asked: list[str] = field(default_factory=list)
    """Who was asked, in order: noted when it is chosen, since a stopped one never answers."""
    silent: str | None = None
    """Who runs and is too slow: it is not asked beside itself, even if there is no other."""


def suspect(replica: str) -> None:
    """Notes that a replica failed, so that other requests try others first for a while."""
    now = time.monotonic()
    for name in [name for name, until in SUSPECTS.items() if until < now]:
        del SUSPECTS[name]
    SUSPECTS[replica] = now + SUSPECT_S


def rank(
    replicas: Mapping[str, str | None], ask: Ask, load: Mapping[str, int], slack: int = 4
) -> list[str]:
    """Names of replicas (with their fingerprints) in the order in which they should be asked.

    The silent one and those of another fingerprint are left out. Of the others those come last that
    were asked before (the one asked longest ago first), then suspects, then those that are busy.
    """
    fits = [
        name
        for name, has in replicas.items()
        if name != ask.silent and (ask.fingerprint is None or has in (None, ask.fingerprint))
    ]
    limit = min((load.get(name, 0) for name in fits), default=0) + slack
    now = time.monotonic()

    def order(name: str) -> tuple[int, bool, int, bytes]:
        last = max((at for at, asked in enumerate(ask.asked) if asked == name), default=-1)
        busy = load.get(name, 0)
        drawn = hashlib.blake2b(f"{ask.key} {name}".encode(), digest_size=8).digest()
        return last, SUSPECTS.get(name, 0.0) > now, max(0, busy - limit), drawn

    return sorted(fits, key=order)


class Affinity(RequestRouter):
    """Ray Serve's side of `rank`: calls bring `ask=Ask(…)`."""

    def initialize_state(self, **kwargs: Any) -> None:
        """`slack` as above; `affinity=False` spreads requests however they begin, to compare."""
        self.slack: int = kwargs.get("slack", 4)
        self.affinity: bool = kwargs.get("affinity", True)
        self.turn = 0

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """All replicas that may be asked, each a rank of its own."""
        if pending_request is None:
            return [candidate_replicas]
        # Without this Ray asks again and again, with no pause between.
        pending_request.routing_context.should_backoff = True
        ask: Ask | None = pending_request.kwargs.get("ask")
        if ask is None:
            return [candidate_replicas]
        if not self.affinity:
            self.turn += 1
            ask = dataclasses.replace(ask, key=str(self.turn))
        by_name = {one.replica_id.unique_id: one for one in candidate_replicas}
        names = rank(_fingerprints(by_name.items()), ask, LOAD, self.slack)
        ask.asked.extend(names[:1])
        return [[by_name[name]] for name in names]


def _fingerprints(replicas: Iterable[tuple[str, Any]]) -> dict[str, str | None]:
    return {name: one.replica_metadata.get("fingerprint") for name, one in replicas}
