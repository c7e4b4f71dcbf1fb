"""Errors as callers see them: JSON always, and never a word of what broke inside.

`/v1/messages` answers in Anthropic's shape, the rest of `/v1/*` in OpenAI's, everything
else in ours: `{"detail", "code", "correlation_id"}`. The codes are the same in all.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, current_app, g, jsonify, request
from werkzeug.exceptions import HTTPException

from app.gateway import correlation
from app.gateway.errors import (
    AnswerNotKept,
    AuditUnavailable,
    CallerFault,
    CallerGone,
    ContentFiltered,
    ContextTooLong,
    GatewayError,
    Interrupted,
    KeyInFlight,
    KeyMalformed,
    KeyReused,
    NobodyAble,
    NobodyAnswered,
    NotCached,
    Overloaded,
    Rejected,
    SearchTookTooLong,
    ShuttingDown,
    StreamLimit,
    Unfit,
    UnknownModel,
    Unsupported,
    consequence,
)
from app.web.request.caller_error import CallerError, is_openai_path

log = logging.getLogger(__name__)

DETAILS: dict[type[GatewayError], str] = {
    NobodyAnswered: "no upstream could answer",
    NobodyAble: "no upstream that can do what the request needs could answer",
    AuditUnavailable: "the audit record cannot be written, so nothing is answered",
    SearchTookTooLong: "the search took too long; ask for a smaller time range",
    CallerFault: "the upstream rejected the request",
    Rejected: "the upstream rejected the request",
    ContentFiltered: "the upstream's content policy forbids the request",
    # The words by which LangChain and LiteLLM know it.
    ContextTooLong: "context_length_exceeded: this model's maximum context length is "
    "exceeded; the conversation is too long",
    UnknownModel: "no upstream serves that model",
    Unfit: "no upstream can do what the request needs",
    Unsupported: "no upstream can do what the request needs",
    Interrupted: "the reply broke off",
    Overloaded: "too many requests at once",
    ShuttingDown: "the gateway is shutting down",
    StreamLimit: "the reply took longer than a stream may last",
    NotCached: "no cached answer is there, and none other is wanted",
    KeyMalformed: "Idempotency-Key: must be 1 to 255 visible ASCII characters",
    KeyInFlight: "the first request with this Idempotency-Key is not answered yet",
    KeyReused: "this Idempotency-Key was used for another request",
    AnswerNotKept: "the request with this Idempotency-Key was answered, and the words"
    " of the answer are not kept",
    CallerGone: "the caller hung up",
}

# What follows from a request, or from a closed tab, is no reason to wake anybody.
OF_CALLERS = (
    AnswerNotKept,
    CallerFault,
    CallerGone,
    KeyInFlight,
    KeyMalformed,
    KeyReused,
    NotCached,
    Unfit,
    Unsupported,
)

RETRY_AFTER = 1  # seconds; least that a caller is told to wait after a 503

# Clients of OpenAI try a 409 or 503 again at once, unless this says `false`.
SHOULD_RETRY = "x-should-retry"
RETRIED = (409, 503)

# What OpenAI calls them. Its clients try anything from 500 on again, so a request
# that an upstream rejected must not look like an outage there.
OPENAI_STATUS = {(422, "invalid_request"): 400, (502, CallerFault.code): 400}


class InvalidBody(Exception):
    """A body or header breaks its schema. `fields` maps field to reason."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("invalid body")
        self.fields = dict(fields)


def report(error: Exception) -> CallerError:
    """Say what a caller is told of this error, and log it."""
    if not isinstance(error, GatewayError):
        log.error("Chat error: internal_error", exc_info=error)
        return CallerError(500, GatewayError.code, "the gateway made a mistake")
    level = logging.INFO if isinstance(error, OF_CALLERS) else logging.ERROR
    log.log(level, "Chat error: %s", error.code)
    detail = next(
        (DETAILS[kind] for kind in type(error).__mro__ if kind in DETAILS),
        "the gateway could not answer",
    )
    if isinstance(error, AnswerNotKept) and error.record:
        detail = f"{detail}; its record is {error.record}"
    status = consequence(error).status
    return CallerError(status, error.code, detail, _wait(status, error.retry_after))


def _wait(status: int, seconds: float | None) -> int | None:
    """Whole seconds to wait: always for 503, else where the error names them."""
    if seconds is None and status != 503:
        return None
    return max(RETRY_AFTER, math.ceil(seconds or 0))


def error_response(
    status: int,
    code: str,
    detail: str,
    *,
    retry_after: float | None = None,
    **more: Any,
) -> Response:
    """Make the one shape of error that the asked door answers."""
    g.error_code = code
    wait = _wait(status, retry_after)
    if is_openai():
        status = OPENAI_STATUS.get((status, code), status)
    param = next((e["field"] for e in more.get("errors", ())), None)
    told = CallerError(status, code, detail)
    body = told.body(request.path, correlation.current.get(), param, **more)
    response = jsonify(body)
    response.status_code = status
    if wait is not None:
        response.headers["Retry-After"] = str(wait)
    return response


def is_openai() -> bool:
    """Whether the caller of this request expects OpenAI's shapes."""
    return is_openai_path(request.path)


def register_errors(app: Flask) -> None:
    """Answer every exception that leaves a door as JSON."""
    app.register_error_handler(InvalidBody, invalid_body)
    app.register_error_handler(GatewayError, gateway_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, unexpected)


def invalid_body(error: InvalidBody) -> Response:
    """422, naming each field and never repeating its value."""
    detail = "; ".join(f"{field}: {why}" for field, why in error.fields.items())
    fields = [{"field": field, "reason": why} for field, why in error.fields.items()]
    return error_response(422, "invalid_request", detail, errors=fields)


def gateway_error(error: GatewayError) -> Response:
    """The status that the table of consequences gives, and our own words."""
    reported = report(error)
    response = error_response(
        reported.status,
        reported.code,
        reported.detail,
        retry_after=reported.retry_after,
    )
    response.headers["X-Gateway-Attempts"] = str(len(error.attempts))
    if reported.status in RETRIED and not error.may_repeat:
        response.headers[SHOULD_RETRY] = "false"
    return response


def http_error(error: HTTPException) -> Response:
    """What Werkzeug raises: 400, 404, 405, 413, 415 and the like."""
    status = error.code or 500
    name = error.name.lower()
    code = name.replace(" ", "_").replace("-", "_")
    detail = f"{name}; {_what_there_is()}" if status == 404 and is_openai() else name
    response = error_response(status, code, detail)
    for header, value in error.get_headers():
        if header in {"Allow", "WWW-Authenticate", "Retry-After"}:
            response.headers[header] = value
    if status in {400, 408, 413}:
        response.headers["Connection"] = "close"  # unread bytes may follow
    return response


def _what_there_is() -> str:
    """The doors below /v1, for whoever has missed them."""
    doors = [
        f"{verb} {rule.rule.replace('path:', '')}"
        for rule in current_app.url_map.iter_rules()
        for verb in sorted((rule.methods or set()) - {"HEAD"})
        if is_openai_path(rule.rule)
    ]
    return f"there are {', '.join(sorted(doors))}"


def unexpected(error: Exception) -> Response:
    """A bug of ours: logged with its trace, answered without it."""
    reported = report(error)
    return error_response(reported.status, reported.code, reported.detail)
