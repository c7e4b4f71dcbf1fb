"""Children: processes that `run` starts, and that do not outlive it."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

HOUSE = Path(__file__).parents[2]

_PR_SET_PDEATHSIG = 1  # prctl(2); only Linux has it

Child = subprocess.Popen[str]


def start(
    command: list[str], environment: Mapping[str, str], stdout: int | None = None
) -> Child:
    """Start one of our own modules with this Python, in its own process group.

    Linux sends it SIGTERM if we die without a word, killed or crashed.
    """
    return subprocess.Popen(  # noqa: S603  # the command is ours
        [sys.executable, "-m", *command],
        cwd=HOUSE,
        env=dict(environment),
        text=True,
        start_new_session=True,  # Ctrl-C reaches only us; we stop the rest in order
        stdout=stdout,
        preexec_fn=_dies_with(os.getpid()),  # noqa: PLW1509  # we have no threads
    )


def stop(child: Child, limit: float) -> None:
    """Ask it to end; kill its whole group after the limit, or at another Ctrl-C."""
    try:
        child.terminate()
        child.wait(limit)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _dies_with(parent: int) -> Callable[[], None] | None:
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return None

    def ask_for_it() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return ask_for_it
