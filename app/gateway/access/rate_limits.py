"""Rate limits: how often a caller may ask, and the port that counts requests.

A limit is a number of requests in a sliding minute. What is over it is refused at
once, before a body is read; nobody waits here.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from app.gateway.access.tally import Later, Tally, by_timer
from app.gateway.shared import STRANGERS

log = logging.getLogger(__name__)

WINDOW = 60  # seconds; rates are per minute
PER_SOURCE = 10  # failed authentications a minute (docs/faults.md, row 54)
FROM_ALL = 100
UNHEARD = "unheard"


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one key's limit, after a request was counted or refused.

    `remaining` requests are left; `reset` is the number of seconds until there is
    room for one more than now.
    """

    is_within: bool
    quota: int
    remaining: int
    reset: float


class RateLimits(Protocol):
    """The port that counts requests by key, for all workers. Threads may share it.

    Never raises and adds 50 ms at most: without the others it counts on its own.
    """

    def take(self, key: str, quota: int, cost: int = 1) -> Standing:
        """Count so many, if the quota a minute is not used up; say where we stand.

        The last one may go beyond the quota: what is larger than that would never fit.
        """
        ...

    def look(self, key: str, quota: int) -> Standing:
        """Say where we stand and count nothing; `is_within`: one more would be."""
        ...


class Unlimited:
    """Rate limits that are switched off: nothing is counted or refused."""

    def take(self, key: str, quota: int, cost: int = 1) -> Standing:  # noqa: ARG002  # see RateLimits
        """See RateLimits."""
        return Standing(is_within=True, quota=quota, remaining=quota, reset=0.0)

    look = take


class FailedAuth:
    """Failed authentications: logged, counted, and bounded per source and in all.

    Only what failed is counted. A source that showed too many wrong tokens is not
    heard for a while, whatever it shows: a guess that is right must not get in just
    because many wrong ones were made before. Neighbours behind another address are.
    Nothing that succeeds resets a count. What is not logged one by one is logged as a
    sum each minute. Threads may share it.
    """

    def __init__(
        self,
        limits: RateLimits,
        *,
        per_source: int = PER_SOURCE,
        from_all: int = FROM_ALL,
        later: Later = by_timer,
    ) -> None:
        self._limits = limits
        self._per_source, self._from_all = per_source, from_all
        self._on_failure: Callable[[str], None] = lambda _: None
        self._unlogged = Tally(_log_sum, later)

    def on_failure(self, listener: Callable[[str], None]) -> None:
        """Call the listener with the reason of each failure."""
        self._on_failure = listener

    def look(self, source: str) -> Standing:
        """Say whether the token of a source may be looked at; count nothing."""
        return self._limits.look(_key("wrong", source), self._per_source)

    def note(self, source: str, reason: str) -> Standing:
        """Count a failure (`reason`: wrong, missing, unheard) of a source address.

        Its standing says whether it may still be told that it failed, or only to
        come later. Each reason has counts of its own; `unheard` is a token that was
        not looked at.
        """
        self._tell(reason)
        standing = (
            self.look(source) if reason == UNHEARD else self._standing(source, reason)
        )
        self._log(source, reason, standing)
        return standing

    def close(self) -> None:
        """Log the sum of what was not logged yet."""
        self._unlogged.close()

    def _log(self, source: str, reason: str, standing: Standing) -> None:
        if standing.is_within:
            more = f"remaining={standing.remaining}"
        elif self._unlogged.add(reason):
            more = "others are counted"
        else:
            return
        log.warning(
            "Authentication failed: %s token, source=%s, %s", reason, source, more
        )

    def _tell(self, reason: str) -> None:
        try:
            self._on_failure(reason)
        except Exception:  # a gauge that breaks is no reason to answer 500
            log.exception("A listener to failed authentications broke")

    def _standing(self, source: str, reason: str) -> Standing:
        # A source is counted in any case, or a flood from others would hide its
        # guesses. Its own limit comes first, so that it cannot use up everybody's.
        own = self._limits.take(_key(reason, source), self._per_source)
        if not own.is_within:
            return own
        in_all = self._limits.take(f"auth:{reason}", self._from_all)
        return own if in_all.is_within else in_all


def _key(reason: str, source: str) -> str:
    return f"{STRANGERS}{reason}:{source}"


def _log_sum(reason: str, count: int) -> None:
    log.warning(
        "Authentication failed: %d more within a minute, %s token", count, reason
    )
