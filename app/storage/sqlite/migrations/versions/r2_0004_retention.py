"""Words of sealed records may give way to their digests; pruned records may go."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "2_0004"
down_revision = "2_0003"
branch_labels = None
depends_on = None

STAY = """
    CREATE TRIGGER records_stay BEFORE DELETE ON records
    WHEN OLD.seq IS NULL OR NOT EXISTS (SELECT 1 FROM chain
    WHERE chain.id = OLD.lane AND OLD.seq <= chain.floor_seq)
    BEGIN SELECT RAISE(ABORT, 'audit records are not deleted'); END
"""
# All but the words, their digests and `mac`.
FIXED = (
    "id",
    "correlation_id",
    "session_id",
    "caller",
    "route",
    "opened_at",
    "person",
    "worker",
    "outcome",
    "code",
    "provider",
    "model",
    "degraded_by",
    "status",
    "attempts",
    "duration",
    "input_tokens",
    "output_tokens",
    "closed_at",
    "corrects",
    "decision",
    "source",
    "reuse",
    "lane",
    "clock_step",
    "seq",
    "digest",
)
WORDS = ("request", "reply", "salt")
DIGESTS = ("request_digest", "reply_digest")


def upgrade() -> None:
    """Make the table of progress, and the guards exact."""
    op.create_table(
        "progress",
        sa.Column("task", sa.String(16), primary_key=True),
        sa.Column("lane", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER records_stay")
        op.execute("DROP TRIGGER records_sealed")
        op.execute(STAY)
        op.execute(_sealed())


def _sealed() -> str:
    no_words = [f"NEW.{name} IS NULL" for name in WORDS]
    no_words += [f"ifnull(length(NEW.{name}), 0) = 32" for name in DIGESTS]
    return (
        "CREATE TRIGGER records_sealed BEFORE UPDATE ON records "
        f"WHEN OLD.seq IS NOT NULL AND NOT ({_same(FIXED)} "
        f"AND (({' AND '.join(no_words)}) OR ({_same((*WORDS, *DIGESTS))}))) "
        "BEGIN SELECT RAISE(ABORT, 'sealed audit records do not change'); END"
    )


def _same(names: Sequence[str]) -> str:
    return " AND ".join(f"NEW.{name} IS OLD.{name}" for name in names)


def downgrade() -> None:
    """Refuse: an audit trail is not dropped by a migration."""
    raise NotImplementedError("an audit trail is not dropped by a migration")
