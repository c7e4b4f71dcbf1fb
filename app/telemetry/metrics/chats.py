"""Metrics: chats as they end, in Prometheus' words, for all workers together."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from app.gateway import error_categories as error_types
from app.gateway.chain.admission_queue import HostLoad, Load
from app.gateway.chain.metered import REFUSED, Ending
from app.gateway.chat import Attempt, ChatRequest
from app.gateway.kept.reuse import IDEMPOTENCY
from app.telemetry.metrics import instruments as its
from app.telemetry.metrics.exposition import Source, merged, render
from app.telemetry.metrics.recorder import MetricRecorder, Place

CHAT = "chat"  # the name of what is done, in OpenTelemetry's words
NOBODY = "none"  # as a provider's name: nobody answered
LOAD = (
    its.WORKERS,
    its.SLOTS,
    its.SLOTS_IN_USE,
    its.QUEUE_LENGTH,
    its.STREAMS_ACTIVE,
)


class Metrics:
    """Counts what it is told; an Observer. Threads may share it.

    `source` reads the numbers of all workers.
    """

    def __init__(self, tally: MetricRecorder, source: Source) -> None:
        self._tally = tally
        self._source = source
        self._shapes: dict[tuple[object, ...], _Shape] = {}
        self._overhead = tally.place(its.OVERHEAD)
        self._commit = tally.place(its.AUDIT_COMMIT)
        self._overshoot = tally.place(its.OVERSHOOT)

    def begin(self, upstreams: Iterable[str]) -> None:
        """Show zero for what alerts look out for, so that its first time is seen.

        Prometheus sees no increase in a series that begins with it. Those without
        labels are there in any case (see `exposition`).
        """
        for counter in (its.LOG_LINES_LOST, its.SHARED_ALONE, its.SERIES_LOST):
            self._tally.place(counter)  # now, while there is room
        for name in upstreams:
            self._tally.place(its.CLIENT_DURATION, CHAT, name, "upstream_auth")
        for error_type in sorted(error_types.ERROR_TYPES):
            self._tally.place(its.ERRORS, error_type)
        for reason in ("missing", "unheard", "wrong"):
            self._tally.place(its.AUTH_FAILURES, reason)

    def ended(self, ending: Ending) -> None:
        """See Observer."""
        try:
            self._count(ending)
        except Exception:
            self._tally.count(its.METRIC_FAILURES)
            raise

    def refused(self, request: ChatRequest, error_type: str) -> None:
        """See Observer."""
        self._tally.count(its.REQUESTS, request.route, NOBODY, REFUSED, "false")
        self._tally.count(its.ERRORS, error_type)

    def auth_failed(self, reason: str) -> None:
        """Somebody came without a valid token."""
        self._tally.count(its.AUTH_FAILURES, reason)

    def breaker_moved(self, upstream: str, to: str) -> None:
        """A circuit breaker has another state now."""
        self._tally.count(its.BREAKER_TRANSITIONS, upstream, to)

    def page(self) -> bytes:
        """All numbers of all workers, as Prometheus reads them."""
        return render(self._source())

    def load(self) -> HostLoad | None:
        """What all workers have taken on, as of a second ago; None if not known."""
        try:
            found = merged(self._source())
            workers, slots, *load = (int(found[g.name][()][0]) for g in LOAD)
        except (OSError, KeyError):
            return None
        return HostLoad(workers, slots, Load(*load))

    def _count(self, ending: Ending) -> None:
        reply, shape = ending.reply, self._shape_of(ending)
        values = [
            (shape.duration, ending.duration),
            (shape.queued, ending.queued),
            (self._overhead, ending.overhead),
        ]
        if shape.first_delta is not None:
            values.append((shape.first_delta, ending.first_delta or 0.0))
        if reply.audit_seconds > 0:
            values.append((self._commit, reply.audit_seconds))
        if ending.overshoot > 0:
            values.append((self._overshoot, ending.overshoot))
        values += [(p, a.duration) for a in reply.attempts if (p := self._asked(a))]
        self._tally.add(shape.counters, values)
        self._count_rare(ending)

    def _shape_of(self, ending: Ending) -> "_Shape":
        """Where endings of this kind are counted; looked up once for each kind."""
        request, reply = ending.request, ending.reply
        has_begun = request.stream and ending.first_delta is not None
        key = (
            request.route,
            request.priority,
            has_begun,
            reply.upstream,
            ending.outcome,
            ending.error_type,
            reply.degraded_by is not None,
        )
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = self._new_shape(ending, has_begun=has_begun)
        return shape

    def _new_shape(self, ending: Ending, *, has_begun: bool) -> "_Shape":
        place, request, reply = self._tally.place, ending.request, ending.reply
        provider = reply.upstream or NOBODY
        degraded = "true" if reply.is_degraded else "false"
        error_type, outcome = ending.error_type, ending.outcome
        counters = [place(its.REQUESTS, request.route, provider, outcome, degraded)]
        if error_type:
            counters.append(place(its.ERRORS, error_type))
        if has_begun:
            counters.append(place(its.STREAM_ENDS, error_type or outcome))
        first_delta = place(its.FIRST_TOKEN, CHAT, provider) if has_begun else None
        return _Shape(
            tuple(counters),
            place(its.SERVER_DURATION, CHAT, provider, error_type, degraded),
            place(its.QUEUE_WAIT, _class_of(request)),
            first_delta,
        )

    def _asked(self, attempt: Attempt) -> Place | None:
        """Where an attempt is counted; None if the upstream was passed over."""
        error_type = error_types.of_fault(attempt.fault) if attempt.fault else ""
        if error_type == error_types.NEVER_SENT:
            return None
        name = attempt.upstream
        return self._tally.place(its.CLIENT_DURATION, CHAT, name, error_type)

    def _count_rare(self, ending: Ending) -> None:
        """What most chats have nothing of."""
        reply, tally = ending.reply, self._tally
        if ending.refusal:
            tally.count(its.SHED, _class_of(ending.request), ending.refusal)
        if reply.audit_seconds <= 0:
            self._count_failed_record(ending)
        for before, attempt in pairwise(reply.attempts):
            self._count_next(before, attempt)
        _count_kept(tally, ending)
        if reply.reuse:
            return  # its tokens were spent and counted when it was said first
        for kind, spent in (
            ("input", reply.usage.input_tokens),
            ("output", reply.usage.output_tokens),
        ):
            if spent is not None:
                tally.observe(its.TOKENS, spent, CHAT, reply.upstream, kind)

    def _count_failed_record(self, ending: Ending) -> None:
        is_vetoed = ending.error_type == error_types.AUDIT_UNAVAILABLE
        if is_vetoed or not ending.error_type:  # answered without, at best effort
            self._tally.count(its.AUDIT_FAILURES)

    def _count_next(self, before: Attempt, attempt: Attempt) -> None:
        """An attempt that followed another: a retry, or a fallback."""
        fault = before.fault or ""
        reason = fault if error_types.is_known(fault) else error_types.OTHER
        if attempt.upstream == before.upstream:
            self._tally.count(its.RETRIES, attempt.upstream, reason)
        else:
            names = before.upstream, attempt.upstream
            self._tally.count(its.FALLBACKS, *names, reason)


class _Shape(NamedTuple):
    """Where the endings of one kind are counted."""

    counters: tuple[Place, ...]
    duration: Place
    queued: Place
    first_delta: Place | None


def _class_of(request: ChatRequest) -> str:
    return request.priority.name.lower()


def _count_kept(tally: MetricRecorder, ending: Ending) -> None:
    if ending.request.idempotency_key:
        tally.count(its.IDEMPOTENCY, _result_of(ending))
    if ending.reply.caching:
        tally.count(its.CACHE, ending.reply.caching.result)


def _result_of(ending: Ending) -> str:
    """What came of a chat with an Idempotency-Key."""
    if ending.error_type:
        return "failed"
    by = ending.reply.reuse.by if ending.reply.reuse else ""
    return "repeated" if by == IDEMPOTENCY else "answered"
