"""Causes: why one chat was answered by another upstream, or by nobody.

One table of rules. For each attempt that failed, and for a chat that none was made for,
the first rule that fits names the cause. What fits none is `unexplained`, which no
outage may ever be.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.gateway.error_categories import FAULTS as KNOWN_FAULTS
from app.gateway.evidence.evidence import Evidence
from app.gateway.evidence.past import Past
from app.gateway.evidence.words import CODES, fault_words
from app.gateway.records.activity import Kind

UNEXPLAINED = "unexplained"
_OURS = 500  # statuses from here on are no mistakes of callers
_THEIRS = 400


class Cause(NamedTuple):
    """Why a chat went wrong; `at` is since when it held, in Unix time.

    `kind` is verdict, circuit, rest, places, fault, deadline, audit, gateway or
    unexplained; `word` is the code of the fault or reason.
    """

    kind: str
    upstream: str | None
    word: str
    at: float
    sentence: str


class Step(NamedTuple):
    """An attempt that failed, or the chat as a whole where none did.

    `word` is the attempt's fault, or the code of the chat.
    """

    chat: Evidence
    upstream: str | None
    word: str
    past: Past


Rule = Callable[[Step], Cause | None]


def kind_of(chat: Evidence) -> Kind | None:
    """In which way a chat went wrong: unanswered, refused, degraded; None: in none.

    A caller's own mistake is none of them, nor is a chat that the caller gave up.
    """
    status = _OURS if chat.status is None else chat.status
    if chat.outcome == "refused":
        return "refused" if status >= _OURS else None
    if chat.outcome in ("failed", "interrupted"):
        return None if _THEIRS <= status < _OURS else "unanswered"
    return "degraded" if chat.degraded_by is not None else None


def causes_of(chat: Evidence, past: Past) -> list[Cause]:
    """Why this chat went wrong, in the order of its attempts; at least one."""
    return list(dict.fromkeys(cause_of(step) for step in _steps(chat, past)))


def _steps(chat: Evidence, past: Past) -> Iterator[Step]:
    failed = [one for one in chat.made() if one.get("fault")]
    for attempt in failed:
        word, name = str(attempt["fault"]), attempt.get("upstream")
        yield Step(chat, None if name is None else str(name), word, past)
    if not failed or chat.code in ("audit_unavailable", "worker_died"):
        word = chat.code or chat.degraded_by or chat.outcome or ""
        yield Step(chat, None, word, past)


def cause_of(step: Step) -> Cause:
    """The cause of one attempt's failure, by the first rule that fits."""
    return next(filter(None, (rule(step) for rule in RULES)))


def _verdict(step: Step) -> Cause | None:
    chat, name = step.chat, step.upstream
    if step.word != "unhealthy" or name is None:
        return None
    held = step.past.verdict(name, chat.opened_at, chat.over_at)
    if held is None:
        return None
    words = f"{name} was known to be down: it {fault_words(held.word)}"
    return Cause("verdict", name, held.word, held.since, words)


def _circuit(step: Step) -> Cause | None:
    chat, name = step.chat, step.upstream
    if step.word != "circuit_open" or name is None:
        return None
    held = step.past.circuit(name, chat.caller, chat.opened_at, chat.over_at)
    if held is None:
        return None
    whose = "" if held.caller is None else f", for caller {held.caller} alone"
    words = f"the circuit of {name} was open{whose}: too many calls had failed"
    return Cause("circuit", name, step.word, held.since, words)


def _fault(step: Step) -> Cause | None:
    """What an attempt says by itself."""
    name, word = step.upstream, step.word
    if name is None or word not in KNOWN_FAULTS or word in _BY_EVENT:
        return None
    kind = _BY_WORD.get(word, "fault")
    return Cause(kind, name, word, step.chat.opened_at, f"{name} {fault_words(word)}")


def _deadline(step: Step) -> Cause | None:
    """An upstream that was given less time than it may take, by the caller's wish."""
    chat, name, allowed = step.chat, step.upstream, step.chat.decided().get("deadline")
    if name is None or step.word not in OUR_LIMITS or not allowed:
        return None
    limit = step.past.timeout(name, chat.opened_at)
    if limit is None or allowed >= limit:
        return None
    words = f"the caller allowed {allowed:g} s in all, and {name} may take {limit:g}"
    return Cause("deadline", name, step.word, chat.opened_at, words)


def _gap(step: Step) -> Cause | None:
    chat = step.chat
    if step.word != "audit_unavailable":
        return None
    held = step.past.gap(chat.opened_at, chat.over_at)
    if held is None:
        return None
    words = f"no record could be written ({held.word}), so nothing was answered"
    return Cause("audit", None, held.word, held.since, words)


def _gateway(step: Step) -> Cause | None:
    """What the gateway did, and says by its code."""
    if step.word not in CODES or step.word == "audit_unavailable":
        return None
    words = CODES[step.word]
    return Cause("gateway", step.upstream, step.word, step.chat.opened_at, words)


def _unexplained(step: Step) -> Cause | None:
    words = f"nothing on record explains it ({step.word or 'no code'})"
    return Cause(UNEXPLAINED, step.upstream, step.word, step.chat.opened_at, words)


# Faults of an upstream that was not asked; those that only an event explains.
NOT_ASKED = frozenset({"unhealthy", "circuit_open", "resting", "no_slot"})
_BY_EVENT = frozenset({"unhealthy", "circuit_open"})
_BY_WORD = {"resting": "rest", "no_slot": "places"}
# Faults of an upstream that met the limit of the whole chat.
OUR_LIMITS = frozenset({"deadline", "late_beginning", "read_timeout", "first_token"})
RULES: tuple[Rule, ...] = (
    _verdict,
    _circuit,
    _deadline,
    _fault,
    _gap,
    _gateway,
    _unexplained,
)
