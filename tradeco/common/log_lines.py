"""One log for all processes: children's lines in, one JSON file and one readable console out.

Nothing that a child writes may stop the company: bad UTF-8, endless lines, control characters, a console that
is closed or doesn't move. What the lines say is the children's affair, and so is keeping secrets out of them.
"""

import json
import logging
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TextIO

LINE_MAX_BYTES = 64 * 1024  # a longer line is cut: memory stays bounded whatever a child does
FILE_MAX_BYTES = 10_000_000
FILES_KEPT = 4  # beside the one being written: 50 MB in all
CONSOLE_LINES_WAITING = 5_000  # when the console stands still (Ctrl-S), later lines are in the file only

SHOWN_ELSEWHERE = {"timestamp", "level", "event", "process", "logger", "exception", "stack"}
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
PALETTE = ("36", "32", "35", "34", "33", "96", "92", "95")
LEVEL_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}


def lines_of(descriptor: int, *, line_max_bytes: int = LINE_MAX_BYTES) -> Iterator[str]:
    """The lines that come out of a pipe until its last writer closes it; a longer line is cut."""
    waiting, cutting = b"", False
    while chunk := os.read(descriptor, 65536):
        *whole, waiting = (waiting + chunk).split(b"\n")
        for line in whole:
            if not cutting:
                yield _text(line, line_max_bytes)
            cutting = False
        if len(waiting) > line_max_bytes:
            if not cutting:
                yield _text(waiting, line_max_bytes)
            waiting, cutting = b"", True
    if waiting and not cutting:
        yield _text(waiting, line_max_bytes)


def _text(line: bytes, limit: int) -> str:
    cut = " … (cut)" if len(line) > limit else ""
    return line[:limit].decode("utf-8", errors="replace").rstrip("\r") + cut


def record_of(line: str, *, process: str, level: str = "info") -> dict[str, Any]:
    """A line as a record: what structlog wrote as JSON, or any other text as its event."""
    found = _json_object(line) or {"event": line}
    found.setdefault("timestamp", datetime.now(UTC).isoformat())
    found.setdefault("level", level)
    found.setdefault("event", "")
    return found | {"process": process}


def _json_object(line: str) -> dict[str, Any] | None:
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line, parse_constant=str)
    except (ValueError, RecursionError):
        return None  # it only looked like JSON: shown as text
    return found if isinstance(found, dict) else None


def render(record: dict[str, Any], *, width: int = 8, colour: str = "") -> list[str]:
    """A record as lines for people: `web    | 12:01:02 info    sentence  key=value`."""
    level = str(record["level"])
    prefix = _painted(f"{record['process']:<{width}} |", colour)
    fields = " ".join(f"{key}={_value(value)}" for key, value in record.items() if key not in SHOWN_ELSEWHERE)
    shade = LEVEL_COLOURS.get(level, "") if colour else ""
    head = f"{_clock(record['timestamp'])} {_painted(f'{level:<7}', shade)} {_clean(str(record['event']))}"
    details = f"{record.get('exception') or ''}\n{record.get('stack') or ''}".splitlines()
    first = f"{prefix} {head}  {_painted(fields, '2' if colour else '')}".rstrip()
    return [first, *(f"{prefix} {_clean(line)}" for line in details if line)]


def _clock(timestamp: object) -> str:
    try:
        return datetime.fromisoformat(str(timestamp)).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return datetime.now(UTC).astimezone().strftime("%H:%M:%S")


def _value(value: object) -> str:
    plain = value if isinstance(value, str) and value and " " not in value else json.dumps(value, default=str)
    return _clean(str(plain))


def _clean(text: str) -> str:
    """Without control characters: a log line must not steer the reader's terminal."""
    return CONTROL_CHARACTERS.sub("\N{REPLACEMENT CHARACTER}", text)


def _painted(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and text else text


class LogSink:
    """The only writer of the log file and of the console; any thread may call it.

    Args:
        path: the JSON file; beside it `.1` to `.4`, the older ones.
        console: where people read; None for nowhere.
        names: the processes that will write, for the width of the prefix and its colour.
    """

    def __init__(
        self,
        path: Path,
        *,
        console: TextIO | None,
        names: Sequence[str] = (),
        colours: bool = False,
        file_max_bytes: int = FILE_MAX_BYTES,
    ) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        self._file = RotatingFileHandler(path, maxBytes=file_max_bytes, backupCount=FILES_KEPT, encoding="utf-8")
        self._width = max(map(len, names), default=8)
        self._colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)} if colours else {}
        self._console = Console(console) if console else None
        self._in_traceback: set[str] = set()

    def take(self, process: str, line: str) -> None:
        """Write one line of a process to the file and show it."""
        if not line.strip():
            return
        record = record_of(line, process=process, level=self._level_of(process, line))
        # Escaped to ASCII: a lone surrogate in a child's JSON can't be written as UTF-8.
        self._file.handle(logging.makeLogRecord({"msg": json.dumps(record, default=str)}))
        if self._console:
            for shown in render(record, width=self._width, colour=self._colours.get(process, "")):
                self._console.show(shown)

    def _level_of(self, process: str, line: str) -> str:
        """What text that has no level is worth: a traceback, up to the line that names the error, is one."""
        if line.startswith("Traceback (most recent call last)"):
            self._in_traceback.add(process)
        if process not in self._in_traceback:
            return "info"
        if not line.startswith((" ", "Traceback")):
            self._in_traceback.discard(process)
        return "error"

    def say(self, text: str) -> None:
        """Show a text to the people at the console only: the banner may hold a first password."""
        if self._console:
            self._console.show(text)

    def close(self) -> None:
        if self._console:
            self._console.close()
        self._file.close()


class Console:
    """Writes in a thread of its own, so that a console that stands still holds nobody up."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: queue.Queue[str | None] = queue.Queue(maxsize=CONSOLE_LINES_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._write_all, name="console", daemon=True)
        self._thread.start()

    def show(self, text: str) -> None:
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._left_out += 1

    def close(self) -> None:
        """Show what is waiting, but don't wait long for a console that doesn't move."""
        try:
            self._waiting.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=1)

    def _write_all(self) -> None:
        while (text := self._waiting.get()) is not None:
            if self._left_out and self._waiting.empty():
                text += f"\n({self._left_out} lines were not shown here; the log file has them)"
                self._left_out = 0
            if not self._write(text):
                return

    def _write(self, text: str) -> bool:
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return False  # the terminal is gone, or the pipe's reader: the file still has everything
        return True


class LineStream:
    """What a logging handler may write to: every line goes to the sink in one process's name."""

    def __init__(self, take: Callable[[str, str], None], process: str) -> None:
        self._take, self._process = take, process

    def write(self, text: str) -> int:
        for line in text.splitlines():
            self._take(self._process, line)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""
