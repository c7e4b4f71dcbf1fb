"""Lacking: what SQLite has and PostgreSQL has not yet, said clearly."""

from pathlib import Path

from app.storage.audit.errors import StoreFailed
from app.storage.chain.retention import Erased, Whose
from app.storage.chain.verification import OnProgress, Verification, ignore

_BACKUPS = "PostgreSQL is backed up by its own tools, see deploy/two-hosts/backup.sh"


class Lacking:
    """Refuses what this backend cannot do. See AuditBackend for each."""

    def erase(  # see AuditBackend
        self,
        whose: Whose,  # noqa: ARG002
        *,
        is_rehearsal: bool,  # noqa: ARG002
        on_progress: OnProgress = ignore,  # noqa: ARG002
    ) -> Erased:
        """Refuse: words cannot be erased on PostgreSQL yet."""
        raise StoreFailed("unsuitable", "words cannot be erased on PostgreSQL yet")

    def backup(self, folder: Path) -> Verification:  # noqa: ARG002  # see AuditBackend
        """Refuse: the server's own tools do that (docs/several-hosts.md)."""
        raise StoreFailed("unsuitable", _BACKUPS)

    def restore(self, folder: Path, *, sets_aside: bool = False) -> Verification:  # noqa: ARG002
        """Refuse, as `backup` does."""
        raise StoreFailed("unsuitable", _BACKUPS)
