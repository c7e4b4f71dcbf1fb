"""Check a copy of the audit database without the gateway and without its key.

    python3 verify.py FILE [--head LANE:SEQ:DIGEST]... [--anchors FILE]

FILE is a SQLite file of records, with its -wal beside it if there is one; or what
PostgreSQL tells of them, a line of JSON for each row:

    psql URL -AtXo FILE -c "SELECT row_to_json(c) FROM chain c
        UNION ALL SELECT row_to_json(r) FROM records r"

A head is
what an earlier run printed, and anchors are what the gateway told its log or
VX11_ANCHOR_FILE: only with one of them does a trail show that was made anew as a whole.
Exit code 0: sound; 1: not sound; 2: it cannot be read. The pages and indexes of the
file are looked at too, and that it has these tables and no views.

It needs Python 3.11 and nothing else, so that it can be read, and rewritten, by who
trusts neither it nor the gateway. What cannot be seen without the key: whether the
heads, and the records of chats under way, were signed by the gateway.
"""

import argparse
import json
import re
import sqlite3
import sys
from bisect import bisect_right
from contextlib import closing
from hashlib import sha256
from pathlib import Path

# What the digest of a row is made of, besides the words. Empty ones at the end are
# left out.
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
# How JSON tells columns of these types: bytes in hex, and 1.0 as 1.
BYTES = {"salt", "request_digest", "reply_digest", "digest", "floor_digest", "mac"}
TIMES = {"opened_at", "duration", "closed_at", "clock_step"}
SQLITE = b"SQLite format 3\0"
ANCHOR = re.compile(r"\banchor (\d+):(\d+):([0-9a-f]{64})\b")
HEAD = re.compile(r"(\d+):(\d+):([0-9a-f]{64})")


class Unsound(Exception):
    """What is wrong, and where."""


def word_digest(salt, kind, words):
    if words is None:
        return sha256(salt + b"-").digest()
    return sha256(salt + kind + words.encode()).digest()


def row_digest(row):
    """The digest of a row, from its words or from what stands for erased ones."""
    digests = row["request_digest"], row["reply_digest"]
    if row["salt"] is not None:
        if digests != (None, None):
            raise ValueError("words and digests")
        digests = (
            word_digest(row["salt"], b"q", row["request"]),
            word_digest(row["salt"], b"a", row["reply"]),
        )
    elif (row["request"], row["reply"]) != (None, None):
        raise ValueError("words without a salt")
    elif {len(digest) for digest in digests} != {32}:
        raise ValueError("no digests")
    values = [row[name] for name in DIGESTED]
    while values[-1] is None:
        values.pop()
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return sha256(b"row2\n" + text.encode() + digests[0] + digests[1]).digest()


def link(previous, row):
    """The digest that the row has to have in the chain, behind the previous one."""
    place = f"{row['lane']} {row['seq']} {row['clock_step']!a}\n"
    return sha256(previous + place.encode() + row_digest(row)).digest()


def walk(database, head, noted, told):
    """Follow one lane from its floor to its head; return how many rows that were."""
    lane, seq, digest = head["id"], head["floor_seq"], head["floor_digest"]
    query = "SELECT * FROM records WHERE lane = ? AND seq > ? AND seq <= ? ORDER BY seq"
    for row in database.execute(query, (lane, seq, head["seq"])):
        seq += 1
        at = f"lane {lane}, record {seq}"
        if row["seq"] != seq:
            raise Unsound(f"{at}: a record is missing")
        try:
            digest = link(digest, row)
            listen(row, told, at)
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
            digest = None
        if digest != row["digest"]:
            raise Unsound(f"{at}: the record was changed or moved")
        if noted.get((lane, seq), digest) != digest:
            raise Unsound(f"{at}: the record is not the one that was noted")
    if (seq, digest) != (head["seq"], head["digest"]):
        raise Unsound(f"lane {lane}: it ends at record {seq}, and not as its head says")
    return seq - head["floor_seq"]


def listen(row, told, at):
    """Remember what a row says of others, and that its words are gone."""
    if row["salt"] is None:
        told["gone"].append((row["lane"], row["seq"]))
    if row["route"] == "knot":
        for lane, seq, digest in json.loads(row["request"])["heads"]:
            told["heads"].append((lane, seq, bytes.fromhex(digest), at))
    if row["route"] == "retention":
        said = json.loads(row["request"])
        for lane, first, last in said.get("erased", ()):
            told["erased"].append((int(lane), int(first), int(last)))
        if "floor" in said:
            lane, seq, digest = said["floor"]
            told["floors"].add((lane, seq, bytes.fromhex(digest)))


def compare(database, heads, lane, seq, digest, proof):
    """Look whether a head that was seen earlier is still part of the chain."""
    head = heads.get(lane)
    if head is None:
        raise Unsound(f"lane {lane} is gone: {proof} shows it")
    if seq > head["seq"]:
        raise Unsound(f"lane {lane} was put back to an earlier state: {proof} shows it")
    found = head["floor_digest"] if seq == head["floor_seq"] else digest
    if seq > head["floor_seq"]:
        query = "SELECT digest FROM records WHERE lane = ? AND seq = ?"
        found = database.execute(query, (lane, seq)).fetchone()["digest"]
    if found != digest:
        raise Unsound(f"lane {lane}, record {seq} is another: {proof} shows it")


def check_what_is_gone(heads, told):
    """Words and records may be gone only where a record of the chain says so."""
    erased = joined(told["erased"])
    for lane, seq in told["gone"]:
        at = bisect_right(erased, (lane, seq, float("inf"))) - 1
        if at < 0 or erased[at][0] != lane or seq > erased[at][2]:
            raise Unsound(
                f"lane {lane}, record {seq}: nothing says who erased its words"
            )
    for lane, head in heads.items():
        seq, digest = head["floor_seq"], head["floor_digest"]
        if seq and (lane, seq, digest) not in told["floors"]:
            raise Unsound(f"lane {lane}: nothing says who pruned it up to {seq}")


def joined(ranges):
    """The same places in as few ranges as possible, in their order."""
    result = []
    for lane, first, last in sorted(ranges):
        if result and result[-1][0] == lane and first <= result[-1][2] + 1:
            result[-1] = lane, result[-1][1], max(last, result[-1][2])
        else:
            result.append((lane, first, last))
    return result


STRAY = """
SELECT lane, seq FROM records WHERE seq IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM chain WHERE chain.id = records.lane
    AND records.seq > chain.floor_seq AND records.seq <= chain.seq)
UNION ALL
SELECT lane, seq FROM records WHERE seq IS NULL AND outcome IS NOT NULL LIMIT 1
"""


def check_file(database):
    """Raise Unsound for what hides records though their chain is whole."""
    for name in ("records", "chain"):
        query = "SELECT type FROM sqlite_master WHERE name = ?"
        if [tuple(row) for row in database.execute(query, (name,))] != [("table",)]:
            raise Unsound(f"there is no table {name}")
    odd = "SELECT count(*) FROM sqlite_master WHERE type = 'view'"
    if database.execute(odd).fetchone()[0]:
        raise Unsound("it has a view, and the gateway makes none")
    for (verdict,) in database.execute("PRAGMA integrity_check(1)"):
        if verdict != "ok":
            raise Unsound(f"the file is damaged: {verdict!a}")


def check(database, noted):
    """As `verify`; a value of a type that the gateway never writes is Unsound."""
    try:
        check_file(database)
        return verify(database, noted)
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        raise Unsound("it holds a value that the gateway never writes") from None


def verify(database, noted):
    """Return the heads and how many rows were checked. Raises Unsound."""
    heads = {head["id"]: head for head in database.execute("SELECT * FROM chain")}
    if not heads:
        raise Unsound("there is no head")
    told = {"heads": [], "erased": [], "floors": set(), "gone": []}
    for (lane, seq), digest in noted.items():
        if lane not in heads or seq > heads[lane]["seq"]:
            compare(database, heads, lane, seq, digest, "a noted head")
    rows = sum(walk(database, head, noted, told) for head in heads.values())
    for lane, seq, digest, at in told["heads"]:
        compare(database, heads, lane, seq, digest, f"the knot at {at}")
    for (lane, seq), digest in noted.items():
        compare(database, heads, lane, seq, digest, "a noted head")
    check_what_is_gone(heads, told)
    for lane, seq in database.execute(STRAY):
        raise Unsound(f"lane {lane}, record {seq} is of no chain")
    shown = [f"{h['id']}:{h['seq']}:{h['digest'].hex()}" for h in heads.values()]
    return shown, rows


def rows_of(path):
    """The rows that a file of JSON tells, each with the name of its table."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            for name in BYTES & row.keys():
                row[name] = row[name] and bytes.fromhex(row[name].removeprefix("\\x"))
            for name in TIMES & row.keys():
                row[name] = None if row[name] is None else float(row[name])
            yield "chain" if "floor_seq" in row else "records", row


def loaded(path):
    """A passing database of the rows of a file of JSON; types are as they come."""
    database, columns = sqlite3.connect(""), {}
    for table, row in rows_of(path):
        if table not in columns:
            columns[table] = sorted(row)
            names = ", ".join(f'"{name}"' for name in columns[table])
            database.execute(f"CREATE TABLE {table} ({names})")
        marks = ", ".join("?" * len(columns[table]))
        values = [row[name] for name in columns[table]]
        database.execute(f"INSERT INTO {table} VALUES ({marks})", values)  # noqa: S608
    if "records" in columns:
        database.execute("CREATE INDEX places ON records (lane, seq)")
    database.commit()
    return database


def connect(path):
    with path.open("rb") as file:
        is_sqlite = file.read(len(SQLITE)) == SQLITE
    if is_sqlite:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    else:
        database = loaded(path)
    database.row_factory = sqlite3.Row
    database.text_factory = lambda raw: raw.decode(errors="backslashreplace")
    database.execute("PRAGMA trusted_schema=OFF")
    database.execute("BEGIN")  # all of it as it is at one moment
    return database


def noted_in(heads, anchors):
    """The heads of earlier, by their places."""
    found = [HEAD.fullmatch(text) for text in heads]
    if anchors:
        found += [*ANCHOR.finditer(anchors.read_text(errors="replace"))]
    if None in found or (anchors and not found):
        raise ValueError("there is no head LANE:SEQ:DIGEST, or no anchor in the file")
    noted = {}
    for lane, seq, digest in (match.groups() for match in found):
        place = int(lane), int(seq)
        if noted.setdefault(place, bytes.fromhex(digest)) != bytes.fromhex(digest):
            raise Unsound(f"lane {lane}, record {seq}: two noted heads differ")
    return noted


def main():
    parser = argparse.ArgumentParser(description="Check a copy of the audit database.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--head", action="append", default=[], dest="heads")
    parser.add_argument("--anchors", type=Path)
    given = parser.parse_args()
    try:
        noted = noted_in(given.heads, given.anchors)
        with closing(connect(given.file)) as database:
            heads, rows = check(database, noted)
    except Unsound as unsound:
        print(f"NOT SOUND: {unsound}")
        return 1
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        sqlite3.Error,
    ) as error:
        print(f"It cannot be read: {error}", file=sys.stderr)
        return 2
    print(f"Sound: {rows} records, compared with {len(noted)} heads of earlier.")
    for head in heads:
        print(f"Head {head}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
