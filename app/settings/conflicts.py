"""Conflicts: what does not hold between settings that are each right by themselves."""

from collections.abc import Callable, Iterator
from typing import Any

from app.settings.problems import Problem

SPARE_THREADS = 8  # what says "no" and answers health while all places are taken


def conflicts(values: dict[str, Any]) -> list[Problem]:
    """What does not fit among valid settings; what is missing is not looked at."""
    return [
        Problem((names[0],), words)
        for names, check in CHECKS.items()
        if values.keys() >= set(names)
        for words in check(*(values[name] for name in names))
    ]


def _access(token: object, mode: str) -> Iterator[str]:
    if mode == "token" and token is None:
        yield "no token is set; set it, or VX11_OPERATOR_TOKEN, or VX11_AUTH_MODE=off"


def _open(longest: float, first: float) -> Iterator[str]:
    if longest < first:
        yield f"{longest:g} must be at least VX11_BREAKER_OPEN ({first:g})"


def _deadlines(stream: float, chat: float) -> Iterator[str]:
    if stream < chat:
        yield f"{stream:g} must be at least VX11_CHAT_DEADLINE ({chat:g})"


def _places(threads: int, queue: int, slots: int) -> Iterator[str]:
    if threads < slots + queue + SPARE_THREADS:
        yield (
            f"{threads} are too few; they must be at least "
            f"VX11_SLOTS ({slots}) + VX11_QUEUE ({queue}) + "
            f"{SPARE_THREADS}, or nobody is left to refuse what is too much"
        )


def _streams(streams: int, slots: int, *_: int) -> Iterator[str]:
    if streams >= max(2, slots):
        yield f"{streams} must be less than VX11_SLOTS ({slots})"


def _addresses(metrics: str | None, bind: str) -> Iterator[str]:
    if metrics and metrics.rpartition(":")[2] == bind.rpartition(":")[2]:
        yield "must have another port than VX11_BIND"


CHECKS: dict[tuple[str, ...], Callable[..., Iterator[str]]] = {
    ("token", "auth_mode"): _access,
    ("breaker_open_max", "breaker_open"): _open,
    ("stream_deadline", "chat_deadline"): _deadlines,
    ("threads", "queue", "slots"): _places,
    # What slots are by default follows from threads and queue.
    ("stream_slots", "slots", "threads", "queue"): _streams,
    ("metrics_bind", "bind"): _addresses,
}
