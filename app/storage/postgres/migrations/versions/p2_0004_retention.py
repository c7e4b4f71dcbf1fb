"""Words of sealed records may give way to their digests; pruned records may go."""

from alembic import op

revision, down_revision = "p2_0004", "p2_0003"
branch_labels = depends_on = None

STAY = """
CREATE FUNCTION records_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.seq <= (SELECT floor_seq FROM chain WHERE id = OLD.lane) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'audit records are not deleted' USING ERRCODE = 'check_violation';
END
$$
"""
SEALED = """
CREATE FUNCTION records_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    same records := NEW;
BEGIN
    same.request := OLD.request;
    same.reply := OLD.reply;
    same.salt := OLD.salt;
    same.request_digest := OLD.request_digest;
    same.reply_digest := OLD.reply_digest;
    IF same IS NOT DISTINCT FROM OLD
        AND num_nonnulls(NEW.request, NEW.reply, NEW.salt) = 0
        AND length(NEW.request_digest) = 32 AND length(NEW.reply_digest) = 32
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'sealed audit records do not change'
        USING ERRCODE = 'check_violation';
END
$$
"""
GUARDS = (
    """
    CREATE OR REPLACE TRIGGER records_stay BEFORE DELETE ON records FOR EACH ROW
    EXECUTE FUNCTION records_stay()
    """,
    """
    CREATE OR REPLACE TRIGGER records_sealed BEFORE UPDATE ON records FOR EACH ROW
    WHEN (OLD.seq IS NOT NULL) EXECUTE FUNCTION records_sealed()
    """,
)


def upgrade() -> None:
    """Make the guards exact."""
    for statement in (STAY, SEALED, *GUARDS):
        op.execute(statement)


def downgrade() -> None:
    """Refuse: an audit trail is not dropped by a migration."""
    raise NotImplementedError("an audit trail is not dropped by a migration")
