"""Tokens: which callers are let in. Only digests are kept; all are always compared."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from time import time
from typing import Protocol

from app.gateway.chat import Priority

ALL_SCOPES = frozenset({"chat", "audit", "metrics", "admin", "replay"})
# The marker lets scanners and our own redactor know a token wherever it stands.
MARKER = "vx11_"
RANDOM_BYTES = 32  # 256 bit; 128 are asked for
# What examples and habits put where a token belongs.
DEFAULTS = frozenset(
    {
        "",
        "changeme",
        "change-me",
        "change_me",
        "default-token",
        "password",
        "token",
        "your-token",
        "your-token-here",
        "12345678",
    }
)


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller with a valid token. `name` goes on record, never the token.

    `rate` is in requests a minute, `volume` in bytes of their bodies a minute, None for
    as many as they like. `names_people`: what they say of the person and the session
    that they speak for is believed.
    """

    name: str
    scopes: frozenset[str] = ALL_SCOPES
    priority: Priority = Priority.NORMAL
    rate: int | None = None
    names_people: bool = False
    volume: int | None = None


ANYBODY = Caller("anybody")
LINK = Caller("operator", priority=Priority.HIGH)  # whoever shows the single token
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}", re.ASCII)
RESERVED_NAMES = frozenset({ANYBODY.name, LINK.name, "anonymous"})


@dataclass(frozen=True, slots=True)
class Token:
    """A token's record: its caller, the SHA-256 of its bytes, and when it is valid.

    `not_before` (included) and `expires` (excluded) are Unix times in seconds: a
    date that an operator wrote is the wall clock's, so they follow its steps.
    """

    caller: Caller
    sha256: bytes
    not_before: float = -inf
    expires: float = inf

    @classmethod
    def of(cls, caller: Caller, token: str) -> "Token":
        """Make the record of a token; the token itself is not kept."""
        return cls(caller, digest(token.encode()))

    @property
    def id(self) -> str:
        """Eight hex digits that tell the tokens of a name apart, and nothing else."""
        return self.id_of(self.sha256)

    @staticmethod
    def id_of(sha256: bytes) -> str:
        """The id of the token with that digest."""
        return digest(b"id of " + sha256).hex()[:8]

    def state(self, now: float) -> str:
        """`active`, `not yet` or `expired`."""
        if now < self.not_before:
            return "not yet"
        return "active" if now < self.expires else "expired"


class TokensUnusable(Exception):
    """The file of tokens cannot be used. `problems` has a line for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class NameTaken(Exception):
    """There is a token of that name."""


class NoSuchToken(Exception):
    """There is no token of that name."""


class TokenStore(Protocol):
    """The port through which commands read and change the tokens, one at a time.

    Each method raises TokensUnusable when what is there, or would be there, is wrong.
    """

    def tokens(self) -> tuple[Token, ...]:
        """Return all records, in their order."""
        ...

    def add(self, token: Token, *, beside_others: bool) -> None:
        """Keep one more. Raises NameTaken unless it may stand beside its namesakes."""
        ...

    def remove(self, name: str, token_id: str | None = None) -> tuple[Token, ...]:
        """Remove a name's tokens, or the one of that id; return them.

        Raises NoSuchToken if there is none.
        """
        ...


def digest(token: bytes) -> bytes:
    """Return the SHA-256 of a token: random and long, it needs no slow hash."""
    return hashlib.sha256(token).digest()


def name_problem(name: str) -> str | None:
    """Say why a token may not be of that name; None if it may."""
    if not _NAME.fullmatch(name):
        return "must be 1 to 64 of a-z, 0-9, '.', '_' and '-'"
    return "is a name that the gateway itself uses" if name in RESERVED_NAMES else None


def new_token() -> str:
    """Return a fresh token of 256 random bits."""
    return MARKER + secrets.token_urlsafe(RANDOM_BYTES)


class Keyring:
    """The tokens that are valid. Threads may share it.

    `fixed` tokens are always on it; the others can be replaced. `problems` says
    why the latest replacement was not accepted, line by line; empty is good.
    """

    def __init__(
        self, fixed: Iterable[Token], *, clock: Callable[[], float] = time
    ) -> None:
        self.fixed = tuple(fixed)
        self._tokens = self.fixed
        self._used: dict[bytes, float] = {}  # by digest, in Unix time
        self._clock = clock
        self.problems: tuple[str, ...] = ()

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All tokens on it; another tuple after each replacement."""
        return self._tokens

    def replace(self, tokens: Iterable[Token]) -> None:
        """Put these beside the fixed ones, from the next request on."""
        self._tokens = (*self.fixed, *tokens)
        self.problems = ()

    def reject(self, problems: Sequence[str]) -> None:
        """Keep what is there, and remember why."""
        self.problems = tuple(problems)

    def authenticate(self, token: bytes) -> Caller | None:
        """Return whose token it is, or None; takes equally long either way.

        Hashing first makes every comparison the same length.
        """
        shown = digest(token)
        now = self._clock()
        found = None
        for known in self._tokens:
            is_live = known.not_before <= now < known.expires
            if hmac.compare_digest(known.sha256, shown) and is_live:
                found = known
        if found is None:
            return None
        self._used[found.sha256] = now
        return found.caller

    def used(self) -> dict[str, float]:
        """Return when tokens were last used in this process: Unix times by their ids.

        Some may have been revoked since.
        """
        used = self._used.copy()
        return {Token.id_of(sha256): at for sha256, at in used.items()}
