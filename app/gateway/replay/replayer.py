"""Replayer: asks again what is on record, where no user's chat has to wait for it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from app.gateway import correlation
from app.gateway.budget import Budget
from app.gateway.errors import (
    AuditUnavailable,
    CallerGone,
    GatewayError,
    NeverSent,
    Overloaded,
    ShuttingDown,
)
from app.gateway.guard.concurrency import ConcurrencyLimit
from app.gateway.handler import ChatHandler
from app.gateway.records.audit import Record, Records
from app.gateway.replay.stored import Change, NotReplayable, request_of, require_chat

AT_ONCE = 1  # replays of a host
LEASE_MARGIN = 1.0  # seconds
RETRY_AFTER = 1.0  # seconds; when the users leave room is not known

Observer = Callable[[str, str], None]


class UnknownUpstream(Exception):
    """There is no upstream of the name that was asked for."""


class Replayed(NamedTuple):
    """A question that was asked again: of whom, and the record of how that ended."""

    upstream: str
    record: Record


class Replayer:
    """Asks again what is on record, through the handlers of every chat.

    A replay has none of the slots of chats, but a `place` of its own, and begins only
    while `is_busy` says that nobody waits for a slot. It is on record and in no series
    of users' chats: `tell` is called with the upstream and the outcome in place of
    them. `may_repeat` says of each upstream, by name, whether the same chat may be sent
    to it twice. Threads may share it.
    """

    def __init__(
        self,
        chat: ChatHandler,
        records: Records,
        may_repeat: Mapping[str, bool],
        place: ConcurrencyLimit,
        *,
        is_busy: Callable[[], bool] = lambda: False,
        tell: Observer = lambda _upstream, _outcome: None,
    ) -> None:
        self._chat = chat
        self._records = records
        self._may_repeat = may_repeat
        self._place = place
        self._is_busy = is_busy
        self._tell = tell

    def ask(
        self, before: Record, change: Change, caller: str, budget: Budget
    ) -> "Replayed":
        """Ask a record's question again, and return how that ended.

        Raises NotReplayable, UnknownUpstream, Overloaded while others wait, and
        AuditUnavailable; an upstream that does not answer is what the record says.
        """
        require_chat(before)
        upstream = self._upstream_of(before, change)
        request = request_of(
            before,
            change,
            upstream=upstream,
            caller=caller,
            correlation_id=correlation.new_id(),
        )
        if not (self._may_repeat[upstream] or change.may_act):
            raise NotReplayable("may_act")
        with self._placed(budget):
            try:
                self._chat.open(request, budget).collect()
            except (AuditUnavailable, CallerGone, ShuttingDown):
                raise
            except GatewayError:
                pass  # which the record tells
        after = self._records.get(request.correlation_id)
        if after is None or after.outcome is None:
            raise AuditUnavailable("not_kept")  # at best effort there may be none
        self._tell(upstream, after.outcome)
        return Replayed(upstream, after)

    def _upstream_of(self, record: Record, change: Change) -> str:
        """Whom to ask: who is named, who answered, or who was asked first."""
        if change.upstream is not None:
            if change.upstream not in self._may_repeat:
                raise UnknownUpstream
            return change.upstream
        attempts = json.loads(record.attempts or "[]")
        asked = record.provider or next((one["upstream"] for one in attempts), None)
        if asked is None:
            raise NotReplayable("nobody")
        if asked not in self._may_repeat:
            raise NotReplayable("gone")
        return str(asked)

    @contextmanager
    def _placed(self, budget: Budget) -> Iterator[None]:
        """Hold the place of a replay; raises Overloaded rather than wait."""
        if self._is_busy():
            raise Overloaded("chats_wait", retry_after=RETRY_AFTER)
        try:
            slot = self._place.acquire(budget.stream_remaining() + LEASE_MARGIN)
        except NeverSent as full:
            raise Overloaded("replay_running", retry_after=full.retry_after) from None
        try:
            yield
        finally:
            self._place.release(slot)
