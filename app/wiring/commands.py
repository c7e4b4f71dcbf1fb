"""What commands and gunicorn's hooks use without a running gateway."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.gateway.access.tokens import TokenStore
from app.gateway.budget import Budget
from app.gateway.errors import AuditUnavailable
from app.gateway.records.audit import Query, Record, Records
from app.settings import Settings
from app.storage.audit.errors import StoreFailed
from app.storage.audit.scan import scan
from app.storage.audit.verification import OnProgress, Verification
from app.storage.tokens.edit import TokenFile
from app.storage.trail import open_reader, verify_trail
from app.telemetry import logs
from app.telemetry.metrics.directory import MetricDirectory, remove_left_behind
from app.wiring import parts

__all__ = [
    "OnProgress",
    "begin_counts",
    "open_records",
    "run_post_task",
    "search_records",
    "server_logging",
    "set_up_logging",
    "token_store",
    "verify_records",
]


def token_store(path: Path) -> TokenStore:
    """Return the file of tokens, for a command that changes it."""
    return TokenFile(path)


def set_up_logging(settings: Settings) -> None:
    """Send this process's log lines through the redactor to the standard error."""
    logs.set_up_logging(settings.log_level, parts.redactor(settings).text)


def server_logging(settings: Settings) -> dict[str, Any]:
    """The configuration of logging for gunicorn's own lines."""
    return logs.server_logging(settings.log_level, parts.redactor(settings).text)


def begin_counts(settings: Settings) -> MetricDirectory:
    """Begin all counts anew, and keep them while there is no worker for a moment.

    Folders that killed instances left are removed. Raises OSError.
    """
    path = parts.metrics_folder(settings)
    remove_left_behind(path.parent)
    return MetricDirectory(path)


def open_records(settings: Settings) -> Records:
    """Return the read side of the audit."""
    return open_reader(settings.audit_url)


def search_records(
    settings: Settings, query: Query, on_progress: OnProgress
) -> Iterator[Record]:
    """Yield what is found in all records, newest first. Raises AuditUnavailable."""
    return scan(open_reader(settings.audit_url), query, on_progress)


def verify_records(settings: Settings, on_progress: OnProgress) -> Verification:
    """Check the whole hash chain; works while the gateway writes.

    Raises AuditUnavailable, with what an operator can do, when it can't be read.
    """
    key = settings.audit_key_bytes()
    try:
        return verify_trail(settings.audit_url, key, on_progress=on_progress)
    except StoreFailed as error:
        raise AuditUnavailable(str(error)) from error


def run_post_task(settings: Settings, seconds: float) -> str:
    """Ask every upstream that has a maintenance for it; return the last one's answer.

    Raises an UpstreamError if one does not do it.
    """
    transport = parts.transport(settings)
    upstreams = parts.upstreams(settings, transport).values()
    answers = [upstream.post_task(Budget(seconds)) for upstream in upstreams]
    transport.close()
    return next(filter(None, reversed(answers)), "there is no madre")
