"""Kept answers: their values and their ports.

An answer is kept under a digest, sealed with what only its caller knows, in the commit
of the record that said it first. Nothing here knows where it lies or how it is sealed.
"""

from typing import NamedTuple, Protocol

MOST_KEPT = 1024 * 1024  # bytes of one answer; larger ones are not kept
OWNER = 4  # bytes at the beginning of a key that are the same for one caller


class Kept(NamedTuple):
    """An answer that is kept under the digest `key`, which begins with its OWNER.

    `mark` is the digest of the request that it answers, b"" where the key is made of
    that request. `record` is the id of the record that said it first. `said_at` and
    `until` are Unix times. `body` is sealed; None says that there was an answer, and
    that its words are not kept.
    """

    key: bytes
    mark: bytes
    record: str
    said_at: float
    until: float
    body: bytes | None


class Answers(Protocol):
    """The port that finds kept answers. Threads may share it.

    Where `has_records` they lie with the records, and come there by `Closing.kept` and
    no other way; elsewhere by `put`.
    """

    has_records: bool

    def find(self, key: bytes, now: float) -> Kept | None:
        """Return what is kept under a key and has not expired at this Unix time.

        Waits for nobody. Raises AuditUnavailable where nobody can tell.
        """
        ...

    def put(self, kept: Kept) -> None:
        """Keep an answer whose record is committed, where they are not with those."""
        ...

    def size(self) -> int | None:
        """Bytes of all that is kept; None where nothing was kept or looked for yet."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Sealing(Protocol):
    """The port that seals words: none of them is read without the secret."""

    def seal(self, secret: bytes, words: bytes, about: bytes) -> bytes:
        """Return the words sealed; `about` must be the same when they are opened."""
        ...

    def open(self, secret: bytes, sealed: bytes, about: bytes) -> bytes | None:
        """Return the words, None for what was sealed in another way or changed."""
        ...
