"""Token file: its format, how it is read and checked, and how it is replaced.

TOML, because operators write it by hand too:

    [[tokens]]
    name = "ci"                      # goes on record; several tokens may share it
    sha256 = "64 hex digits"         # of the token; the token itself is nowhere
    scopes = ["chat"]                # chat, audit, metrics, admin, replay
    class = "normal"                 # high, normal, low
    rate = 60                        # requests a minute; leave out for no limit
    names_people = true              # may say for whom it speaks; default: false
    volume = 10_000_000              # bytes of bodies a minute; as rate
    not_before = 2026-01-01          # dates and times without a zone are UTC
    expires = 2027-01-01T12:00:00Z   # leave out for never

A file without records, also an empty one, is valid: then there are no such tokens.
What is wrong with it is told by place and reason, and never by value.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from math import inf
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from app.gateway.access.tokens import (
    DEFAULTS,
    Caller,
    Token,
    TokensUnusable,
    digest,
    name_problem,
)
from app.gateway.chat import Priority

MAX_BYTES = 1_000_000  # about 3,000 tokens, each compared at every request
MAX_RATE = 1_000_000
MAX_VOLUME = 4_000_000_000
_KNOWN = frozenset(digest(word.encode()) for word in DEFAULTS)


def _moment(value: object) -> object:
    """Make a moment of what TOML knows as dates and times."""
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise ValueError("must be a date or a time, without quotes")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


Moment = Annotated[datetime, BeforeValidator(_moment)]


class TokenEntry(BaseModel):
    """One `[[tokens]]` of the file."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    name: str
    sha256: str
    scopes: list[Literal["chat", "audit", "metrics", "admin", "replay"]] = Field(
        min_length=1
    )
    priority: Literal["high", "normal", "low"] = Field(default="normal", alias="class")
    rate: int | None = Field(default=None, ge=1, le=MAX_RATE)
    names_people: bool = False
    volume: int | None = Field(default=None, ge=1, le=MAX_VOLUME)
    not_before: Moment | None = None
    expires: Moment | None = None

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(problem)
        return name

    @field_validator("sha256")
    @classmethod
    def _sha256_is_of_a_token(cls, text: str) -> str:
        if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
            raise ValueError("must be 64 hex digits")
        if bytes.fromhex(text) in _KNOWN:
            raise ValueError("is that of an empty or a default token")
        return text

    @model_validator(mode="after")
    def _expires_after_it_begins(self) -> Self:
        if self.not_before and self.expires and self.expires <= self.not_before:
            raise ValueError("expires is not later than not_before")
        return self

    def token(self) -> Token:
        """Make the core's record of it."""
        caller = Caller(
            name=self.name,
            scopes=frozenset(self.scopes),
            priority=Priority[self.priority.upper()],
            rate=self.rate,
            names_people=self.names_people,
            volume=self.volume,
        )
        return Token(
            caller,
            bytes.fromhex(self.sha256),
            self.not_before.timestamp() if self.not_before else -inf,
            self.expires.timestamp() if self.expires else inf,
        )


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens in the file. Raises TokensUnusable with every problem."""
    return parse_tokens(read_text(path))


def read_text(path: Path) -> str:
    """Return the file's text. Raises TokensUnusable if it is not to be trusted."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            about = os.fstat(file.fileno())
            is_regular = stat.S_ISREG(about.st_mode)
            data = file.read(MAX_BYTES + 1) if is_regular else b""
    except OSError as error:
        raise TokensUnusable([f"{error.strerror}"]) from None
    if not is_regular:
        raise TokensUnusable(["is a pipe, a device or the like, and no file"])
    # Root, who may change every file, may mend that of another user, too.
    if os.geteuid() not in (0, about.st_uid) and about.st_uid != 0:
        raise TokensUnusable(["belongs to another user, who may write to it: chown"])
    if stat.S_IMODE(about.st_mode) & 0o022:
        raise TokensUnusable(["others may write to it: chmod 600"])
    if len(data) > MAX_BYTES:
        raise TokensUnusable([f"is larger than {MAX_BYTES} bytes"])
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise TokensUnusable(["is not UTF-8"]) from None


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe would wait for somebody who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def parse_tokens(text: str) -> tuple[Token, ...]:
    """Return the tokens in the text. Raises TokensUnusable with every problem."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise TokensUnusable([f"is not TOML: {_place(error)}"]) from None
    entries = content.pop("tokens", [])
    problems = [f"{_shown(key)}: is not known here" for key in content]
    if not isinstance(entries, list):
        raise TokensUnusable([*problems, "tokens: must be [[tokens]]"])
    tokens: list[Token] = []
    for number, entry in enumerate(entries):
        try:
            tokens.append(TokenEntry.model_validate(entry).token())
        except ValidationError as error:
            problems += _problems(number, error)
    problems += _repeated(tokens)
    if problems:
        raise TokensUnusable(problems)
    return tuple(tokens)


def _place(error: Exception) -> str:
    """Only where it broke: the message may quote what stands there."""
    found = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
    return found[1] if found else "somewhere"


def _problems(number: int, error: ValidationError) -> list[str]:
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return [f"{_where(number, e['loc'])}: {_why(e['msg'])}" for e in found]


def _where(number: int, loc: tuple[int | str, ...]) -> str:
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{_shown(p)}" for p in loc)
    return f"[[tokens]] number {number + 1}{path}"


def _shown(key: str) -> str:
    """A key as it may be told: one that is no word may be a token in its place."""
    return key if re.fullmatch(r"[a-z_]{1,20}|sha256", key) else "a key"


def _why(message: str) -> str:
    return message.removeprefix("Value error, ")


def _repeated(tokens: Iterable[Token]) -> list[str]:
    seen: set[bytes] = set()
    problems = []
    for token in tokens:
        if token.sha256 in seen:
            problems.append(f"{token.caller.name}: the same sha256 stands there twice")
        seen.add(token.sha256)
    return problems
