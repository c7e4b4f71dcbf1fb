"""What hosts claim: who of them asks what others want to ask, too."""

from alembic import op

revision, down_revision = "p2_0002", "p2_0001"
branch_labels = depends_on = None

# Lost in a crash of the server, as the leases of three seconds are soon anyway.
CLAIMS = """
CREATE UNLOGGED TABLE claims (
    key bytea PRIMARY KEY, holder bytea NOT NULL, until timestamptz NOT NULL
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(CLAIMS)


def downgrade() -> None:
    """Refuse: an audit trail is not dropped by a migration."""
    raise NotImplementedError("an audit trail is not dropped by a migration")
