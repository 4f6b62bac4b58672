"""Batches over a cluster: rows of a Ray data set, or lines of a file, answered by many servers.

    verbatim_ray.batch("in.jsonl", "out", model="/models/a", replicas=8, threads=4)
    python -m verbatim_ray.batch in.jsonl out --model /models/a --replicas 8 --threads 4

Every actor starts a server of its own and asks it directly. The answers have the bits that one
machine gives, whoever computes them, in whatever order, and whatever is killed in between.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data import Dataset

    from verbatim_ray.batch.folder import Folder

CALLS = 3
"""Blocks of rows that an actor has at a time: one runs, one is behind it, one comes or goes."""


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
    return _answers(dataset, Servers(**servers), parameters or {}, spare=1)


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
    `answers`; a file needs no processor to be read. Raises a FolderError where the folder has
    something else, answers of another model, or answers to other requests of that name.
    """
    from ray.data import from_arrow  # noqa: PLC0415

    from verbatim_ray.batch.folder import Folder  # noqa: PLC0415

    wanted = Servers(**servers)
    with Folder(output) as folder:
        before, refused, unanswered, total = len(folder.done), 0, 0, None
        if isinstance(source, (str, os.PathLike)):
            tables, refused = _blocks(source, folder, wanted.max_seqs)
            if not tables:
                return Report(before, before, folder.failed, refused, 0)
            answered = _answers(from_arrow(tables), wanted, {})
            total = refused + before + sum(table.num_rows for table in tables)
        else:
            answered = _answers(source, wanted, parameters or {}, folder.done, spare=1)
        for custom_id, status, answer in _rows(answered):
            if status < 0:
                unanswered += 1
            elif status == 0:
                refused += 1
                folder.refuse(answer)
            else:
                name = answer.removeprefix('{"id":"batch_req_').partition('"')[0]
                folder.append(custom_id, name, status, answer)
            if progress:
                progress(len(folder.done) + refused + unanswered, total)
        return Report(len(folder.done), before, folder.failed, refused, unanswered)


def _answers(
    dataset: Dataset,
    servers: Servers,
    parameters: Mapping[str, Any],
    done: Mapping[str, str] | None = None,
    spare: int = 0,
) -> Dataset:
    """As `answers`; rows of `done`, names of lines by their `custom_id`, are left out."""
    from ray.data import ActorPoolStrategy  # noqa: PLC0415

    from verbatim_ray.batch.capacity import check  # noqa: PLC0415
    from verbatim_ray.batch.worker import Settings, Worker  # noqa: PLC0415

    if min(servers.replicas, servers.threads, servers.max_seqs) < 1:
        raise ValueError("replicas, threads and max_seqs must be at least 1")
    check(servers, spare)
    flags = ["--threads", str(servers.threads), "--max-seqs", str(servers.max_seqs), *servers.args]
    flags += ["--model", servers.model] if servers.model else []
    settings = Settings(replace(servers, args=flags), dict(parameters), dict(done or {}))
    if spare:  # so many rows a block keep all servers busy to the end
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


def _rows(answered: Dataset) -> Iterator[tuple[str, int, str]]:
    columns = ("custom_id", "status", "answer")
    table: Any
    for table in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield from zip(*(table[column].to_pylist() for column in columns), strict=True)


def _blocks(path: str | os.PathLike[str], folder: Folder, rows: int) -> tuple[list[pa.Table], int]:
    """The lines of a file without an answer, so many a block; and how many are no requests."""
    import pyarrow as pa  # noqa: PLC0415

    from verbatim_ray.batch.folder import FolderError  # noqa: PLC0415
    from verbatim_ray.batch.lines import LineError, read, refused  # noqa: PLC0415

    wanted, seen, wrong = [], set(), 0
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for number, whole in enumerate(lines, 1):
            text = whole.removesuffix("\n").removesuffix("\r")
            if not text.strip(" \t\r\n\f"):
                continue
            try:
                line = read(text)
                if line.custom_id in seen:
                    message = "another line before this one has the same custom_id"
                    raise LineError("duplicate_custom_id", "custom_id", message, line.custom_id)
            except LineError as error:
                folder.refuse(refused(text, error))
                wrong += 1
                continue
            seen.add(line.custom_id)
            before = folder.done.get(line.custom_id)
            if before is None:
                wanted.append(text)
            elif before != line.name:
                raise FolderError(
                    f"{path}: line {number} is called {line.custom_id!r:.100}, as another request "
                    f"that was answered in {folder.path}: name another folder"
                )
    if missing := folder.done.keys() - seen:
        raise FolderError(
            f"{folder.path} has an answer to {min(missing)!r:.100}, which {path} does not ask for: "
            "name another folder"
        )
    starts = range(0, len(wanted), rows)
    return [pa.table({"line": wanted[start : start + rows]}) for start in starts], wrong
