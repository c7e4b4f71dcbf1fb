"""What each caller's kept answers take is found without reading them."""

from alembic import op

revision = "2_0005"
down_revision = "2_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make an index that has all that is asked for."""
    op.create_index("ix_answers_owner", "answers", ["key", "until", "size"])


def downgrade() -> None:
    """Refuse: an audit trail is not dropped by a migration."""
    raise NotImplementedError("an audit trail is not dropped by a migration")
