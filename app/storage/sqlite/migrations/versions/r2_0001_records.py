"""The records, the heads of their chain (format 2), and the guard of sealed rows."""

import sqlalchemy as sa
from alembic import op

# The number of the chain's format, which no migration changes, and one of our own.
revision = "2_0001"
down_revision = None
branch_labels = None
depends_on = None

# A guard against accidents; the proof is the chain.
GUARDS = (
    """
    CREATE TRIGGER records_stay BEFORE DELETE ON records
    BEGIN SELECT RAISE(ABORT, 'audit records are not deleted'); END
    """,
    """
    CREATE TRIGGER records_sealed BEFORE UPDATE ON records
    WHEN OLD.seq IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'sealed audit records do not change'); END
    """,
)


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "records",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("request", sa.Text),
        sa.Column("person", sa.Text),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("code", sa.Text),
        sa.Column("provider", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("degraded_by", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("reply", sa.Text),
        sa.Column("attempts", sa.Text),
        sa.Column("duration", sa.Double),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("closed_at", sa.Double),
        sa.Column("corrects", sa.String(32)),
        sa.Column("lane", sa.Integer, nullable=False, server_default="1"),
        sa.Column("salt", sa.LargeBinary(16)),
        sa.Column("request_digest", sa.LargeBinary(32)),
        sa.Column("reply_digest", sa.LargeBinary(32)),
        sa.Column("clock_step", sa.Double),
        sa.Column("seq", sa.BigInteger),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Column("mac", sa.LargeBinary(32)),
        sa.UniqueConstraint("seq", "lane", name="uq_records_place"),
    )
    op.create_index("ix_records_correlation_id", "records", ["correlation_id"])
    op.create_index("ix_records_session_id", "records", ["session_id"])
    op.create_index("ix_records_opened_at", "records", ["opened_at"])
    op.create_index("ix_records_outcome", "records", ["outcome", "opened_at"])
    degraded = sa.text("degraded_by IS NOT NULL")
    op.create_index(
        "ix_records_degraded",
        "records",
        ["opened_at", "closed_at", "degraded_by", "corrects"],
        sqlite_where=degraded,
        postgresql_where=degraded,
    )
    named = sa.text("person IS NOT NULL")
    op.create_index(
        "ix_records_person",
        "records",
        ["person", "opened_at"],
        sqlite_where=named,
        postgresql_where=named,
    )
    op.create_table(
        "chain",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("sealed_at", sa.Double, nullable=False),
        sa.Column("floor_seq", sa.BigInteger, nullable=False),
        sa.Column("floor_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("knotted_at", sa.Double, nullable=False),
        sa.Column("mac", sa.LargeBinary(32), nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        for guard in GUARDS:
            op.execute(guard)


def downgrade() -> None:
    """Refuse: an audit trail is not dropped by a migration."""
    raise NotImplementedError("an audit trail is not dropped by a migration")
