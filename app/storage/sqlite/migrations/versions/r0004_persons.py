"""The person behind a shared token, and an index to search by."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column. Rows without a person stay signed as they are."""
    op.add_column("records", sa.Column("person", sa.Text))
    named = sa.text("person IS NOT NULL")
    op.create_index(
        "ix_records_person",
        "records",
        ["person", "opened_at"],
        sqlite_where=named,
        postgresql_where=named,
    )


def downgrade() -> None:
    """Drop both again."""
    op.drop_index("ix_records_person", "records")
    op.drop_column("records", "person")
