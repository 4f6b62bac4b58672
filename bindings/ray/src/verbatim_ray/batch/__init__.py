"""Batches over a cluster: rows of a Ray data set, or lines of a file, answered by many servers.

    verbatim_ray.batch("in.jsonl", "out", model="/models/a", replicas=8, threads=4)
    python -m verbatim_ray.batch in.jsonl out --model /models/a --replicas 8 --threads 4

Every actor starts a server of its own and asks it directly. The answers have the bits that one
machine gives, whoever computes them, in whatever order, and whatever is killed in between.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.data import Dataset

    from verbatim_ray.batch.worker import Answer, Settings


@dataclass(frozen=True)
class Servers:
    """The servers of a batch."""

    model: str | None = None
    """What `verbatim serve --model` takes, on every node; the built-in model without it."""
    replicas: int = 2
    """How many there are."""
    threads: int = 1
    """Threads of each, and processors that Ray keeps for it."""
    max_seqs: int = 8
    """Sequences that each runs at a time."""
    binary: str | None = None
    """The program; see `verbatim_ray.binary.find`."""
    args: Sequence[str] = ()
    """Further flags of `verbatim serve`."""
    wait_s: float = 5
    """Seconds that Ray may take to have the processors, where a cluster grows on demand."""


@dataclass(frozen=True)
class Report:
    """What became of the lines of a batch."""

    answered: int
    """Lines with an answer in the folder, those of earlier runs and of `failed` among them."""
    before: int
    """Those of them that an earlier run answered."""
    failed: int
    """Those of them whose endpoint refused them; the answer is the error."""
    refused: int
    """Lines that were no requests, in `refused.jsonl`."""
    unanswered: int
    """Lines whose servers broke again and again. A further run tries them again."""


def answers(
    dataset: Dataset, *, parameters: Mapping[str, Any] | None = None, **servers: Any
) -> Dataset:
    """The rows of `dataset` with their answers: `custom_id`, `status` and `answer`, a line of JSON.

    A row has `line`, a line of an OpenAI batch; or `custom_id` (or `id`) beside `url` and `body`,
    or beside `messages` or `prompt` and perhaps `seed`, where `parameters` are the rest of the
    body. Rows come in any order. `status` is that of HTTP, 0 for a row that is no request, -1 where
    servers broke again and again. `servers` are fields of `Servers`. Raises a CapacityError where
    Ray lacks the processors for them and one more, to read the data.
    """
    return _answers(dataset, Servers(**servers), parameters or {})


def batch(
    source: Dataset | str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    **servers: Any,
) -> Report:
    """Answers all of `source`, a data set or a file of lines, into the folder `output`.

    What the folder has already is not asked for again, so a run that was killed is begun again by
    the same call. A line is answered by the bytes that `verbatim batch` writes for it. `progress`
    is called with how many lines are done, and of how many, if that is known. For the rest, see
    `answers`; a file needs no processor to be read, and no more memory than the names of its lines
    and the lines that servers have. Raises a FolderError where the folder has
    something else, answers of another model, or answers to other requests of that name.
    """
    from verbatim_ray.batch.folder import Folder  # noqa: PLC0415
    from verbatim_ray.batch.pool import answered  # noqa: PLC0415
    from verbatim_ray.batch.source import look  # noqa: PLC0415

    wanted = Servers(**servers)
    with Folder(output) as folder, contextlib.ExitStack() as stack:
        before, refused, unanswered, total = len(folder.done), 0, 0, None
        if isinstance(source, (str, os.PathLike)):
            file = look(source, folder)
            if not file.left:
                return Report(before, before, folder.failed, file.refused, 0)
            refused, total = file.refused, file.total
            rows = answered(_settings(wanted, {}), file.blocks(wanted.max_seqs))
        else:
            rows = _rows(_answers(source, wanted, parameters or {}, folder.done))
        stack.enter_context(contextlib.closing(rows))  # actors end with it
        for status, answer, custom_id in rows:
            if status < 0:
                unanswered += 1
            elif status == 0 or custom_id is None:
                refused += 1
                folder.refuse(answer)
            else:
                name = answer.removeprefix('{"id":"batch_req_').partition('"')[0]
                folder.append(custom_id, name, status, answer)
            if progress:
                progress(len(folder.done) + refused + unanswered, total)
        return Report(len(folder.done), before, folder.failed, refused, unanswered)


def _settings(
    servers: Servers,
    parameters: Mapping[str, Any],
    done: Mapping[str, str] | None = None,
    spare: int = 0,
) -> Settings:
    """What actors are told, once Ray has the processors for them and `spare` more."""
    from verbatim_ray.batch.capacity import check  # noqa: PLC0415
    from verbatim_ray.batch.worker import Settings  # noqa: PLC0415

    if min(servers.replicas, servers.threads, servers.max_seqs) < 1:
        raise ValueError("replicas, threads and max_seqs must be at least 1")
    check(servers, spare)
    flags = ["--threads", str(servers.threads), "--max-seqs", str(servers.max_seqs), *servers.args]
    flags += ["--model", servers.model] if servers.model else []
    return Settings(replace(servers, args=flags), dict(parameters), dict(done or {}))


def _answers(
    dataset: Dataset,
    servers: Servers,
    parameters: Mapping[str, Any],
    done: Mapping[str, str] | None = None,
) -> Dataset:
    """As `answers`; rows of `done`, names of lines by their `custom_id`, are left out."""
    from ray.data import ActorPoolStrategy  # noqa: PLC0415

    from verbatim_ray.batch.pool import CALLS  # noqa: PLC0415
    from verbatim_ray.batch.worker import Worker  # noqa: PLC0415

    settings = _settings(servers, parameters, done, spare=1)
    # So many rows a block keep all servers busy to the end.
    dataset = dataset.repartition(target_num_rows_per_block=servers.max_seqs)
    return dataset.map_batches(
        Worker,
        batch_format="pyarrow",
        fn_constructor_args=(settings,),
        compute=ActorPoolStrategy(
            size=servers.replicas,
            max_concurrent_calls_per_actor=CALLS,
            max_tasks_in_flight_per_actor=CALLS,
            enable_true_multi_threading=True,
        ),
        num_cpus=servers.threads,
    )


def _rows(answered: Dataset) -> Generator[Answer, None, None]:
    columns = ("status", "answer", "custom_id")
    table: Any
    for table in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from zip(*(table[column].to_pylist() for column in columns), strict=True)
