"""What an OpenAI-speaking upstream means by its errors.

Servers agree on no status, shape or wording, so codes and types are looked at first,
then the server's own phrasing, then the status. What follows from the request (too
long, a model or an ability that is not there) is told with any status from 400 to 500,
and is never a sign that the server is unwell.
"""

import re
from collections.abc import Mapping
from typing import Any

from app.gateway.errors import (
    BadReply,
    CallerFault,
    ContentFiltered,
    ContextTooLong,
    Refused,
    Rejected,
    Unfit,
    UnknownModel,
    UpstreamError,
)
from app.upstreams.http.statuses import LONGEST_REST, meaning
from app.upstreams.openai.errors.reading import (
    NO_ECHO,
    Echo,
    ErrorReport,
    parsed,
    telling,
)
from app.upstreams.openai.errors.wordings import (
    BAD_KEY,
    FILTERED,
    FORM,
    INVALID,
    PASSING,
    QUOTA,
    SOON,
    TOO_FAST,
    TOO_LARGE,
    TOO_LONG,
    TURNS,
    UNABLE,
    UNKNOWN_MODEL,
)

# In this order: a limit per minute is told with words of a quota and of length, too.
MEANINGS: tuple[tuple[re.Pattern[str], type[UpstreamError], str], ...] = (
    (SOON, Refused, "rate_limited"),
    (QUOTA, Refused, "quota"),
    (TOO_FAST, Refused, "rate_limited"),
    (TOO_LONG, ContextTooLong, "context_length"),
    (FILTERED, ContentFiltered, "content_filter"),
    (UNKNOWN_MODEL, UnknownModel, "unknown_model"),
    (BAD_KEY, Refused, "upstream_auth"),
    (TURNS, Rejected, "upstream_rejected"),
    (UNABLE, Unfit, "unsupported"),
)
# What an error of these statuses may mean beside what the status says: by its words,
# and by its codes and types, which nobody chooses by accident.
LIMITS = frozenset({"quota", "rate_limited"})
OF_REQUESTS = frozenset({"content_filter", "context_length", "unknown_model"})
# What may pass, with a status that says so.
OF_SERVERS = frozenset({"content_filter", "context_length", "upstream_auth"})
ONLY: Mapping[int, frozenset[str]] = {
    401: frozenset({"quota"}),
    403: LIMITS | OF_REQUESTS,
    429: LIMITS,
}
ONLY_LABELS: Mapping[int, frozenset[str]] = {**ONLY, 401: LIMITS | OF_REQUESTS}
# Members by which a value without choices tells of an error; and statuses in words.
TELLING = (
    *("errors", "detail", "message", "msg"),
    *("err", "error_code", "error_msg", "error_message"),
)
FAILED = ("error", "failed", "failure")
# Fields that hold what is said; an error about any other one is about its form.
SAID = frozenset({"", "messages", "prompt", "input", "query", "body"})


def refusal(
    status: int, headers: Mapping[str, str], body: bytes, echo: Echo = NO_ECHO
) -> UpstreamError:
    """What an answer of status 400 or above means. `body` may be cut."""
    value = parsed(body)
    report = telling(value, echo)
    error = _by_words(report, status) or _by_status(report, status, headers)
    if type(error) is CallerFault and (not value or isinstance(value, str)):
        # A page, a plain text, nothing: whatever stands before the server may say so.
        error = Rejected("upstream_rejected")
    plain = meaning(status, headers)
    error.status, error.may_repeat = status, plain.may_repeat
    if not isinstance(error, Unfit):  # which leaves nothing to rest from
        error.retry_after = plain.retry_after or _rest(report)
    return error


def is_failure(value: object) -> bool:
    """Whether what came in place of an answer tells of an error."""
    if isinstance(value, list):
        return (
            bool(value)
            and all(isinstance(item, dict) for item in value[:1])
            and (is_failure(value[0]))
        )
    if not isinstance(value, dict):
        return False
    if _has_error(value) or value.get("object") == "error":
        return True
    choices = value.get("choices")
    if choices:
        return isinstance(choices, list) and any(map(_has_error, choices))
    return any(map(value.get, TELLING)) or _is_failed(value)


def failure(value: object, status: int, echo: Echo = NO_ECHO) -> UpstreamError:
    """What an error means that came where an answer should be."""
    report = telling(value, echo)
    error = _by_words(report, report.status or status)
    if error is None and report.status is not None and report.status < 500:
        error = _by_status_within(report.status)
    error = error or BadReply("upstream_error")
    error.status = status
    if not isinstance(error, Unfit):
        error.retry_after = _rest(report)
    return error


def _by_words(report: ErrorReport, status: int) -> UpstreamError | None:
    """What codes and types mean, or else the words."""
    if TOO_LARGE.search(report.words):
        return ContextTooLong("context_length")
    is_passing = status >= 500 and PASSING.search(report.words) is not None
    for text, limits in ((report.labels, ONLY_LABELS), (report.words, ONLY)):
        only = LIMITS | OF_SERVERS if is_passing else limits.get(status)
        for pattern, kind, fault in MEANINGS:
            if (only is None or fault in only) and pattern.search(text):
                is_soon = fault == "quota" and SOON.search(report.words)
                return kind("rate_limited" if is_soon else fault)
    if status in {400, 404, 422} and "model" in report.params:
        return UnknownModel("unknown_model")
    return None


def _by_status(
    report: ErrorReport, status: int, headers: Mapping[str, str]
) -> UpstreamError:
    if status >= 500 and report.status is not None and report.status < 500:
        return _by_status_within(report.status)
    if status == 501:
        return Unfit("unsupported")
    if status >= 500 and INVALID.search(report.labels):
        return Rejected("upstream_rejected")
    if status == 404 and "model" in report.words:
        return UnknownModel("unknown_model")
    if status == 400 and _is_about_form(report):
        return Rejected("upstream_rejected")
    return meaning(status, headers)


def _is_about_form(report: ErrorReport) -> bool:
    """Whether it is how the request is put that is not taken, and not what it says.

    Servers differ in the forms that they take, so another one may.
    """
    return bool(report.params - SAID or FORM.search(report.words))


def _by_status_within(status: int) -> UpstreamError:
    """What a status means that stands in a body: another upstream may do better."""
    error = meaning(status, {})
    is_vague = isinstance(error, BadReply | CallerFault)
    return Rejected("upstream_rejected") if is_vague else error


def _rest(report: ErrorReport) -> float | None:
    return None if report.rest is None else min(report.rest, LONGEST_REST)


def _has_error(part: Any) -> bool:
    """Whether a member tells of an error; some servers tell of none that way."""
    error = part.get("error") if isinstance(part, dict) else None
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _is_failed(value: Mapping[str, Any]) -> bool:
    """Whether a value without choices says that there will be none."""
    told = value.get("base_resp")  # of MiniMax, beside each answer
    code = told.get("status_code") if isinstance(told, dict) else None
    is_failed = value.get("success") is False or bool(code)
    return is_failed or value.get("status") in FAILED
