"""A file of requests, which is read twice and never kept.

The first reading finds out what each line is called, before anything is asked; the second has the
lines without an answer. So memory grows by the names of lines, not by what they ask.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from verbatim_ray.batch.folder import Folder, FolderError
from verbatim_ray.batch.lines import Line, LineError, read, refused

LINE_MAX = 64 << 20
"""Bytes of a line, at most: far more than a server takes."""


@dataclass(frozen=True)
class Source:
    """A file of which the first reading has been done."""

    path: str | os.PathLike[str]
    """The file, which must stay as it is."""
    total: int
    """Its lines, without those of blanks."""
    refused: int
    """Those of them that are no requests. The folder has been told of them."""
    left: int
    """Those of them that have no answer yet."""
    _is_left: bytearray
    """Of each line, blank ones too, whether it is one of these."""

    def blocks(self, rows: int) -> Iterator[list[str]]:
        """The lines that are left, so many at a time.

        Raises a FolderError where the file has fewer lines by now. What it has behind those of the
        first reading is for another run.
        """
        block: list[str] = []
        with Path(self.path).open("rb") as file:
            lines = _lines(file)
            for is_left in self._is_left:
                if (line := next(lines, None)) is None:
                    raise FolderError(f"{self.path} was cut off while it was read: start again")
                if is_left:
                    block.append(line.decode())
                if len(block) == rows:
                    yield block
                    block = []
        if block:
            yield block


def look(path: str | os.PathLike[str], folder: Folder) -> Source:
    """Reads a file for the first time, and writes lines that are no requests into the folder.

    Raises a FolderError where the folder has answers to something else, or the path is no file.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise FolderError(f"{path} is no file, and it must be read twice: write it to one")
    seen: set[str] = set()
    is_left, total, wrong = bytearray(), 0, 0
    with Path(path).open("rb") as file:
        for number, line in enumerate(_lines(file), 1):
            is_left.append(0)
            if not line.strip(b" \t\r\n\f"):
                continue
            total += 1
            text = line.decode("utf-8", "surrogateescape")  # `read` refuses what is no UTF-8
            try:
                if len(line) > LINE_MAX:
                    message = f"the line is longer than {LINE_MAX} bytes"
                    raise LineError("line_too_long", None, message)
                is_left[-1] = _is_new(read(text), seen, folder, f"{path}: line {number}")
            except LineError as error:
                folder.refuse(refused(text, error))
                wrong += 1
    if missing := folder.done.keys() - seen:
        raise FolderError(
            f"{folder.path} has an answer to {min(missing)!r:.100}, which {path} does not ask for: "
            "name another folder"
        )
    return Source(path, total, wrong, sum(is_left), is_left)


def _is_new(line: Line, seen: set[str], folder: Folder, where: str) -> bool:
    """Whether a line has no answer yet. Raises a LineError if one before it is called the same."""
    if line.custom_id in seen:
        message = "another line before this one has the same custom_id"
        raise LineError("duplicate_custom_id", "custom_id", message, line.custom_id)
    seen.add(line.custom_id)
    before = folder.done.get(line.custom_id)
    if before not in (None, line.name):
        raise FolderError(
            f"{where} is called {line.custom_id!r:.100}, as another request that was answered in "
            f"{folder.path}: name another folder"
        )
    return before is None


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file without their ends; of one that is too long only the beginning."""
    while line := file.readline(LINE_MAX + 2):
        yield line.removesuffix(b"\n").removesuffix(b"\r")
        while not line.endswith(b"\n") and (line := file.readline(LINE_MAX)):
            pass
