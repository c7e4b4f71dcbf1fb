"""The tables of the audit trail, in portable SQLAlchemy Core.

The migrations make them; a test holds that both say the same.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

_DEGRADED = sa.text("degraded_by IS NOT NULL")
_NAMED = sa.text("person IS NOT NULL")

# One row per chat. It is inserted at the intent and updated once, at its ending,
# which seals it: what stands from `lane` on belongs to the chain. Until then `mac` is
# the signature of the intent; a sealed row has none. The two digests of words are
# there only where the words are not any more: then `salt`, `request`, `reply` are NULL.
records = sa.Table(
    "records",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("correlation_id", sa.Text, nullable=False, index=True),
    sa.Column("session_id", sa.Text, nullable=False, index=True),
    sa.Column("caller", sa.Text, nullable=False),
    sa.Column("route", sa.Text, nullable=False),
    sa.Column("opened_at", sa.Double, nullable=False, index=True),
    sa.Column("request", sa.Text),
    sa.Column("person", sa.Text),
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
    sa.Column("code", sa.Text),
    sa.Column("provider", sa.Text),
    sa.Column("model", sa.Text),
    sa.Column("degraded_by", sa.Text),
    sa.Column("status", sa.Integer),
    sa.Column("reply", sa.Text),
    sa.Column("attempts", sa.Text),
    sa.Column("duration", sa.Double),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column("closed_at", sa.Double),
    sa.Column("corrects", sa.String(32)),
    sa.Column("decision", sa.Text),
    sa.Column("source", sa.String(32)),
    sa.Column("reuse", sa.Text),
    sa.Column("lane", sa.Integer, nullable=False, server_default="1"),
    sa.Column("salt", sa.LargeBinary(16)),
    sa.Column("request_digest", sa.LargeBinary(32)),
    sa.Column("reply_digest", sa.LargeBinary(32)),
    sa.Column("clock_step", sa.Double),
    sa.Column("seq", sa.BigInteger),
    sa.Column("digest", sa.LargeBinary(32)),
    sa.Column("mac", sa.LargeBinary(32)),
    sa.UniqueConstraint("seq", "lane", name="uq_records_place"),
    sa.Index("ix_records_outcome", "outcome", "opened_at"),
    sa.Index(
        "ix_records_degraded",  # holds all that `activity` asks of degraded answers
        "opened_at",
        "closed_at",
        "degraded_by",
        "corrects",
        sqlite_where=_DEGRADED,
        postgresql_where=_DEGRADED,
    ),
    sa.Index(
        "ix_records_person",
        "person",
        "opened_at",
        sqlite_where=_NAMED,
        postgresql_where=_NAMED,
    ),
)

# The heads of the chain, one for each lane (`id`): where it must begin and end.
chain = sa.Table(
    "chain",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("sealed_at", sa.Double, nullable=False),
    sa.Column("floor_seq", sa.BigInteger, nullable=False),
    sa.Column("floor_digest", sa.LargeBinary(32), nullable=False),
    sa.Column("knotted_at", sa.Double, nullable=False),
    sa.Column("mac", sa.LargeBinary(32), nullable=False),
)

# How far a task of the house work has come in a lane. Not part of the chain: whoever
# changes it delays the task or has it done once more.
progress = sa.Table(
    "progress",
    metadata,
    sa.Column("task", sa.String(16), primary_key=True),
    sa.Column("lane", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

# Answers that can be said again, each written in the commit of its record. They are no
# part of the chain, sealed, and deleted when they have expired. `size` is that of
# `body` in bytes, and of what is around it.
answers = sa.Table(
    "answers",
    metadata,
    sa.Column("key", sa.LargeBinary(32), primary_key=True),
    sa.Column("mark", sa.LargeBinary(32), nullable=False),
    sa.Column("record", sa.String(32), nullable=False),
    sa.Column("said_at", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary),
    sa.Index("ix_answers_until", "until", "size"),
    sa.Index("ix_answers_owner", "key", "until", "size"),
    sa.Index("ix_answers_record", "record"),
)


COLUMNS = tuple(column.name for column in records.columns)
# Those of the intent; with those of the ending; what is read.
OPENING = COLUMNS[: COLUMNS.index("outcome")]
CONTENT = COLUMNS[: COLUMNS.index("lane")]
RECORD = (*CONTENT, "clock_step", "seq", "digest")
# What the writer writes; the digests of words come when these go.
ERASED = ("request_digest", "reply_digest")
WORDS = ("request", "reply", "salt")
WRITTEN = tuple(name for name in COLUMNS if name not in ERASED)
# What the digest of a row is made of, besides the words. A column that comes later
# goes to the end of this tuple, so that rows of before, which lack it, still verify.
DIGESTED = (
    "id",
    "correlation_id",
    "session_id",
    "caller",
    "route",
    "opened_at",
    "worker",
    "outcome",
    "code",
    "provider",
    "model",
    "degraded_by",
    "status",
    "attempts",
    "duration",
    "input_tokens",
    "output_tokens",
    "closed_at",
    "corrects",
    "person",
    "decision",
    "source",
    "reuse",
)

# What stays as it is when the words go (columns that came later are guarded by the
# chain alone). A sealed row has no `mac`, so it is free to
# carry what covers old bytes of its page, for the length of a transaction.
_FIXED = (
    "id",
    "correlation_id",
    "session_id",
    "caller",
    "route",
    "opened_at",
    "person",
    "worker",
    "outcome",
    "code",
    "provider",
    "model",
    "degraded_by",
    "status",
    "attempts",
    "duration",
    "input_tokens",
    "output_tokens",
    "closed_at",
    "corrects",
    "decision",
    "source",
    "reuse",
    "lane",
    "clock_step",
    "seq",
    "digest",
)
_SAME = " AND ".join(f"NEW.{name} IS OLD.{name}" for name in _FIXED)
_SAME_WORDS = " AND ".join(f"NEW.{name} IS OLD.{name}" for name in (*WORDS, *ERASED))
_NO_WORDS = " AND ".join(
    [f"NEW.{name} IS NULL" for name in WORDS]
    + [f"ifnull(length(NEW.{name}), 0) = 32" for name in ERASED]
)

# The triggers that guard the records, by name, where a database has triggers. A record
# goes only once the floor of its lane is above it, and its words only for digests.
GUARDS = {
    "records_stay": "CREATE TRIGGER records_stay BEFORE DELETE ON records "
    "WHEN OLD.seq IS NULL OR NOT EXISTS (SELECT 1 FROM chain "
    "WHERE chain.id = OLD.lane AND OLD.seq <= chain.floor_seq) "
    "BEGIN SELECT RAISE(ABORT, 'audit records are not deleted'); END",
    "records_sealed": "CREATE TRIGGER records_sealed BEFORE UPDATE ON records "
    f"WHEN OLD.seq IS NOT NULL AND NOT ({_SAME} "
    f"AND (({_NO_WORDS}) OR ({_SAME_WORDS}))) "
    "BEGIN SELECT RAISE(ABORT, 'sealed audit records do not change'); END",
}
