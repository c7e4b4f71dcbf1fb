"""Forks: the one place that hears of them, and tells those who live through one."""

import os
import weakref
from collections.abc import Callable


def at_fork(
    *,
    before: Callable[[], None] | None = None,
    in_parent: Callable[[], None] | None = None,
    in_child: Callable[[], None] | None = None,
) -> None:
    """Call these methods around each fork, for as long as their objects live.

    `before` and `in_parent` run in the process that forks, `in_child` in the new one,
    where no other thread exists and whoever held a lock is gone.
    """
    hooks = {
        "before": before,
        "after_in_parent": in_parent,
        "after_in_child": in_child,
    }
    os.register_at_fork(
        **{name: _weakly(method) for name, method in hooks.items() if method}
    )


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    alive = weakref.WeakMethod(method)

    def call() -> None:
        if (living := alive()) is not None:
            living()

    return call
