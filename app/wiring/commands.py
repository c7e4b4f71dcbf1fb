"""What commands and gunicorn's hooks use without a running gateway."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

from app.gateway.access.tokens import TokenStore
from app.gateway.budget import Budget
from app.gateway.errors import AuditUnavailable
from app.gateway.evidence.backtest import Backtest, backtest
from app.gateway.evidence.explanation import explain
from app.gateway.evidence.report import Report
from app.gateway.evidence.reporting import report
from app.gateway.records.activity import Activity
from app.gateway.records.audit import Query, Record
from app.settings import Settings
from app.storage.audit.errors import StoreFailed
from app.storage.audit.reader import AuditReader
from app.storage.audit.scan import scan, whole_chain
from app.storage.chain.anchors import anchors_in, parse_head
from app.storage.chain.knots import Place
from app.storage.chain.retention import Erased, Whose
from app.storage.chain.verification import OnProgress, Verification
from app.storage.evidence.reader import EvidenceReader
from app.storage.tokens.edit import TokenFile
from app.telemetry import logs
from app.telemetry.metrics.directory import MetricDirectory, remove_left_behind
from app.wiring import parts
from app.wiring.configurations import configuration

__all__ = [
    "Erased",
    "OnProgress",
    "Place",
    "Verification",
    "Whose",
    "anchors_in",
    "backtest_of",
    "backup_records",
    "begin_counts",
    "erase_words",
    "explained",
    "export_records",
    "newest_head",
    "open_records",
    "open_windows",
    "parse_head",
    "place_of_records",
    "report_on",
    "report_page",
    "restore_records",
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
    redact, form = parts.redactor(settings).text, settings.log_format
    logs.set_up_logging(settings.log_level, redact, form=form)


def server_logging(settings: Settings) -> dict[str, Any]:
    """The configuration of logging for gunicorn's own lines."""
    redact, form = parts.redactor(settings).text, settings.log_format
    return logs.server_logging(settings.log_level, redact, form)


def begin_counts(settings: Settings) -> MetricDirectory:
    """Begin all counts anew, and keep them while there is no worker for a moment.

    Folders that killed instances left are removed. Raises OSError.
    """
    path = parts.metrics_folder(settings)
    remove_left_behind(path.parent)
    return MetricDirectory(path)


def place_of_records(settings: Settings) -> str:
    """Where the records are, for people. Raises SettingsError for a URL of none."""
    return parts.audit(settings).place


def open_records(settings: Settings) -> AuditReader:
    """Return the read side of the audit. Raises SettingsError as all here do.

    Raises AuditUnavailable, with whose they are, if this user may not read them.
    """
    audit = parts.audit(settings)
    try:
        audit.require_readable()
    except StoreFailed as error:
        raise AuditUnavailable(str(error)) from error
    return audit.records()


def open_windows(settings: Settings) -> Activity:
    """Return the view of the recent past."""
    return parts.audit(settings).activity()


def newest_head(
    settings: Settings, pids: Iterable[int], known: str | None
) -> str | None:
    """Return the newest head that these workers have seen, or `known`."""
    with suppress(OSError):
        return parts.audit(settings).newest_head(pids, known)
    return known


def search_records(
    settings: Settings, query: Query, on_progress: OnProgress
) -> Iterator[Record]:
    """Yield what is found in all records, newest first. Raises AuditUnavailable."""
    return scan(open_records(settings), query, on_progress)


def export_records(
    settings: Settings, on_progress: OnProgress
) -> tuple[Iterator[Record], tuple[str, ...]]:
    """Return all records in the order of the chain, and the heads where they end.

    Raises AuditUnavailable, also while they are taken.
    """
    reader = open_records(settings)
    heads = reader.heads()
    return whole_chain(reader, heads, on_progress), tuple(map(str, heads))


def report_on(
    settings: Settings, since: float, until: float, on_progress: OnProgress
) -> Report:
    """Tell of a time, in Unix time, what went wrong. Raises AuditUnavailable."""
    source = EvidenceReader(open_records(settings))

    def tell(at: float) -> None:
        on_progress(int(at - since), int(until - since))

    return report(source, since, until, now=time(), on_progress=tell)


def explained(settings: Settings, any_id: str) -> tuple[str, ...] | None:
    """Tell why the chat of that record went as it did; None: there is no such record.

    Raises AuditUnavailable.
    """
    reader = open_records(settings)
    record = reader.get(any_id)
    return None if record is None else explain(record, EvidenceReader(reader))


def report_page(made: Report, words: Mapping[str, Any]) -> str:
    """Return a report as a page of HTML that stands for itself."""
    from app.web.operator.report_page import render  # noqa: PLC0415  # it takes Flask

    return render(made, words)


def backtest_of(
    settings: Settings,
    others: Settings,
    since: float,
    until: float,
    on_progress: OnProgress,
) -> Backtest:
    """Decide the chats of a time, in Unix time, once more with other settings.

    Raises AuditUnavailable, and SettingsError for what no gateway could be made of.
    """
    source = EvidenceReader(open_records(settings))

    def tell(at: float) -> None:
        on_progress(int(at - since), int(until - since))

    now, then = configuration(settings), configuration(others)
    return backtest(source, now, then, since, until, tell)


def verify_records(
    settings: Settings, noted: Iterable[Place], on_progress: OnProgress
) -> Verification:
    """Check the whole hash chain; works while the gateway writes.

    `noted` are heads of earlier, which must still be part of it.
    Raises AuditUnavailable, with what an operator can do, when it can't be read.
    """
    audit = parts.audit(settings)
    try:
        return audit.verify(noted=noted, on_progress=on_progress)
    except StoreFailed as error:
        raise AuditUnavailable(str(error)) from error


def backup_records(settings: Settings, folder: Path) -> Verification:
    """Copy the records into a new folder, while others write; check the copy.

    Raises AuditUnavailable, with why, if nothing was copied.
    """
    try:
        return parts.audit(settings).backup(folder)
    except StoreFailed as error:
        raise AuditUnavailable(str(error)) from error


def restore_records(
    settings: Settings, folder: Path, *, sets_aside: bool
) -> Verification:
    """Put a copy in the place of the records; see AuditBackend.

    Raises AuditUnavailable, with why, having changed nothing.
    """
    try:
        return parts.audit(settings).restore(folder, sets_aside=sets_aside)
    except StoreFailed as error:
        raise AuditUnavailable(str(error)) from error


def erase_words(
    settings: Settings, whose: Whose, *, is_rehearsal: bool, on_progress: OnProgress
) -> Erased:
    """Take the words of somebody's records; works while the gateway writes.

    Raises AuditUnavailable, with what an operator can do, or SearchTookTooLong.
    """
    audit = parts.audit(settings)
    try:
        return audit.erase(whose, is_rehearsal=is_rehearsal, on_progress=on_progress)
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
