"""What all doors to the chat share: facts about answers, records of refusals."""

import logging
from collections.abc import Iterable, Iterator

from flask import Response

from app.gateway import chat, correlation
from app.gateway.budget import Budget
from app.gateway.chain.admission import Place
from app.gateway.chat import Priority, StreamMode
from app.web.chat.kept import headers_of
from app.web.request.caller import waited
from app.web.request.context import environ_key, notes, services, this_request
from app.web.request.errors import InvalidBody

log = logging.getLogger(__name__)

STREAM_MODE = "X-Gateway-Stream-Mode"
USAGE = "X-Gateway-Usage"
_STREAM_MODE = environ_key(STREAM_MODE)


def stream_mode() -> StreamMode:
    """How this request's stream is to be handled: its header, else the setting."""
    shown = this_request().environ.get(_STREAM_MODE)
    if shown is None:
        return services().stream_mode
    try:
        return StreamMode(shown.strip().lower())
    except ValueError:
        raise InvalidBody({STREAM_MODE: "must be live, verified or continue"}) from None


def log_answer(reply: chat.ChatReply, seconds: float) -> None:
    """Log the line that each answer has; `seconds` in all."""
    here = notes()
    person = here.get("person")
    log.info(
        "Chat response sent [provider=%s, degraded=%s, latency_ms=%.1f%s]",
        reply.upstream,
        reply.is_degraded,
        seconds * 1000,
        f", caller={here.caller.name}, person={person}" if person else "",
    )


def who_answers(reply: chat.ChatReply) -> dict[str, str]:
    """Headers that say who answers, why them, and where the time went so far."""
    return dict(of_all(reply)) | of_some(reply)


def of_all(reply: chat.ChatReply) -> list[tuple[str, str]]:
    """Those of `who_answers` that each answer has."""
    return [
        ("X-Gateway-Provider", reply.upstream),
        ("X-Gateway-Degraded", "true" if reply.is_degraded else "false"),
        ("X-Gateway-Attempts", str(_attempts_so_far(reply))),
        ("X-Gateway-Audit-Id", reply.audit_id),
        ("Server-Timing", server_timing(reply)),
    ]


def of_some(reply: chat.ChatReply) -> dict[str, str]:
    """Those of `who_answers` that few have."""
    headers = {}
    if reply.degraded_by:
        headers["X-Gateway-Fallback-Reason"] = reply.degraded_by
    if reply.left_out:
        headers["X-Gateway-Left-Out"] = ", ".join(reply.left_out)
    if reply.caching or reply.reuse:
        headers.update(headers_of(reply))
    return headers


def counted(reply: chat.ChatReply) -> dict[str, str]:
    """The header of an answer whose tokens nobody has counted: its usage is zeros."""
    spent = reply.usage
    known = spent.input_tokens is not None or spent.output_tokens is not None
    return {} if known else {USAGE: "unknown"}


def _attempts_so_far(reply: chat.ChatReply) -> int:
    """Attempts made, with the one that is still going on if there is one."""
    if reply.reuse:
        return 0
    is_over = any(attempt.fault is None for attempt in reply.attempts)
    return len(reply.attempts) + (not is_over)


def server_timing(reply: chat.ChatReply) -> str:
    """https://www.w3.org/TR/server-timing/; durations in milliseconds."""
    queued = waited(this_request()) + reply.queue_seconds
    parts = [*_timings(queued, reply.attempts)]
    if reply.audit_seconds:
        parts.append(f"audit;dur={reply.audit_seconds * 1000:.1f}")
    return ", ".join(parts)


def timing_comment(reply: chat.ChatReply) -> bytes:
    """What a stream tells at its end, as a comment: who answered, and the timing.

    Of an answer that is to be the same bytes each time it is the timing of the first.
    """
    timing = server_timing(reply)
    if said := reply.said:
        timing = ", ".join(_timings(said.queued, said.attempts))
    return f": x-gateway-provider {reply.upstream}\n: {timing}\n\n".encode()


def _timings(queued: float, attempts: Iterable[chat.Attempt]) -> Iterator[str]:
    yield f"queue;dur={queued * 1000:.1f}"
    for attempt in attempts:
        fault = f';desc="{attempt.fault}"' if attempt.fault else ""
        yield f"{attempt.upstream};dur={attempt.duration * 1000:.1f}{fault}"


def seat(budget: Budget, priority: Priority) -> Place:
    """A slot in which a door parses its request; raises Overloaded if there is none.

    What admission itself refuses is on record by it. What the door finds wrong with
    the request is not, until the door says that the core has it.
    """
    here = notes()
    here.is_on_record = True
    place = services().chat.enter(_known(priority), budget)
    here.is_on_record = False
    return place


def _known(priority: Priority = Priority.NORMAL) -> chat.ChatRequest:
    """What is known of a request without its body."""
    here = notes()
    return chat.ChatRequest(
        messages=(),
        session_id="",
        correlation_id=correlation.current.get(),
        caller=here.caller.name,
        person=here.get("person"),
        priority=priority,
        route=this_request().blueprint or "chat",
    )


def record_refusal(response: Response) -> Response:
    """Leave a record of a known caller's request that never reached the core.

    Each door registers it, after its own requests; the route is the door's name.
    """
    if response.status_code < 400:
        return response
    here = notes()
    if "caller" in here and not here.get("is_on_record"):
        services().chat.refuse(_known(), here.error_code, response.status_code)
    return response
