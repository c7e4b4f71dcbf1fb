"""Measuring: what one process keeps an eye on, and how it is put together."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.gateway.chain.admission_queue import AdmissionQueue
from app.gateway.errors import AuditUnavailable
from app.gateway.gateway_status import State, StatusBoard
from app.gateway.guard.breaker import NAMES, CircuitBreaker, Transition
from app.gateway.guard.circuit import Phase
from app.gateway.guard.health import HealthBoard
from app.gateway.records.audit import Trail
from app.gateway.records.signs import AuditSpace
from app.gateway.shared import SharedState
from app.telemetry.logs import BackgroundHandler
from app.telemetry.metrics import instruments as its
from app.telemetry.metrics.chats import Metrics
from app.telemetry.metrics.directory import MetricDirectory, Slot
from app.telemetry.metrics.recorder import MetricRecorder
from app.telemetry.metrics.sampling import (
    GaugeReaders,
    GaugeValues,
    Sampler,
    Totals,
    alone,
)

log = logging.getLogger(__name__)

GAUGES = tuple(i for i in its.INSTRUMENTS if isinstance(i, its.Gauge))
CONDITIONS = {State.WELL: 0.0, State.DEGRADED: 1.0, State.REFUSING: 2.0}
# Reasons of the status that no gauge of their own tells.
TROUBLES = ("settings_stale", "workers_die", "clock_stepped", "audit_best_effort")
STATES = {Phase.CLOSED: 0.0, Phase.HALF_OPEN: 1.0, Phase.OPEN: 2.0}


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """What gauges tell of. `audit` says how much room the records have.

    `answers` is the size of the kept answers in bytes, None while that is not known.
    """

    gate: AdmissionQueue
    health: HealthBoard
    board: StatusBoard
    trail: Trail
    breakers: Mapping[str, CircuitBreaker]
    shared: SharedState
    audit: Callable[[], AuditSpace]
    answers: Callable[[], int | None]
    workers: int
    version: str


class Measuring:
    """The metrics of one process, and the thread that keeps the gauges.

    `folder` is that of the instance. Where it can't be used nothing is counted for
    anybody, `page` and what `load` returns are None, and chats go on
    (docs/faults.md, row 78). Threads may share it.
    """

    def __init__(self, folder: Path) -> None:
        used = _open(folder)
        self._folder = used[0] if used else None
        self._tally = MetricRecorder(used[1] if used else None)
        self._sampler: Sampler | None = None
        source = self._folder.read_slots if self._folder else list
        self.metrics = Metrics(self._tally, source)
        self.page = self.metrics.page if self._folder else None
        self.load = self.metrics.load

    def watch(self, watched: GaugeSources) -> None:
        """Keep the gauges from now on; call it after the fork."""
        self._tally.reset(GAUGES)
        self.metrics.begin(watched.breakers)
        totals: Totals = {
            its.SERIES_LOST: lambda: self._tally.lost,
            its.SHARED_ALONE: lambda: watched.shared.alone,
            its.LOG_LINES_LOST: _lines_lost,
        }
        self._sampler = Sampler(self._tally, looks_at(watched), totals)
        self._sampler.start()

    def breaker_moved(self, transition: Transition) -> None:
        """Count a transition of a circuit breaker."""
        self.metrics.breaker_moved(transition.upstream, NAMES[transition.after])

    def replayed(self, upstream: str, outcome: str) -> None:
        """Count a chat on record that was asked again."""
        self._tally.count(its.REPLAYS, upstream, outcome)

    def close(self) -> None:
        """Watch no more. What was counted stays, as long as the instance lives."""
        if self._sampler:
            self._sampler.stop()
        if self._folder:
            self._folder.leave()


def _open(path: Path) -> tuple[MetricDirectory, Slot] | None:
    try:
        folder = MetricDirectory(path)
    except OSError as error:
        log.error("Nothing is measured: VX11_METRICS_DIR: %s", error)
        return None
    try:
        return folder, folder.take_slot()
    except OSError as error:
        log.error("Nothing is measured: VX11_METRICS_DIR: %s", error)
        folder.leave()
        return None


def looks_at(watched: GaugeSources) -> GaugeReaders:
    """How to ask for each gauge."""
    gate = watched.gate
    return {
        its.BREAKER_STATE: lambda: {
            (name,): STATES[breaker.phase] for name, breaker in watched.breakers.items()
        },
        its.HEALTHY: lambda: _health(watched.health, watched.breakers),
        its.STATE: alone(lambda: CONDITIONS[watched.board.now().state]),
        its.TOKENS_STALE: alone(lambda: _is_stale(watched.board)),
        its.TROUBLE: lambda: _troubles(watched.board),
        its.SLOTS_IN_USE: alone(lambda: gate.load().busy),
        its.QUEUE_LENGTH: alone(lambda: gate.load().waiting),
        its.STREAMS_ACTIVE: alone(lambda: gate.load().streams),
        its.SLOTS: alone(lambda: gate.limits.slots),
        its.AUDIT_UNAVAILABLE: alone(lambda: _is_down(watched.trail)),
        its.AUDIT_UNSIGNED: alone(lambda: watched.trail.unsigned),
        its.AUDIT_WAL: alone(lambda: watched.audit().log),
        its.AUDIT_FREE: alone(lambda: watched.audit().free),
        its.ANSWERS_BYTES: alone(watched.answers),
        its.WORKERS: alone(lambda: 1),
        its.WORKERS_EXPECTED: alone(lambda: watched.workers),
        its.BUILD: lambda: {(watched.version,): 1},
    }


def _health(board: HealthBoard, upstreams: Iterable[str]) -> GaugeValues:
    verdicts = {name: board.verdict(name) for name in upstreams}
    return {(name,): v.is_healthy if v else None for name, v in verdicts.items()}


def _is_stale(board: StatusBoard) -> bool:
    return bool(board.keyring and board.keyring.problems)


def _troubles(board: StatusBoard) -> GaugeValues:
    now = {reason.code for reason in board.now().reasons}
    return {(code,): code in now for code in TROUBLES}


def _is_down(trail: Trail) -> bool:
    try:
        trail.check()
    except AuditUnavailable:
        return True
    return False


def _lines_lost() -> float:
    handlers = logging.getLogger().handlers
    return sum(h.dropped for h in handlers if isinstance(h, BackgroundHandler))
