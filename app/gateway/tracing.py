"""Tracing: a request's ids in a W3C trace, across several systems.

https://www.w3.org/TR/trace-context/. The current trace rides in a context variable,
as the correlation id does: each log line and each call to an upstream can name it
without being handed it.
"""

import os
import re
from contextvars import ContextVar
from time import time_ns

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-[!-~]*)?"
)
_KEY = r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_MEMBER = re.compile(rf"(?:{_KEY})=[ -+\--<>-~]{{0,255}}[!-+\--<>-~]")
MOST_MEMBERS, MOST_STATE = 32, 512  # of a tracestate; what is longer is dropped

SAMPLED = 0x01  # the only flag of version 00


class Trace:
    """One request's part of a trace. It belongs to the request's thread.

    `span_id` is ours, `parent_id` the caller's, "" if it sent none. `attempts` maps
    the span id of each attempt to when it began, in nanoseconds of the wall clock.
    """

    __slots__ = (
        "_latest",
        "attempts",
        "flags",
        "parent_id",
        "span_id",
        "state",
        "trace_id",
    )

    def __init__(
        self, trace_id: str, parent_id: str = "", flags: int = 0, state: str = ""
    ) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.span_id = _new_id(64)
        self.flags = flags
        self.state = state
        self.attempts: dict[str, int] = {}
        self._latest = ""

    @property
    def is_sampled(self) -> bool:
        """Whether whoever began the trace wants it kept."""
        return bool(self.flags & SAMPLED)

    def header(self) -> str:
        """The traceparent of the request itself."""
        return self._traceparent(self.span_id)

    def begin_attempt(self) -> dict[str, str]:
        """Begin a span for an upstream; return the headers that tell it."""
        self._latest = _new_id(64)
        self.attempts[self._latest] = time_ns()
        headers = {"traceparent": self._traceparent(self._latest)}
        if self.state:
            headers["tracestate"] = self.state
        return headers

    def end_attempt(self) -> str:
        """Return the span id of the attempt that was begun last, once; else ""."""
        latest, self._latest = self._latest, ""
        return latest

    def _traceparent(self, span_id: str) -> str:
        return f"00-{self.trace_id}-{span_id}-{self.flags:02x}"


current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def continued(traceparent: str, tracestate: str = "", *, sample: bool = False) -> Trace:
    """Go on with the caller's trace if it is well-formed; else begin a new one.

    `sample` says whether a new trace is to be kept; a caller's own flag is obeyed.
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or not _is_valid(found):
        return Trace(_new_id(128), flags=SAMPLED if sample else 0)
    flags = int(found["flags"], 16) & SAMPLED
    return Trace(found["trace"], found["span"], flags, _well_formed(tracestate))


def go_on_with(tracestate: str) -> None:
    """Take a tracestate over into the current trace, if that is one of the caller's."""
    trace = current.get()
    if trace is not None and trace.parent_id:
        trace.state = _well_formed(tracestate)


def outgoing() -> dict[str, str]:
    """Headers for an attempt of the current request; none outside of any."""
    trace = current.get()
    return trace.begin_attempt() if trace else {}


def ended_attempt() -> str:
    """The span id of the attempt that has just ended; "" if it was never sent."""
    trace = current.get()
    return trace.end_attempt() if trace else ""


def _is_valid(found: re.Match[str]) -> bool:
    """Later versions may say more behind the flags, version 00 may not."""
    is_known = found["version"] == "00"
    is_whole = found["version"] != "ff" and not (is_known and found["more"])
    return is_whole and int(found["trace"], 16) > 0 and int(found["span"], 16) > 0


def _well_formed(state: str) -> str:
    members = [member.strip(" \t") for member in state.split(",")]
    members = [member for member in members if member]
    keys = {member.partition("=")[0] for member in members}
    if len(keys) < len(members) or len(members) > MOST_MEMBERS:
        return ""
    if not all(_MEMBER.fullmatch(member) for member in members):
        return ""
    joined = ",".join(members)
    return joined if len(joined) <= MOST_STATE else ""


def _new_id(bits: int) -> str:
    """Random hex digits that are not all zero, and tell nothing of the next ones."""
    return f"{int.from_bytes(os.urandom(bits // 8)) or 1:0{bits // 4}x}"
