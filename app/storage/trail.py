"""Trail: opens the backend of the audit that a URL names, by its scheme."""

from collections.abc import Callable, Mapping

from app.storage.audit.errors import NoKey
from app.storage.backend import AuditBackend
from app.storage.sqlite.backend import SqliteBackend

# Makes a backend of a URL and a key (None: the backend has one of its own).
Opener = Callable[[str, bytes | None], AuditBackend]
Backends = Mapping[str, Opener]


def _postgres(url: str, key: bytes | None) -> AuditBackend:
    # Its driver costs 8 MB, so it is loaded where a URL asks for it.
    from app.storage.postgres.backend import PostgresBackend  # noqa: PLC0415

    if key is None:
        raise NoKey("must be set with this VX11_AUDIT_URL: all hosts sign by it")
    return PostgresBackend(url, key)


BACKENDS: Backends = {"sqlite": SqliteBackend, "postgresql": _postgres}


def open_backend(
    url: str, key: bytes | None = None, backends: Backends = BACKENDS
) -> AuditBackend:
    """Return the backend of this URL; nothing is connected or made by that.

    Raises ValueError, which says what a URL must look like and never what this one
    does, for one that is none of ours; NoKey where a backend needs the key.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    if scheme not in backends:
        raise ValueError(f"must be a URL that begins with {' or '.join(backends)}:")
    return backends[scheme](url, key)
