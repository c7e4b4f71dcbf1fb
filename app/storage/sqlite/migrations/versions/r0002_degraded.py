"""An index of the degraded answers, so that outages are found among millions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; an answer of the first choice is not in it and costs nothing."""
    degraded = sa.text("degraded_by IS NOT NULL")
    op.create_index(
        "ix_records_degraded",
        "records",
        ["opened_at", "closed_at", "degraded_by", "corrects"],
        sqlite_where=degraded,
        postgresql_where=degraded,
    )


def downgrade() -> None:
    """Drop it again."""
    op.drop_index("ix_records_degraded", "records")
