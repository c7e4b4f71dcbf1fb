"""PostgresClaimTable: the claims of all hosts, in a table without a log."""

from app.gateway.kept.claim_table import LEASE, ClaimTable
from app.storage.postgres.shared.query_thread import QueryThread, Unanswered

WAIT = 1.0  # seconds that a request waits for an answer, at most
POLL = 0.1  # seconds between two looks at a claim; each is a round trip

_LASTS = f"clock_timestamp() + interval '{LEASE} seconds'"
# What was just taken by another is not seen yet by the second part: then ask again.
_TAKE = f"""
WITH taken AS (
    INSERT INTO claims AS c (key, holder, until)
    VALUES (%(key)s, %(mine)s, {_LASTS})
    ON CONFLICT (key) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE c.until < clock_timestamp() OR c.holder = excluded.holder
    RETURNING holder
)
SELECT holder FROM taken
UNION ALL SELECT holder FROM claims
WHERE key = %(key)s AND NOT EXISTS (SELECT 1 FROM taken)
"""  # noqa: S608
_READ = "SELECT holder FROM claims WHERE key = %s AND until > clock_timestamp()"
_DROP = "DELETE FROM claims WHERE key = %s AND holder = %s"
FORGET_CLAIMS = "DELETE FROM claims WHERE until < clock_timestamp() - interval '1 hour'"


class PostgresClaimTable:
    """Fulfils `ClaimTable` for all hosts. Threads may share it.

    While the server does not answer, claims are those of the table `alone`.
    """

    poll = POLL

    def __init__(self, thread: QueryThread, alone: ClaimTable) -> None:
        self._thread, self._alone = thread, alone

    def take(self, key: bytes, mine: bytes) -> bytes:
        """See ClaimTable."""
        arguments = {"key": key, "mine": mine}
        try:
            while True:
                found = self._thread.ask(lambda s: s.run(_TAKE, arguments), WAIT)
                if found:
                    return bytes(found[0][0])
        except Unanswered:
            return self._alone.take(key, mine)

    def read(self, key: bytes) -> bytes | None:
        """See ClaimTable."""
        try:
            found = self._thread.ask(lambda s: s.run(_READ, (key,)), WAIT)
        except Unanswered:
            return self._alone.read(key)
        return bytes(found[0][0]) if found else self._alone.read(key)

    def renew(self, key: bytes, mine: bytes) -> None:
        """See ClaimTable."""
        self._thread.tell(lambda s: s.run(_TAKE, {"key": key, "mine": mine}))
        if self._alone.read(key) == mine:
            self._alone.renew(key, mine)

    def drop(self, key: bytes, mine: bytes) -> None:
        """See ClaimTable."""
        self._thread.tell(lambda s: s.run(_DROP, (key, mine)))
        if self._alone.read(key) == mine:
            self._alone.drop(key, mine)
