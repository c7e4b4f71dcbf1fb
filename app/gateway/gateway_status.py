"""GatewayStatus: how the gateway is, in one word, why, and since when.

One function says it for `/readyz`, the status page, the commands, the console and the
metrics, so that no two of them contradict each other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from app.gateway.access.tokens import Keyring
from app.gateway.chain.drain import Drain
from app.gateway.errors import AuditUnavailable
from app.gateway.guard.call_history import CallHistory
from app.gateway.guard.guarded import Obstacle
from app.gateway.guard.health import HealthBoard
from app.gateway.records.audit import Trail
from app.gateway.shared import SharedState

# So many failures in a row, with no success, are no accident any more.
FAILING = 3

# Of what went wrong with the audit, in words; other reasons speak for themselves.
AUDIT = {
    "disk_full": "its disk is full",
    "locked": "another process holds its database",
    "read_only": "its database cannot be written to",
    "deleted": "its database is gone",
    "replaced": "its database was replaced by an older one",
    "corrupt": "its database was tampered with, or is damaged",
    "stuck": "its disk does not answer",
    "io_error": "its disk reports errors",
    "no_key": "its key is missing",
    "open_key": "its key is open to others, or belongs to somebody else",
    "wrong_key": "its key is that of another database",
    "unreadable": "its database cannot be read",
    "unreachable": "its database server does not answer",
    "not_replicated": "its standby does not take what is committed",
    "unsuitable": "its database server may lose what it has committed, or is too old",
}


class State(Enum):
    """How the gateway is: from good to bad."""

    WELL = "well"
    DEGRADED = "degraded"
    REFUSING = "refusing"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is not as it should be.

    `code` is for machines, `detail` one clause for people. `upstream` names whom it is
    about, "" if nobody. `since` is a time of the shared clock, None if it is not known.
    """

    state: State
    code: str
    detail: str
    upstream: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """The state, with its reasons, the worst first, and since when it is so.

    `since` is in seconds before now.
    """

    state: State
    reasons: tuple[Reason, ...]
    since: float

    @property
    def sentence(self) -> str:
        """The state and its reasons in one line."""
        reasons = "; ".join(reason.detail for reason in self.reasons)
        return f"{self.state.value}: {reasons}" if reasons else self.state.value


class Guard(Protocol):
    """What is asked of the guard of an upstream."""

    def obstacle(self) -> Obstacle | None:
        """What keeps calls from being made."""
        ...


@dataclass(frozen=True, slots=True)
class StatusBoard:
    """What the status is made of. Threads may share it.

    `is_required` is False where answers do not wait for their record (best effort).
    """

    shared: SharedState
    drain: Drain
    trail: Trail
    is_required: bool
    keyring: Keyring | None
    guards: Mapping[str, Guard]
    health: HealthBoard
    history: CallHistory

    def now(self) -> GatewayStatus:
        """Say how the gateway is now; nobody is asked, nothing is waited for."""
        reasons = sorted(self._reasons(), key=lambda r: _SEVERITY[r.state])
        state = reasons[0].state if reasons else State.WELL
        return GatewayStatus(state, tuple(reasons), self._seconds_in(state))

    def refusal(self) -> Reason | None:
        """The reason why this gateway takes on no chat at all, whoever could answer."""
        return next(self._own_refusals(), None)

    def _reasons(self) -> Iterator[Reason]:
        yield from self._own_refusals()
        yield from self._own_troubles()
        yield from self._of_upstreams()

    def _own_refusals(self) -> Iterator[Reason]:
        if self.drain.is_final:
            yield Reason(
                State.REFUSING, "shutting_down", "the gateway is shutting down"
            )
        if self.is_required and (trouble := self._audit_trouble()):
            words = AUDIT.get(trouble, trouble)
            detail = f"no record can be written: {words}"
            yield Reason(State.REFUSING, "audit_unavailable", detail)

    def _own_troubles(self) -> Iterator[Reason]:
        if not self.is_required:
            trouble = self._audit_trouble()
            detail = "answers do not wait for their record (best_effort)"
            if trouble:
                detail = f"{detail}, and none is written: {AUDIT.get(trouble, trouble)}"
            yield Reason(State.DEGRADED, "audit_best_effort", detail)
        if self.trail.unsigned:
            detail = "the audit has open records that are not signed"
            yield Reason(State.DEGRADED, "audit_unsigned", detail)
        if self.keyring and self.keyring.problems:
            detail = "the file of tokens has mistakes, and the tokens of before hold"
            yield Reason(State.DEGRADED, "tokens_stale", detail)

    def _of_upstreams(self) -> Iterator[Reason]:
        lost = self.history.unanswered()
        if lost.chats:
            detail = f"{lost.chats} chats got no answer lately"
            yield Reason(State.DEGRADED, "unanswered", detail, since=lost.since)
        troubles = [self._trouble_of(name) for name in self.guards]
        known: Sequence[Reason] = [reason for reason in troubles if reason]
        if known and len(known) == len(self.guards):
            detail = "no upstream answers"
            yield Reason(State.REFUSING, "no_upstream", detail)
        yield from known

    def _trouble_of(self, name: str) -> Reason | None:
        obstacle = self.guards[name].obstacle()
        recent = self.history.recent(name)
        verdict = self.health.verdict(name)
        is_down = verdict is not None and not verdict.is_healthy
        if verdict and is_down:
            detail = f"{name} is down ({verdict.reason})"
            return Reason(State.DEGRADED, "down", detail, name, verdict.since)
        if recent.failures >= FAILING:
            detail = (
                f"the last {recent.failures} calls to {name} failed ({recent.fault})"
            )
            return Reason(State.DEGRADED, "failing", detail, name, recent.since)
        if obstacle and obstacle.reason == "resting":
            return Reason(State.DEGRADED, "resting", f"{name} asked for a rest", name)
        if obstacle and obstacle.reason == "circuit_open" and not obstacle.is_for_one:
            detail = f"{name} is left alone for a while, as its calls failed"
            return Reason(State.DEGRADED, "circuit_open", detail, name)
        return None

    def _audit_trouble(self) -> str:
        try:
            self.trail.check()
        except AuditUnavailable as error:
            return str(error)
        return ""

    def _seconds_in(self, state: State) -> float:
        """For how long all workers have seen this state."""
        now, letter = self.shared.now(), state.value[:1]

        def change(raw: bytes | None) -> tuple[bytes, float]:
            before, _, since = (raw or b"").decode().partition(" ")
            begun = float(since) if before == letter else now
            return f"{letter} {begun!r}".encode(), begun

        raw = self.shared.read("state")
        if raw and raw.decode().startswith(letter):
            return now - float(raw.decode().partition(" ")[2])
        return now - self.shared.update("state", change)


_SEVERITY = {State.REFUSING: 0, State.DEGRADED: 1, State.WELL: 2}
