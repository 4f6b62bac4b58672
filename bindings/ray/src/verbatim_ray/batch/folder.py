"""The folder that a batch writes: parts with an answer a line, which a second run adds to.

part-00001.jsonl …    answers, in the order in which they came; a part for each run
refused.jsonl         lines that were no requests; written anew by each run
lock                  held while a run writes
"""

import fcntl
import json
import os
import re
from pathlib import Path
from typing import Self


class FolderError(RuntimeError):
    """The folder cannot be added to. The message names the file and says what to do."""


class Folder:
    """Answers on disk. A killed run leaves whole lines, and at most one that is dropped."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens or makes the folder and reads what was answered before."""
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise FolderError(f"{self.path}: another batch is writing there") from None
        self.done: dict[str, str] = {}
        """The names of answered lines by their `custom_id`."""
        self.failed = 0
        """Those of them that their endpoints refused."""
        self.fingerprint: str | None = None
        """The model that the answers are of; none as long as there are no answers."""
        parts = sorted(self.path.glob("part-*.jsonl"))
        for part in parts:
            self._read(part)
        last = max((int(part.stem.removeprefix("part-")) for part in parts), default=0)
        self._part = self.path / f"part-{last + 1:05}.jsonl"
        self._file: int | None = None
        (self.path / "refused.jsonl").write_bytes(b"")

    def _read(self, part: Path) -> None:
        """Takes note of a part's answers, and cuts off a last line that is not whole."""
        whole = 0
        with part.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                try:
                    answer = json.loads(line)
                    custom_id, name = answer["custom_id"], answer["id"].removeprefix("batch_req_")
                    self._note(custom_id, name, answer["response"]["status_code"], line.decode())
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise FolderError(
                        f"{part}: line {number} is no answer; remove the file, or name another"
                    ) from None
        if whole < part.stat().st_size:
            os.truncate(part, whole)

    def _note(self, custom_id: str, name: str, status: int, line: str) -> None:
        if custom_id in self.done:
            raise FolderError(
                f"two requests are called {custom_id!r:.100}: give each a custom_id of its own"
            )
        found = re.search(r'"system_fingerprint":"([^"\\]*)"', line) if status == 200 else None
        if found:
            self.fingerprint = self.fingerprint or found[1]
            if found[1] != self.fingerprint:
                raise FolderError(
                    f"{self.path} has answers of {self.fingerprint}, and a server is {found[1]}: "
                    "another model, other options, or another version; name another folder, or let "
                    "all nodes have the same"
                )
        self.done[custom_id] = name
        self.failed += status != 200

    def append(self, custom_id: str, name: str, status: int, line: str) -> None:
        """Adds an answer, a line without its end; a FolderError if it does not belong here."""
        self._note(custom_id, name, status, line)
        if self._file is None:
            self._file = os.open(
                self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666
            )
        self._write(self._file, line)

    def refuse(self, line: str) -> None:
        """Adds the line for one that was no request."""
        file = os.open(self.path / "refused.jsonl", os.O_WRONLY | os.O_APPEND)
        try:
            self._write(file, line)
        finally:
            os.close(file)

    def _write(self, file: int, line: str) -> None:
        rest = memoryview(line.encode() + b"\n")
        while rest:
            rest = rest[os.write(file, rest) :]

    def close(self) -> None:
        """Has all on disk, and lets others write."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
