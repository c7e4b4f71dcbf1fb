"""Export: whether traces leave this process, and by what."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.gateway.chain.metered import Observer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exporter:
    """Who is told of chats in order to send them somewhere; nobody by default."""

    observers: tuple[Observer, ...] = ()
    close: Callable[[], None] = lambda: None


def open_exporter(endpoint: str | None, version: str) -> Exporter:
    """Start to send traces to the endpoint, if there is one.

    Without OpenTelemetry's packages it is logged and nothing is sent.
    """
    if endpoint is None:
        return Exporter()
    try:
        # Not at the top: 60 ms and 12 MB that only those pay who want it.
        from app.telemetry.traces.otel import Spans  # noqa: PLC0415
    except ImportError as error:
        log.error("No traces are sent: VX11_OTLP_ENDPOINT: no module %s", error.name)
        return Exporter()
    spans = Spans(endpoint, version)
    return Exporter((spans,), spans.close)
