"""A record as a row: plain values in the order of the table's columns.

Rows are tuples, not objects, because they are made twice per chat on the hot
path and go to the driver as they are. A value that its column can't hold, or would
give back as another one, is replaced: no answer goes without its row because an
upstream said something odd.
"""

import os
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from itertools import repeat
from operator import contains, itemgetter
from typing import Any, NamedTuple

from app.gateway.kept.answers import Kept
from app.gateway.records.audit import Closing, Intent, new_audit_id
from app.gateway.strict_json import plain_encoder
from app.storage.audit.schema import CONTENT, DIGESTED, OPENING, records

Values = tuple[object, ...]

_COLUMNS = tuple(records.columns)[: len(CONTENT)]  # the rest is the seal
_TYPES = tuple(column.type.python_type for column in _COLUMNS)
_MAY_BE_NULL = tuple(bool(column.nullable) for column in _COLUMNS)
_numbers = itemgetter(*(n for n, kind in enumerate(_TYPES) if kind is not str))
_texts = itemgetter(*(n for n, kind in enumerate(_TYPES) if kind is str))
_NUMBER_MAX = 2**63 - 1  # of a BigInteger; the others are times

_digested = itemgetter(*map(CONTENT.index, DIGESTED))
_words = itemgetter(CONTENT.index("request"), CONTENT.index("reply"))
SALT_BYTES = 16

_UNCLOSED: Values = (None,) * (len(CONTENT) - len(OPENING))
_OPENED_AT, _PERSON = map(OPENING.index, ("opened_at", "person"))
to_json = plain_encoder(ensure_ascii=False, separators=(",", ":"))


class Draft(NamedTuple):
    """A row that still lacks its place in the chain, or its signature.

    `content` is what is sealed: the digest of the row; or of an intent (`is_open`),
    which has no `salt`, what is signed. `kept` are the answers to be kept with it, and
    `forgotten` the keys of those that must not be.
    """

    values: Values
    content: bytes
    salt: bytes | None = None
    kept: tuple[Kept, ...] = ()
    forgotten: tuple[bytes, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it is the row of an intent."""
        return self.salt is None


def opened(intent: Intent, worker: str) -> Values:
    """Return the columns that are known when a chat begins."""
    return (
        intent.id,
        intent.correlation_id,
        intent.session_id,
        intent.caller,
        intent.route,
        float(intent.opened_at),
        intent.request,
        intent.person,
        worker,
    )


def closed(
    closing: Closing, corrects: str | None = None, decision: str | None = None
) -> Values:
    """Return the columns that are known when it has ended."""
    return (
        closing.outcome,
        closing.code,
        closing.provider,
        closing.model,
        closing.degraded_by,
        closing.status,
        closing.reply,
        closing.attempts,
        float(closing.duration),
        closing.input_tokens,
        closing.output_tokens,
        float(closing.closed_at),
        corrects,
        decision,
        closing.source,
        closing.reuse,
    )


def interrupted(now: float) -> Values:
    """Return the ending of a chat whose worker died; `now` is Unix time."""
    outcome: Values = ("interrupted", "worker_died", None, None, None, None)
    last: Values = (now, None, None, None, None)
    return (*outcome, None, "[]", None, None, None, *last)


def open_draft(opening: Values) -> Draft:
    """Make the row of an intent."""
    opening = _storable(opening)
    return Draft(opening + _UNCLOSED, open_content(opening))


def closed_draft(opening: Values, ending: Values) -> Draft:
    """Make the row of a chat that has ended, ready to be sealed."""
    values, salt = opening + ending, os.urandom(SALT_BYTES)
    try:
        if _types_fit(tuple(map(type, values))) and _all_fit(values):
            return Draft(values, row_digest(values, *word_digests(values, salt)), salt)
    except (UnicodeEncodeError, OverflowError):
        pass
    values = _storable(values)
    return Draft(values, row_digest(values, *word_digests(values, salt)), salt)


def trial_draft(worker: str, now: float) -> Draft:
    """Make the row of no chat, to try whether one can be written."""
    nobody = Intent(new_audit_id(now), "", "", "", "", now, "{}")
    return closed_draft(opened(nobody, worker), interrupted(now))


def word_digests(values: Sequence[Any], salt: bytes) -> tuple[bytes, bytes]:
    """Return the digests of request and reply, which stand for them in the row's.

    The salt, which goes when the words go, keeps short words from being guessed by
    their digest. Raises TypeError for words that are no text.
    """
    request, reply = _words(values)
    return digests_of(request, reply, salt)


def digests_of(request: Any, reply: Any, salt: bytes) -> tuple[bytes, bytes]:
    """As `word_digests`, of the words themselves."""
    asked = b"-" if request is None else b"q" + str.encode(request)
    said = b"-" if reply is None else b"a" + str.encode(reply)
    return sha256(salt + asked).digest(), sha256(salt + said).digest()


def row_digest(
    values: Sequence[Any], request_digest: bytes, reply_digest: bytes
) -> bytes:
    """Return the digest of a row: of its columns as JSON in UTF-8, and of its words.

    Empty columns at the end are left out. Raises TypeError or ValueError for values
    of types that we never write.
    """
    others = _digested(values)
    while others[-1] is None:
        others = others[:-1]
    text = "row2\n" + to_json(others)
    return sha256(text.encode() + request_digest + reply_digest).digest()


def open_content(opening: Sequence[Any]) -> bytes:
    """Return what is signed of an intent: the lengths of its columns, and these.

    Raises TypeError or ValueError for what we never write. JSON would cost twice as
    much.
    """
    texts: list[Any] = list(_without_nobody(tuple(opening)))
    texts[_OPENED_AT] = float.hex(opening[_OPENED_AT])
    return f"{[*map(len, texts)]}{''.join(texts)}".encode()


def _without_nobody(values: Values) -> Values:
    """Leave out a person that there is not.

    A row with a person has a value more, so that neither can pass for the other.
    """
    if values[_PERSON] is not None:
        return values
    return values[:_PERSON] + values[_PERSON + 1 :]


def shown_id(value: object) -> str:
    """Return an id from a database that anybody may have written to, fit to print."""
    return ascii(value)[:80].strip("'")


@lru_cache
def _types_fit(types: tuple[type, ...]) -> bool:
    """Whether values of these types can be told from what columns give back."""
    return all(map(_type_fits, types, _TYPES, _MAY_BE_NULL))


def _type_fits(found: type, column: type, may_be_null: bool) -> bool:
    return found is column or (may_be_null and found is type(None))


def _all_fit(values: Values) -> bool:
    """Whether all numbers and texts are sure to be kept as they are, at a glance."""
    numbers: Any = filter(None, _numbers(values))
    if not sum(map(abs, numbers)) <= _NUMBER_MAX:  # NaN is not
        return False
    return not any(map(contains, filter(None, _texts(values)), repeat("\0")))


def _fits(number: Any) -> bool:
    return number is None or -_NUMBER_MAX <= number <= _NUMBER_MAX  # NaN is not


def _storable(values: Values) -> Values:
    return tuple(map(_replaced, values, _TYPES, _MAY_BE_NULL))


def _replaced(value: object, column: type, may_be_null: bool) -> object:
    if column is str and isinstance(value, str):
        # A lone surrogate has no UTF-8; it must not take the whole batch down.
        # Nor is a NUL kept by each database.
        text = value.encode("utf-8", "backslashreplace").decode()
        return text.replace("\0", "\\x00")
    if type(value) is column and _fits(value):
        return value
    return None if may_be_null else column()
