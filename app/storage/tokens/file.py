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
from app.host.files import shown_path
from app.host.toml_text import Loc, TomlText
from app.host.toml_words import errors_of, key_of, words_of

MAX_BYTES = 1_000_000  # about 3,000 tokens, each compared at every request
MAX_RATE = 1_000_000
MAX_VOLUME = 4_000_000_000
_NO_FILE = "is a pipe, a device or the like, and no file"
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


_KEYS = tuple(field.alias or key for key, field in TokenEntry.model_fields.items())


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens in the file. Raises TokensUnusable with every problem."""
    return parse_tokens(read_text(path), path)


def read_text(path: Path) -> str:
    """Return the file's text. Raises TokensUnusable if it is not to be trusted."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            about = os.fstat(file.fileno())
            is_regular = stat.S_ISREG(about.st_mode)
            data = file.read(MAX_BYTES + 1) if is_regular else b""
    except OSError as error:
        raise TokensUnusable([f"{shown_path(path)}: {error.strerror}"]) from None
    if problem := _distrust(about) if is_regular else _NO_FILE:
        raise TokensUnusable([f"{shown_path(path)}: {problem}"])
    if len(data) > MAX_BYTES:
        raise TokensUnusable([f"{path}: is larger than {MAX_BYTES} bytes"])
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise TokensUnusable([f"{path}: is not UTF-8"]) from None


def _distrust(about: os.stat_result) -> str:
    """Why what is in this file may be by somebody else; "" if it may not."""
    # Root, who may change every file, may mend that of another user, too.
    if os.geteuid() not in (0, about.st_uid) and about.st_uid != 0:
        return "belongs to another user, who may write to it: chown"
    if stat.S_IMODE(about.st_mode) & 0o022:
        return "others may write to it: chmod 600"
    return ""


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a pipe would wait for somebody who writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def parse_tokens(text: str, path: Path | None = None) -> tuple[Token, ...]:
    """Return the tokens in the text. Raises TokensUnusable with every problem.

    Each names `path`, if it is known, and the line.
    """
    toml = TomlText(text)
    problems = [_told(path, one.line, "", one.words) for one in toml.mistakes]
    content = toml.values
    entries = content.pop("tokens", [])
    problems += [_at(toml, path, (key,), "there is no such key") for key in content]
    if not isinstance(entries, list):
        problems.append(_at(toml, path, ("tokens",), "must be [[tokens]]"))
        entries = []
    tokens: list[Token] = []
    for number, entry in enumerate(entries):
        try:
            tokens.append(TokenEntry.model_validate(entry).token())
        except ValidationError as error:
            for one in errors_of(error):
                loc = ("tokens", number, *one["loc"])
                if one["type"] != "missing" or not toml.is_torn(loc[:-1]):
                    problems.append(_at(toml, path, loc, words_of(one, _KEYS)))
    problems += _repeated(tokens)
    if problems:
        raise TokensUnusable(problems)
    return tuple(tokens)


def _at(toml: TomlText, path: Path | None, loc: Loc, words: str) -> str:
    return _told(path, toml.line_of(loc), key_of(loc), words)


def _told(path: Path | None, line: int | None, key: str, words: str) -> str:
    """One problem, by file, line and key, as far as they are known."""
    where = ":".join(map(str, filter(None, (path, line))))
    if line and not path:
        where = f"line {line}"
    return ": ".join(filter(None, (where, key, words)))


def _repeated(tokens: Iterable[Token]) -> list[str]:
    seen: set[bytes] = set()
    problems = []
    for token in tokens:
        if token.sha256 in seen:
            problems.append(f"{token.caller.name}: the same sha256 stands there twice")
        seen.add(token.sha256)
    return problems
