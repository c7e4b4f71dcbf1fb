"""Moving: what the commands for the record of several hosts use."""

from contextlib import suppress

from app.gateway.errors import AuditUnavailable
from app.settings import Settings
from app.storage.audit.errors import StoreFailed
from app.storage.backend import AuditBackend, SharedBackend
from app.storage.chain.verification import OnProgress
from app.storage.trail import open_backend
from app.wiring import parts


def move_records(
    settings: Settings, source: str, on_progress: OnProgress
) -> tuple[int, tuple[str, ...]]:
    """Copy the trail of another URL; return how many records, and the heads.

    Raises ValueError for a URL of none, AuditUnavailable if nothing was moved.
    """
    target = _shared(settings)
    try:
        moved = target.take_over(_source(settings, source), on_progress)
    except StoreFailed as error:
        raise AuditUnavailable(str(error)) from error
    return moved.records, tuple(map(str, moved.heads))


def accept_loss(settings: Settings) -> int:
    """Let all lanes go on from where they end; return how many they are.

    Raises ValueError where there is but one host, AuditUnavailable.
    """
    try:
        return _shared(settings).accept_loss()
    except StoreFailed as error:
        raise AuditUnavailable(str(error)) from error


def _source(settings: Settings, url: str) -> AuditBackend:
    """The trail with the key beside it, else with that of the settings."""
    own = open_backend(url)
    with suppress(StoreFailed):
        if own.verify().ok:
            return own
    return open_backend(url, settings.audit_key_bytes())


def _shared(settings: Settings) -> SharedBackend:
    backend = parts.audit(settings)
    if not isinstance(backend, SharedBackend):
        raise ValueError("must be postgresql://… for this")
    return backend
