"""Logs: one JSON object a line, with the correlation id, and never a secret.

A terminal gets short coloured lines in their place.

Writing is a background thread's work: a full disk or a reader that stopped must
not hold up a chat. Lines that do not fit into the bounded queue are dropped and
counted, and the count is logged once there is room again. Errors that many chats
have alike are one line a minute and a sum (see `repeats`).
"""

import logging
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from math import inf
from threading import Event, Lock, Thread
from time import time
from typing import Any, Literal, Protocol

from app.gateway import correlation, tracing
from app.gateway.screen import json_text
from app.telemetry.repeats import Repeats

QUEUE = 10_000  # lines; about 3 MB at most
FLUSH_EVERY = 0.1  # seconds; waking per line would cost each chat a thread switch

Form = Literal["auto", "json", "text"]
PLAIN, FAINT = "\x1b[0m", "\x1b[2m"
COLOURS = {
    "DEBUG": FAINT,
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[31m",
    "CRITICAL": "\x1b[1;31m",
}

Redact = Callable[[str], str]


class Sink(Protocol):
    """Where lines go, for example sys.stderr."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class JsonFormatter(logging.Formatter):
    """Makes a line of JSON of a record; the redactor sees all free text."""

    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; newlines in a message cannot forge a second."""
        line = _facts(record) | {"message": self._redact(record.getMessage())}
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        return _json(line)


class TextFormatter(logging.Formatter):
    """Makes a short coloured line of a record, for a person at a terminal.

    The redactor sees all free text, and nothing in it can drive the terminal.
    """

    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and below it those of an exception."""
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        colour = COLOURS.get(record.levelname, "")
        level = f"{colour}{record.levelname:<7}{PLAIN if colour else ''}"
        words = _printable(self._redact(record.getMessage()))
        chat = getattr(record, "correlation_id", "-")
        tail = "" if chat == "-" else f"  {FAINT}{_printable(chat)}{PLAIN}"
        line = f"{at:%H:%M:%S} {level} {words}{tail}"
        if record.exc_info:
            trace = self._redact(self.formatException(record.exc_info)).splitlines()
            line = "\n".join([line, *(f"  {_printable(frame)}" for frame in trace)])
        return line


def _printable(text: str) -> str:
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


def formatter_for(form: Form, redact: Redact, sink: Sink) -> logging.Formatter:
    """The formatter of that form; `auto` is `text` for a terminal, else `json`."""
    is_terminal = getattr(sink, "isatty", bool)()
    is_text = form == "text" or (form == "auto" and is_terminal)
    return (TextFormatter if is_text else JsonFormatter)(redact)


def _facts(record: logging.LogRecord) -> dict[str, str]:
    """What is known of a record without its text."""
    return {
        "time": _time(record.created),
        "level": record.levelname,
        "logger": record.name,
        "correlation_id": getattr(record, "correlation_id", "-"),
        "trace_id": getattr(record, "trace_id", "-"),
    }


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def _json(line: dict[str, str]) -> str:
    # ASCII only: U+2028 and U+0085 end a line for many readers, C1 controls drive
    # terminals, and a lone surrogate would cost the whole batch.
    return json_text(line)


class BackgroundHandler(logging.Handler):
    """Queues records without ever waiting; its own thread formats and writes them.

    `dropped` counts the lines that were lost. Threads may share it.
    """

    def __init__(self, sink: Sink, queue: int = QUEUE) -> None:
        super().__init__()
        self._sink = sink
        self._queue: deque[logging.LogRecord] = deque()
        self._limit = queue
        self._repeats = Repeats()  # for the writing thread alone
        self._stopping = Event()
        self.dropped = 0
        self._reported = 0
        self._is_broken = False  # a line may stand there by half
        self._count_lock = Lock()  # guards dropped
        self._thread = Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Begin to write; call it after the fork."""
        self._thread.start()

    def handle(self, record: logging.LogRecord) -> bool:
        """Queue a record; unlike the base class, take no lock (deque is atomic)."""
        if len(self._queue) >= self._limit:
            self._drop(1)
            return False
        record.correlation_id = correlation.current.get()
        trace = tracing.current.get()
        record.trace_id = trace.trace_id if trace else "-"
        self._queue.append(record)
        return True

    def close(self) -> None:
        """Write what is queued and stop; waits a second at most."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(1.0)
        super().close()

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_EVERY):
            self._drain(time())
        self._drain(inf)

    def _drain(self, now: float) -> None:
        queued = [self._queue.popleft() for _ in range(len(self._queue))]
        lines = [self._line(one) for one in queued if self._repeats.is_written(one)]
        lines += [self._line(one) for one in self._repeats.sums(now)]
        dropped = self.dropped
        if dropped > self._reported:
            notice = self._notice(f"{dropped - self._reported} log lines lost")
            self._reported = dropped if self._write(notice) else self._reported
        if lines and not self._write("".join(lines)):
            self._drop(len(lines))

    def _drop(self, lines: int) -> None:
        with self._count_lock:
            self.dropped += lines

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) + "\n"
        except Exception as error:  # its text must not be shown: it is not redacted
            what = f"a log line could not be made: {type(error).__name__}"
            return _json(_facts(record) | {"message": what}) + "\n"

    def _notice(self, message: str) -> str:
        record = logging.LogRecord(__name__, logging.ERROR, "", 0, message, (), None)
        return _json(_facts(record) | {"message": message}) + "\n"

    def _write(self, text: str) -> bool:
        """Write all of it; return False if it can't be done: chats go on."""
        try:
            self._sink.write("\n" + text if self._is_broken else text)
            self._sink.flush()
        except Exception:  # disk full, pipe closed, or whatever else a sink may raise
            self._is_broken = True
            return False
        self._is_broken = False
        return True


def set_up_logging(
    level: str, redact: Redact, sink: Sink | None = None, form: Form = "auto"
) -> BackgroundHandler:
    """Send all logging of this process to the sink (stderr) in lines of that form."""
    sink = sink or sys.stderr
    handler = BackgroundHandler(sink)
    handler.setFormatter(formatter_for(form, redact, sink))
    # What no line shows need not be found out for each (Python's "Logging HOWTO").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it logs hosts
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Its own handler writes at once, in its main loop, and not as JSON.
    server = logging.getLogger("gunicorn.error")
    server.handlers, server.propagate = [], True
    handler.start()
    return handler


def server_logging(level: str, redact: Redact, form: Form = "auto") -> dict[str, Any]:
    """How gunicorn's master logs, for `dictConfig`: the same lines, at once."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "ours": {
                "()": formatter_for,
                "form": form,
                "redact": redact,
                "sink": sys.stderr,
            }
        },
        "handlers": {"ours": {"class": "logging.StreamHandler", "formatter": "ours"}},
        "root": {"level": level, "handlers": ["ours"]},
        "loggers": {
            "gunicorn.error": {"level": level, "propagate": True},
            "alembic": {"level": "WARNING"},
        },
    }
