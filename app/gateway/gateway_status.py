"""GatewayStatus: how the gateway is, in one word, why, and since when.

One function says it for `/readyz`, the status page, the commands, the console and the
metrics, so that no two of them contradict each other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from app.gateway.access.tokens import Keyring
from app.gateway.chain.drain import Drain
from app.gateway.errors import AuditUnavailable
from app.gateway.guard.call_history import CallHistory
from app.gateway.guard.guarded import Obstacle
from app.gateway.guard.health import HealthBoard
from app.gateway.guard.next_steps import AUDIT, next_step, told_fault
from app.gateway.records.audit import Trail
from app.gateway.shared import SharedState

# So many failures in a row, with no success, are no accident any more.
FAILING = 3
# What no try mends is told at the first failure.
AT_ONCE = frozenset({"upstream_auth", "quota"})

# Bytes of the audit: with less room, or a larger log, somebody must look before chats
# are refused. The alert of a low disk rings earlier.
LOW_DISK, LARGE_LOG = 100_000_000, 64 * 1024 * 1024
# Seconds for which a step of the clock is news.
CLOCK_NEWS = 900.0
SLOW_WRITE = 1.5  # seconds of a write that are told, before chats are refused for it
# So many workers that die within a few minutes die of one cause.
MANY_DEATHS = 3


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
    `cause` is the audit's reason, or the class of an upstream's fault, if there is one.
    """

    state: State
    code: str
    detail: str
    upstream: str = ""
    since: float | None = None
    cause: str = ""

    @property
    def next_step(self) -> str:
        """What to do about it, in one sentence or two."""
        return next_step(self.code, self.cause)


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


@dataclass(slots=True)
class ServerSigns:
    """What the server's master knows; the server tells how to find out.

    Whether the last reload was refused, and how many workers died within the last
    minutes.
    """

    is_reload_refused: Callable[[], bool] = lambda: False
    deaths: Callable[[], int] = lambda: 0


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
    server: ServerSigns = field(default_factory=ServerSigns)

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
            detail = f"no record can be written: {_words(trouble)}"
            yield Reason(State.REFUSING, "audit_unavailable", detail, cause=trouble)

    def _own_troubles(self) -> Iterator[Reason]:
        if not self.is_required:
            trouble = self._audit_trouble()
            detail = "answers do not wait for their record (best_effort)"
            if trouble:
                detail = f"{detail}, and none is written: {_words(trouble)}"
            yield _degraded("audit_best_effort", detail)
        if self.trail.unsigned:
            detail = "the audit has open records that are not signed"
            yield _degraded("audit_unsigned", detail)
        if self.keyring and self.keyring.problems:
            detail = "the file of tokens has mistakes, and the tokens of before hold"
            yield _degraded("tokens_stale", detail)
        if self.server.is_reload_refused():
            detail = "the last reload was refused, and the settings of before hold"
            yield _degraded("settings_stale", detail)
        if (deaths := self.server.deaths()) >= MANY_DEATHS:
            detail = f"{deaths} workers have died within five minutes"
            yield _degraded("workers_die", detail)
        yield from self._signs()

    def _signs(self) -> Iterator[Reason]:
        """What was seen of clock and disk, while all else goes on."""
        signs = self.trail.signs()
        log, free = signs.space
        if signs.clock_step and signs.stepped_for < CLOCK_NEWS:
            way = "ahead" if signs.clock_step > 0 else "back"
            detail = f"the clock was set {way} by {abs(signs.clock_step):.0f} s"
            since = self.shared.now() - signs.stepped_for
            yield _degraded("clock_stepped", detail, since=since)
        if signs.writing_for > SLOW_WRITE and not self._audit_trouble():
            detail = f"the audit's disk has not answered for {signs.writing_for:.0f} s"
            since = self.shared.now() - signs.writing_for
            yield _degraded("audit_slow", detail, since=since)
        if log is not None and log > LARGE_LOG:
            detail = f"the audit's log has {log / 1e6:.0f} MB: a reader holds it"
            yield _degraded("audit_log_large", detail)
        if free is not None and free < LOW_DISK and not self._audit_trouble():
            detail = f"the audit's disk has only {free / 1e6:.0f} MB left"
            yield _degraded("audit_disk_low", detail)

    def _of_upstreams(self) -> Iterator[Reason]:
        lost = self.history.unanswered()
        if lost.chats:
            detail = f"{lost.chats} chats got no answer lately"
            yield _degraded("unanswered", detail, since=lost.since)
        troubles = [self._trouble_of(name) for name in self.guards]
        known: Sequence[Reason] = [reason for reason in troubles if reason]
        if known and len(known) == len(self.guards):
            detail, causes = "no upstream answers", {reason.cause for reason in known}
            cause = causes.pop() if len(causes) == 1 else ""
            yield Reason(State.REFUSING, "no_upstream", detail, cause=cause)
        yield from known

    def _trouble_of(self, name: str) -> Reason | None:
        obstacle = self.guards[name].obstacle()
        recent = self.history.recent(name)
        verdict = self.health.verdict(name)
        if verdict and not verdict.is_healthy:
            detail = f"{name} is down: {told_fault(verdict.reason)}"
            return _degraded("down", detail, name, verdict.since, verdict.reason)
        is_ours = recent.fault in AT_ONCE and recent.failures > 0
        if is_ours or recent.failures >= FAILING:
            calls = _calls(recent.failures)
            detail = f"{calls} to {name} failed: {told_fault(recent.fault)}"
            return _degraded("failing", detail, name, recent.since, recent.fault)
        if obstacle and obstacle.reason == "resting":
            return _degraded("resting", f"{name} asked for a rest", name)
        if obstacle and obstacle.reason == "circuit_open" and not obstacle.is_for_one:
            detail = f"{name} is left alone for a while, as its calls failed"
            return _degraded("circuit_open", detail, name)
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


def _degraded(
    code: str,
    detail: str,
    upstream: str = "",
    since: float | None = None,
    cause: str = "",
) -> Reason:
    return Reason(State.DEGRADED, code, detail, upstream, since, cause)


def _words(trouble: str) -> str:
    return AUDIT[trouble][0] if trouble in AUDIT else trouble


def _calls(failures: int) -> str:
    return "the last call" if failures == 1 else f"the last {failures} calls"


_SEVERITY = {State.REFUSING: 0, State.DEGRADED: 1, State.WELL: 2}
