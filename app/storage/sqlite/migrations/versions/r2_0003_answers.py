"""Answers that can be said again, and of each record whether it repeats another."""

import sqlalchemy as sa
from alembic import op

revision = "2_0003"
down_revision = "2_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table and two columns, and touch no row."""
    op.add_column("records", sa.Column("source", sa.String(32)))
    op.add_column("records", sa.Column("reuse", sa.Text))
    op.create_table(
        "answers",
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("mark", sa.LargeBinary(32), nullable=False),
        sa.Column("record", sa.String(32), nullable=False),
        sa.Column("said_at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary),
    )
    op.create_index("ix_answers_until", "answers", ["until", "size"])
    op.create_index("ix_answers_record", "answers", ["record"])


def downgrade() -> None:
    """Refuse: an audit trail is not dropped by a migration."""
    raise NotImplementedError("an audit trail is not dropped by a migration")
