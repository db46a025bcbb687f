"""State on disk: one JSON object a line, only ever appended, whole or cut off at the torn end after a kill -9.

Memory holds places, the file holds records: old ones are read again where they stand. Without a folder the file
is one without a name, gone with the process. What is worth keeping when a journal is compacted is its owner's
affair. Not for several threads: the owner's lock guards it.
"""

import json
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from trading.sandbox.errors import SandboxError

Place = tuple[int, int]
"""Where a record stands: offset and length in bytes."""

HEIGHT = struct.Struct("<Q")
REWRITE_BATCH = 500  # records in memory while a journal is rewritten


class Journal:
    def __init__(self, path: Path | None) -> None:
        """`path` None: a file without a name.

        Raises:
            SandboxError: a line that isn't the last one can't be read; nothing is repaired by guessing.
        """
        self.path = path
        self._file = self._open(path)
        try:
            self._end = self._sound_end()
        except SandboxError:
            self._file.close()
            raise
        self._file.truncate(self._end)

    def append(self, records: Iterable[dict[str, Any]], *, sync: bool = True) -> list[Place]:
        """Write the records in one go, and to the disk where `sync`; returns where they stand."""
        data, places = _lines_of(records, self._end)
        _write(self._file, data, self._end)
        self._end += len(data)
        if sync and self.path is not None:
            os.fdatasync(self._file.fileno())
        return places

    def read(self, place: Place) -> dict[str, Any]:
        offset, length = place
        record: dict[str, Any] = json.loads(os.pread(self._file.fileno(), length, offset))
        return record

    def records(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Every record from the first on, with its place."""
        at = 0
        for line in self._lines():
            yield (at, len(line)), json.loads(line)
            at += len(line)

    def rewrite(self, records: Iterable[dict[str, Any]]) -> list[Place]:
        """Replace the whole content, whole or not at all; returns where the records stand now.

        The old content can be read until the last record is taken.
        """
        draft_path = self.path.with_suffix(".draft") if self.path is not None else None
        draft = self._open(draft_path)
        try:
            places = _fill(draft, records)
        except BaseException:
            draft.close()
            raise
        if self.path is not None and draft_path is not None:
            os.fdatasync(draft.fileno())
            os.replace(draft_path, self.path)
            _sync_folder(self.path.parent)
        self._file.close()
        self._file = draft
        self._end = sum(places[-1]) if places else 0
        return places

    def close(self) -> None:
        self._file.close()

    @staticmethod
    def _open(path: Path | None) -> BinaryIO:
        if path is None:
            return tempfile.TemporaryFile(buffering=0)
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)

    def _lines(self) -> Iterator[bytes]:
        with os.fdopen(os.dup(self._file.fileno()), "rb") as file:
            file.seek(0)
            yield from file

    def _sound_end(self) -> int:
        """Where the last whole record ends; only the very last line may be torn."""
        end = 0
        torn = False
        for number, line in enumerate(self._lines(), start=1):
            if torn:
                raise SandboxError(f"{self.path}: line {number - 1} can't be read. Remove the folder to begin anew.")
            torn = not line.endswith(b"}\n")
            end += 0 if torn else len(line)
        return end


class HeightFile:
    """The block height in eight bytes: written at every block, so that a restarted chain never goes back."""

    def __init__(self, path: Path | None) -> None:
        self._file = Journal._open(path)

    def read(self) -> int:
        raw = os.pread(self._file.fileno(), HEIGHT.size, 0)
        return HEIGHT.unpack(raw)[0] if len(raw) == HEIGHT.size else 0

    def write(self, height: int) -> None:
        os.pwrite(self._file.fileno(), HEIGHT.pack(height), 0)

    def close(self) -> None:
        self._file.close()


def _fill(file: BinaryIO, records: Iterable[dict[str, Any]]) -> list[Place]:
    """Write the records as a file's whole content, a batch at a time."""
    file.truncate(0)
    places: list[Place] = []
    end = 0
    remaining = iter(records)
    while batch := list(islice(remaining, REWRITE_BATCH)):
        data, stand = _lines_of(batch, end)
        _write(file, data, end)
        places += stand
        end += len(data)
    return places


def _lines_of(records: Iterable[dict[str, Any]], at: int) -> tuple[bytes, list[Place]]:
    lines = [json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records]
    places: list[Place] = []
    for line in lines:
        places.append((at, len(line)))
        at += len(line)
    return b"".join(lines), places


def _write(file: BinaryIO, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file.fileno(), view, offset)
        view, offset = view[written:], offset + written


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
