"""TokenIssuer: makes and revokes tokens at run time, each change on record."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from time import time
from typing import Protocol

from app.gateway import correlation
from app.gateway.access.tokens import (
    Caller,
    NoSuchToken,
    Token,
    TokenStore,
    TokensUnusable,
    new_token,
)
from app.gateway.chat import Priority
from app.gateway.errors import AuditUnavailable
from app.gateway.records.audit import Closing, Intent, Trail, new_audit_id
from app.gateway.records.events import EVENT, TOKENS

COMMIT_LIMIT = 2.0  # seconds; whoever changes tokens can try again


@dataclass(frozen=True, slots=True)
class WantedToken:
    """What a token is to be; what is left out is as a new one's, or its namesake's.

    `not_before` and `expires` are Unix times.
    """

    name: str
    scopes: frozenset[str] = frozenset()
    priority: Priority | None = None
    rate: int | None = None
    volume: int | None = None
    names_people: bool = False
    not_before: float = -inf
    expires: float = inf


class LastUses(Protocol):
    """The port that knows when tokens were last used, on this host."""

    def times(self) -> Mapping[str, float]:
        """Return Unix times by the tokens' ids, as of some seconds ago."""
        ...


def make_token(
    wanted: WantedToken, known: Iterable[Token], *, rotate: bool
) -> tuple[str, Token]:
    """Make a secret, and the record of the token that it is.

    With `rotate` it is one more of a name that there is, and like the newest of these
    where nothing else is wanted. Raises NoSuchToken if there is none.
    """
    like = Caller(wanted.name, frozenset({"chat"}))
    if rotate:
        like = _newest(known, wanted.name)
    caller = Caller(
        like.name,
        wanted.scopes or like.scopes,
        like.priority if wanted.priority is None else wanted.priority,
        wanted.rate or like.rate,
        wanted.names_people or like.names_people,
        wanted.volume or like.volume,
    )
    secret = new_token()
    made = Token.of(caller, secret)
    return secret, replace(made, not_before=wanted.not_before, expires=wanted.expires)


def _newest(known: Iterable[Token], name: str) -> Caller:
    callers = [token.caller for token in known if token.caller.name == name]
    if not callers:
        raise NoSuchToken(name)
    return callers[-1]


class TokenIssuer:
    """Makes and revokes tokens for somebody who may. Threads may share it.

    A change is on record before its maker hears of it; with `required` False (break
    glass) it does not wait for its record.
    """

    def __init__(
        self,
        store: TokenStore,
        trail: Trail,
        uses: LastUses,
        *,
        required: bool = True,
        wall_clock: Callable[[], float] = time,
    ) -> None:
        self._store = store
        self._trail = trail
        self._uses = uses
        self._required = required
        self._wall_clock = wall_clock

    def tokens(self) -> tuple[Token, ...]:
        """Return all that are in the store. Raises TokensUnusable."""
        return self._store.tokens()

    def last_uses(self) -> Mapping[str, float]:
        """Return when tokens were last used, by their ids, as Unix times."""
        return self._uses.times()

    def make(
        self, wanted: WantedToken, by: str, *, rotate: bool = False
    ) -> tuple[str, Token]:
        """Make a token for `by`; return the secret, which is kept nowhere, and it.

        Raises NameTaken, NoSuchToken (with `rotate`), TokensUnusable, and
        AuditUnavailable: then there is no such token.
        """
        known = self._store.tokens() if rotate else ()
        secret, made = make_token(wanted, known, rotate=rotate)

        def add() -> None:
            self._store.add(made, beside_others=rotate)

        try:
            self._on_record(by, "token_made", made, add)
        except AuditUnavailable:
            with suppress(NoSuchToken, TokensUnusable):
                self._store.remove(made.caller.name, made.id)
            raise
        return secret, made

    def revoke(self, token_id: str, by: str) -> Token:
        """Revoke the token of that id for `by`; return it.

        Raises NoSuchToken, TokensUnusable, and AuditUnavailable where it is not known
        to be on record; it may be revoked all the same.
        """
        found = next((t for t in self._store.tokens() if t.id == token_id), None)
        if found is None:
            raise NoSuchToken(token_id)

        def remove() -> None:
            self._store.remove(found.caller.name, token_id)

        self._on_record(by, "token_revoked", found, remove)
        return found

    def _on_record(
        self, by: str, code: str, token: Token, change: Callable[[], None]
    ) -> None:
        """Note the intent, do it, and wait until all of it is on record."""
        intent = self._intent(by, token)
        began = self._wall_clock()
        self._unless_required(lambda: self._trail.begin(intent))
        try:
            change()
        except Exception:
            self._trail.note(intent, self._closing("token_unchanged", 409, began))
            raise
        closing = self._closing(code, 200, began)
        self._unless_required(lambda: self._trail.finish(intent, closing, COMMIT_LIMIT))

    def _unless_required(self, step: Callable[[], object]) -> None:
        try:
            step()
        except AuditUnavailable:
            if self._required:
                raise

    def _intent(self, by: str, token: Token) -> Intent:
        now = self._wall_clock()
        caller = token.caller
        told = {
            "token": caller.name,
            "token_id": token.id,
            "scopes": sorted(caller.scopes),
            "class": caller.priority.name.lower(),
            "rate": caller.rate,
            "volume": caller.volume,
            "names_people": caller.names_people,
        }
        return Intent(
            id=new_audit_id(now),
            correlation_id=correlation.current.get(),
            session_id="",
            caller=by,
            route=TOKENS,
            opened_at=now,
            request=json.dumps(told),
        )

    def _closing(self, code: str, status: int, began: float) -> Closing:
        now = self._wall_clock()
        return Closing(EVENT, status, max(0.0, now - began), now, code=code)
