"""Rate limits: how often a caller may ask, and the port that counts requests.

A limit is a number of requests in a sliding minute. What is over it is refused at
once, before a body is read; nobody waits here.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)

WINDOW = 60  # seconds; rates are per minute
PER_SOURCE = 10  # failed authentications a minute (docs/faults.md, row 54)
FROM_ALL = 100


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

    def take(self, key: str, quota: int) -> Standing:
        """Count one, if it is within the quota a minute; say where that leaves us."""
        ...

    def look(self, key: str, quota: int) -> Standing:
        """Say where we stand and count nothing; `is_within`: one more would be."""
        ...


class Unlimited:
    """Rate limits that are switched off: nothing is counted or refused."""

    def take(self, key: str, quota: int) -> Standing:  # noqa: ARG002  # see RateLimits
        """See RateLimits."""
        return Standing(is_within=True, quota=quota, remaining=quota, reset=0.0)

    look = take


class FailedAuth:
    """Failed authentications: logged, counted, and bounded per source and in all.

    Only what failed is counted and only that is refused: a valid token is let in
    whatever its neighbours do, else one forgotten script would lock out everybody
    behind the same proxy. Nothing that succeeds resets a count. Threads may share it.
    """

    def __init__(
        self,
        limits: RateLimits,
        *,
        per_source: int = PER_SOURCE,
        from_all: int = FROM_ALL,
    ) -> None:
        self._limits = limits
        self._per_source, self._from_all = per_source, from_all
        self._on_failure: Callable[[str], None] = lambda _: None

    def on_failure(self, listener: Callable[[str], None]) -> None:
        """Call the listener with the reason of each failure."""
        self._on_failure = listener

    def note(self, source: str, reason: str) -> Standing:
        """Count a failure (`reason`: wrong, missing) of a source address.

        Its standing says whether it may still be told that it failed, or only to
        come later. Each reason has counts of its own.
        """
        self._tell(reason)
        standing = self._standing(source, reason)
        if standing.is_within:
            log.warning(
                "Authentication failed: %s token, source=%s, remaining=%d",
                reason,
                source,
                standing.remaining,
            )
        return standing

    def _tell(self, reason: str) -> None:
        try:
            self._on_failure(reason)
        except Exception:  # a gauge that breaks is no reason to answer 500
            log.exception("A listener to failed authentications broke")

    def _standing(self, source: str, reason: str) -> Standing:
        everybody = f"auth:{reason}"
        # The limit for all is checked first, so that a flood from many addresses makes
        # no entry for each. It is charged last, so that one address cannot use it up.
        in_all = self._limits.look(everybody, self._from_all)
        if not in_all.is_within:
            return in_all
        own = self._limits.take(f"{everybody}:{source}", self._per_source)
        if own.is_within:
            self._limits.take(everybody, self._from_all)
        return own
