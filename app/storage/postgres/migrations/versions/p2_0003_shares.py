"""What each caller's kept answers take is found without reading them."""

from alembic import op

revision, down_revision = "p2_0003", "p2_0002"
branch_labels = depends_on = None


def upgrade() -> None:
    """Make an index that has all that is asked for."""
    op.create_index("ix_answers_owner", "answers", ["key", "until", "size"])


def downgrade() -> None:
    """Refuse: an audit trail is not dropped by a migration."""
    raise NotImplementedError("an audit trail is not dropped by a migration")
