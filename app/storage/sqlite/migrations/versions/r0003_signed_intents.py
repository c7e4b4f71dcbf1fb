"""A signature for each open record, so that only what we wrote is ever sealed."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column. What is open by now stays unsigned, and so unsealed."""
    op.add_column("records", sa.Column("mac", sa.LargeBinary(32)))


def downgrade() -> None:
    """Drop it again."""
    op.drop_column("records", "mac")
