"""OpenTelemetry: chats as spans, sent to a collector by OTLP over HTTP.

Imported only where an endpoint is configured; its packages need not be installed
otherwise. The ids are those that went over the wire (`gateway/tracing.py`), so the
spans of callers and upstreams fit. No word that was said is part of a span.
"""

from collections.abc import Iterator
from time import time_ns
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from app.gateway import error_categories as error_types
from app.gateway.chain.metered import Ending
from app.gateway.chat import Attempt, ChatRequest
from app.gateway.tracing import Trace

SECOND = 1_000_000_000  # in nanoseconds, which is what spans are measured in
LIMIT = 5.0  # seconds that the collector has for a batch
Attributes = dict[str, Any]


class Spans:
    """Sends each chat of a trace that is kept, and its attempts; an Observer.

    A background thread sends; what the collector does not take is lost. Threads
    may share it.
    """

    def __init__(self, endpoint: str, version: str) -> None:
        self._resource = Resource.create(
            {"service.name": "vx11-gateway", "service.version": version}
        )
        url = f"{endpoint.rstrip('/')}/v1/traces"
        exporter = OTLPSpanExporter(endpoint=url, timeout=LIMIT)
        self._processor = BatchSpanProcessor(exporter)

    def ended(self, ending: Ending) -> None:
        """See Observer."""
        if ending.trace is None or not ending.trace.is_sampled:
            return
        for span in self._spans(ending, ending.trace):
            self._processor.on_end(span)

    def refused(self, request: ChatRequest, error_type: str) -> None:
        """See Observer; nothing was done that would make a span."""

    def close(self) -> None:
        """Send what is left."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # not annotated

    def _spans(self, ending: Ending, trace: Trace) -> Iterator[ReadableSpan]:
        now = time_ns()
        yield ReadableSpan(
            name="chat",
            context=_context(trace, trace.span_id),
            parent=_context(trace, trace.parent_id) if trace.parent_id else None,
            resource=self._resource,
            attributes=_of_chat(ending),
            kind=SpanKind.SERVER,
            status=_status(ending.error_type),
            start_time=now - int(ending.duration * SECOND),
            end_time=now,
        )
        for attempt in ending.reply.attempts:
            if began := trace.attempts.get(attempt.span):
                yield self._of_attempt(trace, attempt, began)

    def _of_attempt(self, trace: Trace, attempt: Attempt, began: int) -> ReadableSpan:
        error_type = error_types.of_fault(attempt.fault) if attempt.fault else ""
        attributes: Attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": attempt.upstream,
        }
        if attempt.status:
            attributes["http.response.status_code"] = attempt.status
        if attempt.fault:
            attributes |= {"error.type": error_type, "gateway.fault": attempt.fault}
        return ReadableSpan(
            name=f"chat {attempt.upstream}",
            context=_context(trace, attempt.span),
            parent=_context(trace, trace.span_id),
            resource=self._resource,
            attributes=attributes,
            kind=SpanKind.CLIENT,
            status=_status(error_type),
            start_time=began,
            end_time=began + int(attempt.duration * SECOND),
        )


def _of_chat(ending: Ending) -> Attributes:
    request, reply = ending.request, ending.reply
    known: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.conversation.id": request.session_id,
        "gen_ai.request.stream": request.stream,
        "gateway.correlation_id": request.correlation_id,
        "gateway.route": request.route,
        "gateway.outcome": ending.outcome,
        "gateway.degraded": reply.is_degraded,
    }
    if_known: Attributes = {
        "error.type": ending.error_type,
        "gen_ai.provider.name": reply.upstream,
        "gen_ai.request.model": request.model,
        "gen_ai.response.model": reply.model,
        "gen_ai.usage.input_tokens": None if reply.reuse else reply.usage.input_tokens,
        "gen_ai.usage.output_tokens": None
        if reply.reuse
        else reply.usage.output_tokens,
        "gateway.reuse": reply.reuse and reply.reuse.by,
        "gateway.audit_id": reply.audit_id,
        "gateway.fallback_reason": reply.degraded_by,
    }
    return known | {name: value for name, value in if_known.items() if value}


def _context(trace: Trace, span_id: str) -> SpanContext:
    return SpanContext(
        trace_id=int(trace.trace_id, 16),
        span_id=int(span_id, 16),
        is_remote=span_id == trace.parent_id,
        trace_flags=TraceFlags(trace.flags),
    )


def _status(error_type: str) -> Status:
    return Status(StatusCode.ERROR if error_type else StatusCode.UNSET)
