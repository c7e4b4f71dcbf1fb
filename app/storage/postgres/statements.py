"""Statements: the SQL of a writer on PostgreSQL, made once of the schema."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from app.gateway.kept.answers import Kept
from app.storage.audit.rows import Draft, Values, to_json
from app.storage.audit.schema import ERASED, OPENING, WRITTEN, answers, records
from app.storage.chain.links import Head
from app.storage.kept import rows as kept

# Seconds that a lane stays its worker's without a word of him, by the server's clock.
LEASE = 4.0

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
FIELDS = tuple(Head.__dataclass_fields__)
_COLUMNS = tuple("id" if name == "lane" else name for name in FIELDS)
HEAD = ", ".join((*_COLUMNS, "mac"))

_ALIVE = f"alive_until = clock_timestamp() + interval '{LEASE} seconds'"
_IS_MINE = "id = %(lane)s AND owner = %(owner)s"
_IS_WHERE_IT_WAS = f"{_IS_MINE} AND seq = %(was)s AND digest = %(was_digest)s"
_LIVING = (
    "SELECT owner FROM chain WHERE alive_until > clock_timestamp() AND owner <> ''"
)

_SETTINGS = """
    current_setting('server_version_num')::int, current_setting('server_encoding'),
    current_setting('synchronous_commit'), current_setting('fsync'),
    pg_is_in_recovery()
"""


def _value(position: int, column: sa.Column[Any]) -> str:
    text = f"row->>{position}"
    if isinstance(column.type, sa.LargeBinary):
        return f"decode({text}, 'hex')"
    if isinstance(column.type, sa.String):
        return text
    return f"({text})::{column.type.compile(_DIALECT)}"


def values_of(columns: Sequence[str], table: sa.Table = records) -> str:
    """Return what takes these columns out of an array `row` of JSON."""
    return ", ".join(_value(n, table.c[name]) for n, name in enumerate(columns))


_CHANGES = ", ".join(
    [f"{name} = excluded.{name}" for name in WRITTEN if name != "id"]
    + [f"{name} = NULL" for name in ERASED]
)

# Beside the rows, where there are answers to be kept or forgotten. Of an
# Idempotency-Key the first answer counts until it has expired.
_ANSWERS = f"""
, kept AS (
    INSERT INTO answers ({", ".join(kept.COLUMNS)})
    SELECT {values_of(kept.COLUMNS, answers)}
    FROM moved, jsonb_array_elements(%(kept)s::jsonb) AS row
    ON CONFLICT (key) DO UPDATE SET {kept.CHANGES}
    WHERE answers.until <= excluded.said_at OR answers.mark = ''
), forgotten AS (
    DELETE FROM answers USING moved WHERE key IN (
        SELECT decode(text, 'hex')
        FROM jsonb_array_elements_text(%(forgotten)s::jsonb) AS text
    )
)
"""  # noqa: S608  # made of the schema


def _write(beside: str) -> str:
    """Make the statement that is a whole write.

    It moves the head of the lane, if that is where the writer left it and still his,
    and with it come the rows, and what is `beside` them. A row that is sealed already
    is refused by a trigger, and then nothing of it has happened.
    """
    return f"""
WITH moved AS (
    UPDATE chain SET {", ".join(f"{name} = %({name})s" for name in (*_COLUMNS, "mac"))},
        {_ALIVE}
    WHERE {_IS_WHERE_IT_WAS} RETURNING id
), written AS (
    INSERT INTO records ({", ".join(WRITTEN)})
    SELECT {values_of(WRITTEN)} FROM moved, jsonb_array_elements(%(rows)s::jsonb) AS row
    ON CONFLICT (id) DO UPDATE SET {_CHANGES}
    RETURNING 1
)
{beside}
SELECT 1 FROM moved
"""  # noqa: S608  # made of the schema


WRITE, WRITE_WITH_ANSWERS = _write(""), _write(_ANSWERS)

# Says each second that the worker lives, and looks whether a write would work.
BEAT = f"""
UPDATE chain SET {_ALIVE}, about = %(about)s WHERE {_IS_WHERE_IT_WAS}
RETURNING EXISTS (
    SELECT 1 FROM records WHERE seq IS NULL AND worker NOT IN ({_LIVING})
), {_SETTINGS}
"""  # noqa: S608

# Waits for a write that is on its way and holds the row.
LOOK = f"SELECT owner, {HEAD} FROM chain WHERE id = %(lane)s FOR UPDATE"  # noqa: S608

TAKE_UP = f"UPDATE chain SET {_ALIVE}, about = %(about)s WHERE {_IS_MINE}"  # noqa: S608

# Lanes of a host that is gone for a day are anybody's: names of containers change.
CLAIM = f"""
UPDATE chain SET owner = %(owner)s, name = %(name)s, about = %(about)s, {_ALIVE}
WHERE id = (
    SELECT id FROM chain
    WHERE alive_until < clock_timestamp()
    AND (name = %(name)s OR alive_until < clock_timestamp() - interval '1 day')
    ORDER BY name <> %(name)s, id LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING id
"""  # noqa: S608

# Lanes of nobody, closed ones of a moved trail among them; one of them, taken for the
# length of a transaction, with the time until which its owner was believed to live
# (as text: it may be infinite, for which Python has no time).
_IS_NOBODYS = "(owner = '' OR alive_until < clock_timestamp())"
ABANDONED = f"SELECT id FROM chain WHERE {_IS_NOBODYS}"  # noqa: S608
SEIZE = f"""
UPDATE chain SET owner = %(owner)s FROM (
    SELECT id AS number, alive_until::text AS until FROM chain
    WHERE id = %(lane)s AND {_IS_NOBODYS} FOR UPDATE SKIP LOCKED
) AS found
WHERE id = number RETURNING until, {HEAD}
"""  # noqa: S608
LET_GO = f"""
UPDATE chain SET owner = '', alive_until = %(until)s::timestamptz WHERE {_IS_MINE}
"""  # noqa: S608

NEXT_LANE = """
SELECT 1 + greatest(0, (SELECT max(id) FROM chain), (SELECT max(lane) FROM records))
"""
HAS_RECORDS = "SELECT EXISTS (SELECT 1 FROM records)"
BEGIN = f"""
INSERT INTO chain ({HEAD}, owner, name, about, alive_until)
VALUES ({", ".join(f"%({name})s" for name in (*_COLUMNS, "mac"))},
    %(owner)s, %(lane_name)s, %(about)s,
    clock_timestamp() + interval '{LEASE} seconds')
ON CONFLICT (id) DO NOTHING RETURNING id
"""  # noqa: S608

RELEASE = f"""
UPDATE chain SET owner = '', alive_until = clock_timestamp() - interval '1 second'
WHERE {_IS_MINE}
"""  # noqa: S608

HEADS = f"SELECT {HEAD} FROM chain ORDER BY id"  # noqa: S608
DIGEST_AT = "SELECT digest FROM records WHERE lane = %s AND seq = %s"
LIVING = _LIVING

# By the index of the open rows. See `Orphans` for what is asked.
ORPHANS = (
    f"SELECT lane, id, mac, {', '.join(OPENING)} FROM records"  # noqa: S608
    " WHERE seq IS NULL AND (lane, id) > (%s, %s)"
    " AND worker NOT IN (SELECT jsonb_array_elements_text(%s::jsonb))"
    " ORDER BY lane, id LIMIT %s"
)
BEFORE_ALL = (0, "")

# Who sweeps; held to the end of a transaction, by one of all hosts.
TRY_TO_SWEEP = "SELECT pg_try_advisory_xact_lock(7521190)"

SETTINGS = f"SELECT {_SETTINGS}"

# Everything that could hide or change records beside the statements above.
ODDITIES = """
SELECT 'the trigger ' || tgname || ': ' || pg_get_triggerdef(t.oid, true) || ' '
    || tgenabled::text || ' ' || btrim(prosrc, E'\\n ')
FROM pg_trigger t JOIN pg_proc p ON p.oid = tgfoid
WHERE tgrelid IN ('records'::regclass, 'chain'::regclass) AND NOT tgisinternal
UNION ALL
SELECT 'the rule ' || rulename FROM pg_rewrite
WHERE ev_class IN ('records'::regclass, 'chain'::regclass)
UNION ALL
SELECT 'the table ' || relname || ' with row security or of another kind' FROM pg_class
WHERE oid IN ('records'::regclass, 'chain'::regclass)
    AND (relkind <> 'r' OR relrowsecurity)
"""


def head_arguments(head: Head, mac: bytes) -> dict[str, Any]:
    """Return a head as the arguments of WRITE or BEGIN."""
    values = zip(_COLUMNS, map(head.__getattribute__, FIELDS), strict=True)
    return {**dict(values), "mac": mac}


def rows_argument(rows: Sequence[Values]) -> str:
    """Return rows as WRITE wants them: arrays of JSON, bytes in hex."""
    return to_json([[v.hex() if type(v) is bytes else v for v in row] for row in rows])


def answers_arguments(drafts: Sequence[Draft]) -> dict[str, str]:
    """Return what WRITE_WITH_ANSWERS wants of these drafts; nothing if WRITE will do.

    In the order of their keys, so that no two hosts wait for each other, and each key
    once, as a statement changes no row twice.
    """
    forgotten = {key for draft in drafts for key in draft.forgotten}
    found: dict[bytes, Kept] = {}
    for draft in drafts:
        for one in draft.kept:
            first = found.setdefault(one.key, one)
            if not first.mark or first.until <= one.said_at:
                found[one.key] = one
    if not found and not forgotten:
        return {}
    rows = [kept.row_of(found[key]) for key in sorted(found.keys() - forgotten)]
    keys = to_json(sorted(key.hex() for key in forgotten))
    return {"kept": rows_argument(rows), "forgotten": keys}


def head_of(row: Sequence[Any]) -> tuple[Head, bytes]:
    """Return the head and its signature of the columns of HEAD."""
    *values, mac = row
    named: Mapping[str, Any] = dict(zip(FIELDS, values, strict=True))
    return Head(**named), mac
