"""Errors: every failure that the gateway knows, and what follows from each.

    GatewayError
    ├── UpstreamError          one upstream did not answer; `fault` says how
    │   ├── NeverSent          circuit open, unhealthy, resting, no slot
    │   ├── ConnectFailed      refused, DNS, TLS, connect timeout
    │   ├── Refused            429, 5xx, our own credentials rejected
    │   │   └── Unfit          it cannot do this very request; another one may
    │   │       ├── ContextTooLong
    │   │       ├── Rejected
    │   │       └── UnknownModel
    │   ├── BadReply           an answer that is none
    │   ├── NoAnswer           sent, and nothing whole came in time
    │   ├── CallerFault        the request itself was rejected
    │   │   └── ContentFiltered
    │   └── Interrupted        broke after the first delta
    ├── NobodyAnswered         every upstream was tried or passed over
    │   └── NobodyAble         only some of them can what is needed
    │   └── NobodyAble         the others cannot do what the request needs
    ├── Unsupported            no upstream has the ability that it needs
    ├── CallerGone             the caller hung up
    ├── Overloaded             our own admission refused
    ├── ShuttingDown           the gateway stops before the answer can be had
    ├── StreamLimit            the stream lasted as long as one may
    ├── NotCached              the caller wants a cached answer, and there is none
    ├── KeyMalformed           its Idempotency-Key is none
    ├── KeyInFlight            the first request with its key is not over yet
    ├── KeyReused              its key belongs to another request
    ├── AnswerNotKept          its key was answered, and the words are not kept
    └── AuditUnavailable       the record cannot be written
        └── SearchTookTooLong  too many records to look through

The texts of these exceptions are written by us: they name a fault class and hold
no URL, no host, no token and nothing an upstream sent.
"""

from dataclasses import dataclass

from app.gateway.chat import Attempt


class GatewayError(Exception):
    """Base of all failures that the gateway itself knows.

    `code` is the stable, machine-readable word that callers and records see.
    `may_repeat` is False where the same request would fail the same way for long.
    """

    code = "internal_error"
    may_repeat = True

    def __init__(self, detail: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(detail or self.code)
        self.retry_after = retry_after
        self.attempts: tuple[Attempt, ...] = ()


class UpstreamError(GatewayError):
    """One upstream did not answer. `received` counts body bytes read so far."""

    code = "upstream_unavailable"

    def __init__(
        self,
        fault: str,
        *,
        status: int | None = None,
        received: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(fault, retry_after=retry_after)
        self.fault = fault
        self.status = status
        self.received = received


class NeverSent(UpstreamError):
    """The upstream was passed over; it never saw the request."""


class ConnectFailed(UpstreamError):
    """No connection was made; the upstream never saw the request."""


class Refused(UpstreamError):
    """The upstream refused the request for a reason of its own, such as load."""


class Unfit(Refused):
    """The upstream cannot do this request; that is not held against it."""

    code = "unsupported"


class ContextTooLong(Unfit):
    """The conversation is longer than that model can read."""

    code = "context_length_exceeded"


class Rejected(Unfit):
    """The upstream rejects this very request; another one may take it."""

    code = "upstream_rejected"


class UnknownModel(Unfit):
    """The upstream does not serve the model that the caller named."""

    code = "model_not_found"


class BadReply(UpstreamError):
    """The upstream sent something that is not an answer."""


class NoAnswer(UpstreamError):
    """The request was sent, and no whole answer came in time."""


class CallerFault(UpstreamError):
    """The upstream rejected the request itself; another one would do the same."""

    code = "upstream_rejected"


class ContentFiltered(CallerFault):
    """The upstream's policy forbids what is asked; nobody else is asked instead."""

    code = "content_filter"


class Interrupted(UpstreamError):
    """The answer broke after its first delta."""

    code = "reply_interrupted"


class NobodyAnswered(GatewayError):
    """Every upstream failed or was passed over."""

    code = "upstream_unavailable"


class NobodyAble(NobodyAnswered):
    """Nobody answered who can do what the request needs; others were not asked."""

    code = "ability_unavailable"


class Unsupported(GatewayError):
    """The request needs an ability that none of its upstreams has."""

    code = "unsupported"


class CallerGone(GatewayError):
    """The caller hung up; there is nobody to answer."""

    code = "client_gone"


class Overloaded(GatewayError):
    """Admission refused the chat at once, so that others can be served."""

    code = "overloaded"


class ShuttingDown(GatewayError):
    """The gateway stops, and the answer did not come within the grace."""

    code = "shutting_down"


class StreamLimit(GatewayError):
    """The stream reached its time limit; that is not held against the upstream."""

    code = "stream_limit"


class NotCached(GatewayError):
    """The caller takes a cached answer or none, and there is none."""

    code = "not_cached"


class KeyMalformed(GatewayError):
    """What is shown as an Idempotency-Key cannot be one."""

    code = "idempotency_key_malformed"
    may_repeat = False


class KeyInFlight(GatewayError):
    """Another request with the same Idempotency-Key is still being answered."""

    code = "idempotency_in_flight"


class KeyReused(GatewayError):
    """The Idempotency-Key was shown with another request before."""

    code = "idempotency_key_reused"
    may_repeat = False


class AnswerNotKept(GatewayError):
    """The request was answered before, and its words are not kept; `record` has it."""

    code = "answer_not_kept"
    may_repeat = False

    def __init__(self, record: str = "") -> None:
        super().__init__()
        self.record = record


class AuditUnavailable(GatewayError):
    """The record cannot be committed, so no answer may leave."""

    code = "audit_unavailable"
    may_repeat = False  # a broken disk is not mended in a second


class SearchTookTooLong(AuditUnavailable):
    """The search took longer than a search may; nothing is broken."""

    code = "search_took_too_long"


@dataclass(frozen=True, slots=True)
class Consequence:
    """What follows from a class of failure.

    `fails_over`: the next upstream may be tried. `status`: what the caller sees when
    nobody else answers. What a failure says of its upstream is in `blame`.
    """

    fails_over: bool
    status: int


# The status of each failure of a request; when every upstream failed, the caller
# always sees 503 (docs/decisions/0003).
CONSEQUENCES: dict[type[GatewayError], Consequence] = {
    NeverSent: Consequence(fails_over=True, status=503),
    ConnectFailed: Consequence(fails_over=True, status=503),
    Refused: Consequence(fails_over=True, status=503),
    Unfit: Consequence(fails_over=True, status=400),
    ContextTooLong: Consequence(fails_over=True, status=400),
    Rejected: Consequence(fails_over=True, status=502),
    UnknownModel: Consequence(fails_over=True, status=404),
    BadReply: Consequence(fails_over=True, status=503),
    NoAnswer: Consequence(fails_over=True, status=503),
    CallerFault: Consequence(fails_over=False, status=502),
    ContentFiltered: Consequence(fails_over=False, status=400),
    Interrupted: Consequence(fails_over=False, status=502),
    NobodyAnswered: Consequence(fails_over=False, status=503),
    NobodyAble: Consequence(fails_over=False, status=503),
    Unsupported: Consequence(fails_over=False, status=400),
    CallerGone: Consequence(fails_over=False, status=499),
    Overloaded: Consequence(fails_over=False, status=503),
    ShuttingDown: Consequence(fails_over=False, status=503),
    StreamLimit: Consequence(fails_over=False, status=504),
    NotCached: Consequence(fails_over=False, status=504),
    KeyMalformed: Consequence(fails_over=False, status=400),
    KeyInFlight: Consequence(fails_over=False, status=409),
    KeyReused: Consequence(fails_over=False, status=422),
    AnswerNotKept: Consequence(fails_over=False, status=409),
    AuditUnavailable: Consequence(fails_over=False, status=503),
    SearchTookTooLong: Consequence(fails_over=False, status=503),
}


def consequence(error: GatewayError) -> Consequence:
    """Look up what follows from an error, by its most specific known class."""
    for kind in type(error).__mro__:
        if kind in CONSEQUENCES:
            return CONSEQUENCES[kind]
    return Consequence(fails_over=False, status=500)


def may_fail_over(error: GatewayError) -> bool:
    """Whether the next upstream may be tried after this error."""
    return consequence(error).fails_over
