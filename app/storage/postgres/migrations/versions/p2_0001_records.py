"""The records, the heads of their lanes, the guards, and who may write."""

import sqlalchemy as sa
from alembic import op

# The number of the chain's format, which no migration changes, and one of our own.
revision = "p2_0001"
down_revision = None
branch_labels = None
depends_on = None

# Letters are compared and made small by their bytes, as SQLite does.
TEXT = sa.Text(collation="C")

REFUSE = """
CREATE FUNCTION records_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'check_violation'; END
$$
"""
GUARDS = (
    """
    CREATE TRIGGER records_stay BEFORE DELETE ON records FOR EACH ROW
    EXECUTE FUNCTION records_refuse('audit records are not deleted')
    """,
    """
    CREATE TRIGGER records_whole BEFORE TRUNCATE ON records FOR EACH STATEMENT
    EXECUTE FUNCTION records_refuse('audit records are not deleted')
    """,
    """
    CREATE TRIGGER records_sealed BEFORE UPDATE ON records FOR EACH ROW
    WHEN (OLD.seq IS NOT NULL)
    EXECUTE FUNCTION records_refuse('sealed audit records do not change')
    """,
)
# As SQLite's: where words begin in a text, from 1; 0: nowhere.
INSTR = """
CREATE FUNCTION instr(text, text) RETURNS int LANGUAGE sql IMMUTABLE STRICT
AS 'SELECT strpos($1, $2)'
"""
# The beginning of the newest question, for lists; None for what is no chat of ours.
EXCERPT = """
CREATE FUNCTION excerpt_of(request text, most int) RETURNS text
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (
        SELECT left(turn->>1, most)
        FROM json_array_elements((request::json)->'messages')
            WITH ORDINALITY AS turns(turn, place)
        WHERE json_typeof(turn) = 'array' AND turn->>0 = 'user'
        ORDER BY place DESC LIMIT 1
    );
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$
"""


# What hosts share, lost in a crash: counts of a minute and of the one before it, by
# the server's clock, and who holds how many places until when.
SHARED = (
    """
    CREATE UNLOGGED TABLE pools (
        key text COLLATE "C" PRIMARY KEY,
        win bigint NOT NULL, before bigint NOT NULL, running bigint NOT NULL
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE UNLOGGED TABLE holdings (
        key text COLLATE "C", holder text COLLATE "C",
        places int NOT NULL, want int NOT NULL, until timestamptz NOT NULL,
        PRIMARY KEY (key, holder)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE FUNCTION pool_take(
        k text, quota bigint, cost bigint, want bigint, sharers bigint,
        back bigint, back_win bigint,
        OUT granted bigint, OUT remaining bigint, OUT number bigint,
        OUT reset double precision
    ) LANGUAGE plpgsql AS $$
    DECLARE
        minutes double precision := extract(epoch FROM clock_timestamp()) / 60;
        gone double precision := minutes - floor(minutes);
        p pools;
    BEGIN
        number := floor(minutes);
        INSERT INTO pools VALUES (k, number, 0, 0) ON CONFLICT (key) DO NOTHING;
        SELECT * INTO p FROM pools WHERE key = k FOR UPDATE;
        IF p.win = number - 1 THEN
            p.before := p.running; p.running := 0;
        ELSIF p.win <> number THEN
            p.before := 0; p.running := 0;
        END IF;
        IF back_win = number THEN
            p.running := greatest(0, p.running - back);
        ELSIF back_win = number - 1 THEN
            p.before := greatest(0, p.before - back);
        END IF;
        remaining := quota - floor(p.before * (1 - gone) + p.running);
        granted := 0;
        IF remaining > 0 THEN
            granted := greatest(cost, least(want, remaining / (2 * sharers)));
            p.running := p.running + granted;
            remaining := greatest(0, remaining - granted);
        END IF;
        UPDATE pools SET win = number, before = p.before, running = p.running
        WHERE key = k;
        reset := 60 * (1 - gone);
        IF p.before > 0 THEN
            reset := least(reset, 60.0 / p.before);
        END IF;
    END
    $$
    """,
    """
    CREATE FUNCTION pool_hold(
        k text, me text, most int, used int, wanted int, lease double precision
    ) RETURNS int LANGUAGE plpgsql AS $$
    DECLARE
        taken int;
        wished int;
        holders int;
        mine int;
    BEGIN
        PERFORM pg_advisory_xact_lock(7521192, hashtext(k));
        SELECT coalesce(sum(places), 0), coalesce(sum(want), 0), 1 + count(*)
        INTO taken, wished, holders FROM holdings
        WHERE key = k AND holder <> me AND want > 0 AND until > clock_timestamp();
        mine := least(wanted, greatest(1, most / holders, most - wished), most - taken);
        mine := greatest(0, mine);
        INSERT INTO holdings VALUES (
            k, me, greatest(mine, used), wanted,
            clock_timestamp() + lease * interval '1 second'
        )
        ON CONFLICT (key, holder) DO UPDATE SET
            places = excluded.places, want = excluded.want, until = excluded.until;
        RETURN mine;
    END
    $$
    """,
)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "records",
        sa.Column("id", sa.String(32, "C"), primary_key=True),
        sa.Column("correlation_id", TEXT, nullable=False),
        sa.Column("session_id", TEXT, nullable=False),
        sa.Column("caller", TEXT, nullable=False),
        sa.Column("route", TEXT, nullable=False),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("request", TEXT),
        sa.Column("person", TEXT),
        sa.Column("worker", TEXT, nullable=False),
        sa.Column("outcome", TEXT),
        sa.Column("code", TEXT),
        sa.Column("provider", TEXT),
        sa.Column("model", TEXT),
        sa.Column("degraded_by", TEXT),
        sa.Column("status", sa.Integer),
        sa.Column("reply", TEXT),
        sa.Column("attempts", TEXT),
        sa.Column("duration", sa.Double),
        sa.Column("input_tokens", sa.BigInteger),
        sa.Column("output_tokens", sa.BigInteger),
        sa.Column("closed_at", sa.Double),
        sa.Column("corrects", sa.String(32, "C")),
        sa.Column("decision", TEXT),
        sa.Column("source", sa.String(32, "C")),
        sa.Column("reuse", TEXT),
        sa.Column("lane", sa.Integer, nullable=False, server_default="1"),
        sa.Column("salt", sa.LargeBinary(16)),
        sa.Column("request_digest", sa.LargeBinary(32)),
        sa.Column("reply_digest", sa.LargeBinary(32)),
        sa.Column("clock_step", sa.Double),
        sa.Column("seq", sa.BigInteger),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Column("mac", sa.LargeBinary(32)),
        # By lane first: each is walked by itself.
        sa.UniqueConstraint("lane", "seq", name="uq_records_place"),
        # Words are compressed by their first page, and rows completed in place.
        postgresql_with={"fillfactor": 90},
    )
    _indexes()
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
        # Whose lane it is, on which host, until when he is believed to live by the
        # server's clock, and what he tells the other hosts of himself.
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("about", TEXT, nullable=False),
        # It changes with each write, so its page has room for the next versions.
        postgresql_with={"fillfactor": 20},
    )
    op.create_table(
        "progress",
        sa.Column("task", sa.String(16, "C"), primary_key=True),
        sa.Column("lane", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("mark", sa.LargeBinary(32), nullable=False),
        sa.Column("record", sa.String(32, "C"), nullable=False),
        sa.Column("said_at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("body", sa.LargeBinary),
    )
    op.create_index("ix_answers_until", "answers", ["until", "size"])
    op.create_index("ix_answers_record", "answers", ["record"])
    op.create_table(
        "compat",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
        sa.Column("oldest", sa.Integer, nullable=False),
    )
    op.execute("INSERT INTO compat VALUES (1, 1)")
    for statement in (REFUSE, *GUARDS, INSTR, EXCERPT, *SHARED):
        op.execute(statement)


def _indexes() -> None:
    op.create_index("ix_records_correlation_id", "records", ["correlation_id"])
    op.create_index("ix_records_session_id", "records", ["session_id"])
    op.create_index("ix_records_opened_at", "records", ["opened_at"])
    op.create_index("ix_records_outcome", "records", ["outcome", "opened_at"])
    op.create_index(
        "ix_records_degraded",
        "records",
        ["opened_at", "closed_at", "degraded_by", "corrects"],
        postgresql_where=sa.text("degraded_by IS NOT NULL"),
    )
    op.create_index(
        "ix_records_person",
        "records",
        ["person", "opened_at"],
        postgresql_where=sa.text("person IS NOT NULL"),
    )
    op.create_index(
        "ix_records_open",
        "records",
        ["lane", "id"],
        postgresql_where=sa.text("seq IS NULL"),
    )


def downgrade() -> None:
    """Refuse: an audit trail is not dropped by a migration."""
    raise NotImplementedError("an audit trail is not dropped by a migration")
