"""Refusals: the records of what was refused, without a licence to write."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from app.gateway import correlation
from app.gateway.access.tally import Later, Tally
from app.gateway.chat import ChatRequest
from app.gateway.records.audit import Closing, Intent, Trail, new_audit_id
from app.gateway.records.content import ContentPolicy, to_json

log = logging.getLogger(__name__)

REFUSED = "refused"


class _Kind(NamedTuple):
    """A kind of refusal, of which one a minute is on record in full."""

    caller: str
    route: str
    code: str | None
    status: int


class Refusals:
    """Records refusals, without a wait: the first of each kind in a minute in full.

    The others of that minute are one more record, with the number of `repeats`: who is
    refused pays nothing for it, and would else fill the disk. Threads may share it.
    """

    def __init__(
        self,
        trail: Trail,
        policy: ContentPolicy,
        wall_clock: Callable[[], float],
        later: Later,
    ) -> None:
        self._trail = trail
        self._policy = policy
        self._wall_clock = wall_clock
        self._tally = Tally(self._note_sum, later)

    def note(self, request: ChatRequest, closing: Closing) -> None:
        """Record or count one; who left before he was refused is recorded."""
        kind = _Kind(request.caller, request.route, closing.code, closing.status)
        if closing.outcome == REFUSED and not self._tally.add(kind):
            return
        try:
            asked = self._policy.request(request)
            intent = self._policy.intent(request, asked, self._wall_clock())
        except Exception:
            log.exception("The record of a refusal broke")
        else:
            self._trail.note(intent, closing)

    def close(self) -> None:
        """Record what was counted and is not on record yet."""
        self._tally.close()

    def _note_sum(self, kind: _Kind, repeats: int) -> None:
        now = self._wall_clock()
        intent = Intent(
            id=new_audit_id(now),
            correlation_id=correlation.new_id(),
            session_id="",
            caller=kind.caller,
            route=kind.route,
            opened_at=now,
            request=to_json({"repeats": repeats}),
        )
        closing = Closing(REFUSED, kind.status, 0.0, now, code=kind.code)
        self._trail.note(intent, closing)
