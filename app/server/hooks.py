"""Hooks: what gunicorn calls around the life of its master and its workers."""

import faulthandler
import gc
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from app.server.scoreboard import Scoreboard
from app.server.sources import Sources
from app.settings import SettingsError, changed, warnings_about
from app.settings.file import config_text
from app.settings.handed import RELOAD, START, Handover
from app.wiring import (
    begin_counts,
    check_all,
    check_reload,
    last_good_tokens,
    load_checked,
    newest_head,
    require_free,
    shared,
)

DEATHS_WITHIN = 300.0  # seconds
SOURCES = Sources("app")


class Hooks:
    """The hooks of one reading of gunicorn.conf.py, with the settings of that moment.

    The master reads that file again at SIGHUP, while this module stays what it was
    when the master started. Raises SystemExit for settings that are bad.
    """

    def __init__(self) -> None:
        with _exit_if_bad():
            self.config, self.settings = config_text(), load_checked()
        SOURCES.note()

    def on_starting(self, server: Any) -> None:
        """Look at all that workers need before any is made."""
        with _exit_if_bad():
            require_free(self.settings)
            check_all(self.settings)
            server.tokens = last_good_tokens(self.settings)
            # What workers share goes with its last user, and in a reload the last old
            # worker may go before the first new one has come.
            server.shared = shared(self.settings)
        for warning in warnings_about(self.settings):
            server.log.warning("%s", warning)
        try:
            server.counts = begin_counts(self.settings)
        except OSError as error:
            server.log.error("VX11_METRICS_DIR: %s", error)

    def on_exit(self, server: Any) -> None:
        """Remove what only this run needed."""
        server.shared.close()
        if counts := getattr(server, "counts", None):
            counts.leave()

    def when_ready(self, server: Any) -> None:
        """Let workers know when all of us stops, and survive files that go bad."""
        # A reload doubles the workers for a moment.
        server.board = Scoreboard(places=3 * self.settings.workers)
        server.settings, server.head, server.deaths = self.settings, None, deque()
        server.news = START
        # A worker that does not look through what it shares with us copies little.
        gc.collect()
        gc.freeze()
        stop, reload, manage_workers = server.stop, server.reload, server.manage_workers

        def stop_all(graceful: bool = True) -> None:
            server.board.stop()
            stop(graceful)

        def look_and_manage_workers() -> None:
            if server.tokens:
                server.tokens.look()
            _look_at_heads(server)
            _count_deaths(server)
            manage_workers()

        server.stop, server.manage_workers = stop_all, look_and_manage_workers
        server.reload = lambda: _reload_if_sound(server, reload)

    def pre_fork(self, server: Any, worker: Any) -> None:
        """Give the worker its place among the others, and what they have seen."""
        _look_at_heads(server)
        worker.board = server.board
        worker.place = server.board.take_place()
        server.told, server.news = server.news, ""  # one worker is told of it

    def child_exit(self, server: Any, worker: Any) -> None:
        """Free the place of a worker that ended, however it did."""
        if server.board.has_died(worker.place):
            server.deaths.append(monotonic())
        server.board.leave_place(worker.place)

    def post_fork(self, server: Any, worker: Any) -> None:
        """Hand on what the files say, and forget our modules if their files changed.

        So SIGHUP brings new code as well as new settings. Only these hooks, the worker
        class and the libraries stay those of the master until it is started anew. A
        file that is bad at this moment is no reason not to start.
        """
        SOURCES.forget_if_changed()
        tokens = server.tokens.text if server.tokens else None
        news = getattr(server, "told", "")
        Handover(self.config, tokens, server.head, news).hand_over()

    def post_worker_init(self, worker: Any) -> None:
        """Connect this worker before it takes requests; a bad start shows at once."""
        from app.settings import load  # the code of now, not the master's
        from app.wiring import set_up_logging

        faulthandler.enable()  # the master aborts a worker whose main loop is stuck
        # A thread that wakes up waits for the one that runs. Else it stops it only to
        # find the interpreter's lock taken, 3,000 times a second with 300 streams.
        with suppress(AttributeError, OSError):  # only Linux has it, and may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        settings = load()
        set_up_logging(settings)
        worker.slots = settings.slots
        services = worker.app.callable.extensions["gateway"]()
        services.board.server.is_reload_refused = lambda: worker.board.is_reload_refused
        services.board.server.deaths = lambda: worker.board.deaths
        worker.drain = services.drain
        # What is there now stays, and looking through it again held up chats for 30 ms.
        gc.collect()
        gc.freeze()

    def worker_exit(self, server: Any, worker: Any) -> None:
        """Flush records, stop background threads, and be gone.

        The interpreter would wait for threads that are stuck, and take a second more
        to clear up what the kernel clears up at once.
        """
        if worker.booted:
            if worker.is_cut_short:
                server.log.error("Requests were cut off by the end of the grace")
            worker.app.callable.extensions["gateway"]().close()
            logging.shutdown()
            os._exit(int(worker.is_cut_short))


@contextmanager
def _exit_if_bad() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        raise SystemExit(
            "The gateway does not start:\n  " + "\n  ".join(error.problems)
        ) from None


def _look_at_heads(server: Any) -> None:
    """Keep the newest head of the audit; its workers may end with what they know."""
    server.head = newest_head(server.settings, tuple(server.WORKERS), server.head)


def _count_deaths(server: Any) -> None:
    while server.deaths and monotonic() - server.deaths[0] > DEATHS_WITHIN:
        server.deaths.popleft()
    server.board.tell_deaths(len(server.deaths))


def _reload_if_sound(server: Any, reload: Callable[[], None]) -> None:
    _look_at_heads(server)
    before = server.settings, server.tokens, server.head, server.shared
    try:
        server.settings = check_reload(server.settings)
        server.tokens = last_good_tokens(server.settings)
        # Opened anew: the settings may name another one, or somebody removed the file.
        server.shared = shared(server.settings)
        if server.settings.audit_url != before[0].audit_url:
            server.head = None  # that of other records
        server.news = RELOAD
        reload()
    except SettingsError as error:
        for problem in error.problems:
            server.log.error("Not reloaded: %s", problem)
    except (Exception, SystemExit):  # a file may have changed again meanwhile
        if os.getpid() != server.pid:
            raise  # it is a worker that ends, which was made by this reload
        server.log.exception("Not reloaded")
    else:
        names = ", ".join(changed(server.settings, before[0])) or "no setting"
        server.log.info("Reloaded: %s changed", names)
        server.board.reloaded(is_refused=False)
        before[-1].close()
        return
    server.board.reloaded(is_refused=True)
    if server.shared is not before[-1]:
        server.shared.close()
    server.settings, server.tokens, server.head, server.shared = before
    server.news = ""
    server.app.cfg = server.cfg  # gunicorn has emptied it before it read anything
