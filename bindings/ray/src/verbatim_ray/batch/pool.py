"""Actors that answer lines, each a few blocks at a time; a block is only read when one is free."""

import collections
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import ray

from verbatim_ray.batch.worker import Answer, Settings, Worker

CALLS = 3
"""Blocks of rows that an actor has at a time: one runs, one is behind it, one comes or goes."""
DEATHS = 20
"""How many actors may die over the same block. More do so because of its lines."""


class Answerer:
    """A worker as an actor.

    It is a class of its own because `Worker` has coroutines: Ray would run its calls on one loop.
    """

    def __init__(self, settings: Settings) -> None:
        """Starts the server; a `ChildError` if that cannot be."""
        self._worker = Worker(settings)

    def answer(self, lines: list[str]) -> list[Answer]:
        """What `Worker` says of a block of lines, in their order."""
        return self._worker.lines(lines)


def answered(settings: Settings, blocks: Iterable[list[str]]) -> Generator[Answer, None, None]:
    """The answers to blocks of lines, in the order in which they come.

    Actors that die are started again, and what they had is asked for again. Raises the RayError of
    one that cannot start, or of the last over a block that too many died over. To close this ends
    them.
    """
    servers = settings.servers
    make = ray.remote(Answerer).options(
        num_cpus=servers.threads,
        max_concurrency=CALLS,
        max_restarts=-1,
        max_task_retries=DEATHS,
        scheduling_strategy="SPREAD",
    )
    actors: list[Any] = [make.remote(settings) for _ in range(servers.replicas)]
    try:
        for answers in spread(actors, blocks):
            yield from answers
    finally:
        for actor in actors:
            ray.kill(actor)


def spread(actors: list[Any], blocks: Iterable[list[str]]) -> Iterator[list[Answer]]:
    """What `answer` of any of the actors says of each block, `CALLS` at a time of each."""
    free, running, rest = collections.deque(actors * CALLS), {}, iter(blocks)
    while True:
        while free and (block := next(rest, None)) is not None:
            actor = free.popleft()
            running[actor.answer.remote(block)] = actor
        if not running:
            return
        for call in ray.wait(list(running))[0]:
            free.append(running.pop(call))
            yield ray.get(call)
