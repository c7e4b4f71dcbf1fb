"""Conflicts: what does not hold between settings that are each right by themselves."""

from collections.abc import Callable, Iterator
from typing import Any

SPARE_THREADS = 8  # what says "no" and answers health while all places are taken


def conflicts(values: dict[str, Any]) -> list[str]:
    """One line per conflict among valid settings; what is missing is not looked at."""
    return [
        line
        for names, check in CHECKS.items()
        if values.keys() >= set(names)
        for line in check(*(values[name] for name in names))
    ]


def _access(mode: str, token: object) -> Iterator[str]:
    if mode == "token" and token is None:
        yield (
            "VX11_TENTACULO_LINK_TOKEN: no token is set; set it, or "
            "VX11_OPERATOR_TOKEN, or VX11_AUTH_MODE=off"
        )


def _open(longest: float, first: float) -> Iterator[str]:
    if longest < first:
        yield (
            f"VX11_BREAKER_OPEN_MAX: {longest:g} must be at least "
            f"VX11_BREAKER_OPEN ({first:g})"
        )


def _deadlines(stream: float, chat: float) -> Iterator[str]:
    if stream < chat:
        yield (
            f"VX11_STREAM_DEADLINE: {stream:g} must be at least "
            f"VX11_CHAT_DEADLINE ({chat:g})"
        )


def _places(threads: int, queue: int, slots: int) -> Iterator[str]:
    if threads < slots + queue + SPARE_THREADS:
        yield (
            f"VX11_THREADS: {threads} are too few; they must be at least "
            f"VX11_SLOTS ({slots}) + VX11_QUEUE ({queue}) + "
            f"{SPARE_THREADS}, or nobody is left to refuse what is too much"
        )


def _streams(streams: int, slots: int, *_: int) -> Iterator[str]:
    if streams >= max(2, slots):
        yield f"VX11_STREAM_SLOTS: {streams} must be less than VX11_SLOTS ({slots})"


def _addresses(metrics: str | None, bind: str) -> Iterator[str]:
    if metrics and metrics.rpartition(":")[2] == bind.rpartition(":")[2]:
        yield "VX11_METRICS_BIND: must have another port than VX11_BIND"


def _routes(routes: Any, upstreams: Any) -> Iterator[str]:
    names = {u.name for u in upstreams} or {"switch", "madre"}
    for number, route in enumerate(routes):
        for place, name in enumerate(route.upstreams):
            if name not in names:
                where = f"VX11_ROUTES[{number}].upstreams[{place}]"
                yield f"{where}: there is no such upstream"


CHECKS: dict[tuple[str, ...], Callable[..., Iterator[str]]] = {
    ("auth_mode", "token"): _access,
    ("breaker_open_max", "breaker_open"): _open,
    ("stream_deadline", "chat_deadline"): _deadlines,
    ("threads", "queue", "slots"): _places,
    # What slots are by default follows from threads and queue.
    ("stream_slots", "slots", "threads", "queue"): _streams,
    ("metrics_bind", "bind"): _addresses,
    ("routes", "upstreams"): _routes,
}
