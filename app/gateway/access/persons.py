"""Persons: who it is that chats behind a token which many people share.

A chat front end has one token for all its people. One whose token is allowed to
(`Caller.names_people`) says for whom it speaks; from anybody else such a word is
nothing but a word.
"""

from dataclasses import dataclass

from app.gateway.access.rate_limits import RateLimits, Standing


@dataclass(frozen=True, slots=True)
class PersonRules:
    """How a caller who may name people does so.

    The first of `person_headers` that is there names the person, and the first of
    `session_headers` the session. `rate` is in requests a minute for each person of a
    caller; None for no limit.
    """

    person_headers: tuple[str, ...] = ("X-OpenWebUI-User-Id",)
    session_headers: tuple[str, ...] = ("X-OpenWebUI-Chat-Id", "X-Session-Id")
    rate: int | None = None

    def take(self, limits: RateLimits, caller: str, person: str) -> Standing | None:
        """Count a request of a person; None where people have no rate."""
        if self.rate is None:
            return None
        return limits.take(f"person:{caller}:{person}", self.rate)
