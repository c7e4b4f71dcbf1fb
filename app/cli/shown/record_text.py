"""Records for people: a line each in a list, or one of them whole.

What callers and upstreams said is shown without what could drive a terminal.
"""

import json
from collections.abc import Iterator
from datetime import tzinfo
from typing import Any

from app.cli.shown.times import shown_duration, shown_time, zone_name
from app.gateway.records.audit import Record
from app.gateway.records.content import question_of

EXCERPT = 60  # characters of the question in a list
BAR = 24  # characters that the whole time of a chat is wide
LEAST = 0.001  # seconds that a timeline stands for at least
NOTHING = "-"
WIDTHS = (19, 32, 11, 6, 8, 12, 16, 20, 12, 0)
HEADS = ("Record", "Outcome", "Status", "Took", "By", "Degraded", "Error", "Caller")


def heading(now: float, zone: tzinfo | None) -> str:
    """The line above a list, which names the time zone."""
    began = f"Began ({zone_name(now, zone)})"
    return _columns([began, *HEADS, "Question"])


def line(record: Record, zone: tzinfo | None) -> str:
    """A record in a list. `-` is what a chat has none of, or not yet."""
    is_over = record.outcome is not None
    by_first = "no" if record.provider else NOTHING
    no_error = "none" if is_over else NOTHING
    took = record.duration
    return _columns(
        [
            shown_time(record.opened_at, zone),
            record.id,
            record.outcome or "open",
            str(record.status or NOTHING),
            NOTHING if took is None else shown_duration(took),
            record.provider or NOTHING,
            record.degraded_by or by_first,
            record.code or no_error,
            record.caller,
            question_of(record.request, EXCERPT) or "(not kept)",
        ]
    )


def page(record: Record, zone: tzinfo | None) -> Iterator[str]:
    """The lines of a record in sections: what it is, attempts, words, proof."""
    yield f"Record {record.id}"
    facts = {
        "began": _moment(record.opened_at, zone),
        "ended": _moment(record.closed_at, zone),
        "outcome": _ending(record),
        "answered by": _by(record),
        "caller": record.caller,
        "person": record.person,
        "session": record.session_id,
        "correlation id": record.correlation_id,
        "route": record.route,
        "tokens": _tokens(record),
        "corrects": record.corrects,
        "repeats": record.source and f"{record.source}, by {record.reuse}",
        "clock": record.clock_step and f"jumped by {record.clock_step:+.3g} s",
    }
    for name, value in facts.items():
        if value:
            yield f"  {name:<15} {clean(value)}"
    yield from _attempts(record)
    yield from _section("Question", _asked(record.request))
    yield from _section("Answer", _said(record.reply))
    digest = record.digest.hex() if record.digest else ""
    proof = f"no. {record.seq}, digest {digest}" if digest else "not sealed yet"
    yield from _section("In the chain", proof)


def clean(text: str) -> str:
    """The text on one line, without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _columns(cells: list[str]) -> str:
    padded = (
        f"{clean(cell):<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)
    )
    return "  ".join(padded).rstrip()


def _moment(seconds: float | None, zone: tzinfo | None) -> str:
    if seconds is None:
        return ""
    return f"{shown_time(seconds, zone)} {zone_name(seconds, zone)}"


def _ending(record: Record) -> str:
    if record.outcome is None:
        return "open: it is under way"
    parts = [record.outcome, record.code, record.status and f"status {record.status}"]
    took = (
        "" if record.duration is None else f" after {shown_duration(record.duration)}"
    )
    return ", ".join(str(part) for part in parts if part) + took


def _by(record: Record) -> str:
    if not record.provider:
        return "nobody" if record.outcome else ""
    model = f" ({record.model})" if record.model else ""
    why = record.degraded_by
    return f"{record.provider}{model}" + (f", degraded: {why}" if why else "")


def _tokens(record: Record) -> str:
    if record.input_tokens is None and record.output_tokens is None:
        return ""
    read, written = record.input_tokens, record.output_tokens
    return f"{read or 0} read, {written or 0} written"


def _attempts(record: Record) -> Iterator[str]:
    """One under the other, each as long as it took, where it was in the chat."""
    attempts: list[dict[str, Any]] = json.loads(record.attempts or "[]")
    if not attempts:
        return
    asked = sum(attempt["duration"] for attempt in attempts)
    whole, begun = max(record.duration or 0.0, asked, LEAST), 0.0
    yield from ("", "Attempts")
    for attempt in attempts:
        start = min(int(BAR * begun / whole), BAR - 1)
        length = max(1, round(BAR * attempt["duration"] / whole))
        begun += attempt["duration"]
        bar = (" " * start + "#" * length)[:BAR]
        how = attempt["fault"] or "answered"
        if status := attempt.get("status"):
            how = f"{how}, status {status}"
        name, took = clean(attempt["upstream"]), shown_duration(attempt["duration"])
        yield f"  {name:<15} |{bar:<{BAR}}| {took:>8}  {clean(how)}"


def _section(title: str, text: str) -> Iterator[str]:
    yield from ("", title)
    for one in text.splitlines() or [""]:
        yield f"  {clean(one)}".rstrip()


def _asked(request: str | None) -> str:
    if request is None:
        return "(erased)"
    said = json.loads(request)
    turns = said.get("messages")
    if turns is None:
        return _other(said)
    return "\n".join(f"{role}: {content}" for role, content, *_ in turns)


def _said(reply: str | None) -> str:
    if reply is None:
        return "(none)"
    said = json.loads(reply)
    return said["text"] if said.get("text") else _other(said)


def _other(said: dict[str, Any]) -> str:
    """What is kept in place of words, or words of another form."""
    return json.dumps(said, indent=1) if any(said.values()) else "(not kept)"
