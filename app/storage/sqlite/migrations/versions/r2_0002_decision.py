"""What was decided of a chat before anybody was asked."""

import sqlalchemy as sa
from alembic import op

revision = "2_0002"
down_revision = "2_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; records of before have none."""
    op.add_column("records", sa.Column("decision", sa.Text))
