"""How gunicorn runs the gateway. Everything an operator chooses is in Settings."""

import logging
import math
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from app.settings import SettingsError, load, warnings_about
from app.settings.file import config_text
from app.settings.handed import Handover
from app.telemetry.logs import server_logging
from app.wiring import (
    check_addresses,
    check_all,
    last_good_tokens,
    log_redactor,
)

try:
    _config, _settings = config_text(), load()
except SettingsError as error:
    raise SystemExit(
        "The gateway does not start:\n  " + "\n  ".join(error.problems)
    ) from None

bind = [one for one in (_settings.bind, _settings.metrics_bind) if one]
workers = _settings.workers
threads = _settings.threads
worker_class = "app.server.worker.Worker"

# No preload: sessions, threads and locks must not cross the fork (0 of 120 wrong
# answers instead of 41).
preload_app = False

# The heartbeat of the main loop, not a limit on requests: those have a deadline.
timeout = 30
# A request that is under way may finish, fallback and record included.
graceful_timeout = math.ceil(_settings.grace)
keepalive = 75  # longer than nginx keeps its side, so that nginx closes first

# Explicit, because "auto" changes the parser when a package happens to appear.
http_parser = "python"
limit_request_line = 8190  # the gateway itself answers 414 above 4096, in JSON
limit_request_fields = 50
limit_request_field_size = 8190
forwarded_allow_ips = "127.0.0.1"
forwarder_headers = ""  # no header says where we are mounted, not even a proxy's
control_socket_disable = True
_memory = Path("/dev/shm")  # noqa: S108  # only the heartbeat's unnamed file
worker_tmp_dir = str(_memory) if _memory.is_dir() else None  # must not wait for a disk

# Callers without a thread cost a file each: idle ones, and those who linger.
worker_connections = 1000 + threads
_files = worker_connections + 2 * threads + 100  # one more for each upstream call
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if _soft < _files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_files, _hard), _hard))

accesslog = None  # the gateway writes its own line per chat
errorlog = "-"
loglevel = _settings.log_level.lower()
logconfig_dict = server_logging(_settings.log_level, log_redactor(_settings))


def on_starting(server: Any) -> None:
    """Look at all that workers need before any is made."""
    try:
        check_all(_settings)
        server.tokens = last_good_tokens(_settings)
    except SettingsError as error:
        raise SystemExit(
            "The gateway does not start:\n  " + "\n  ".join(error.problems)
        ) from None
    for warning in warnings_about(_settings):
        server.log.warning("%s", warning)
    server.counts = _open_counts(server)


def _open_counts(server: Any) -> Any:
    """Begin all counts anew, and keep them while there is no worker for a moment."""
    from app.telemetry.metrics.directory import MetricDirectory, remove_left_behind
    from app.wiring import metrics_folder

    path = metrics_folder(_settings)
    try:
        remove_left_behind(path.parent)
        return MetricDirectory(path)
    except OSError as error:
        server.log.error("VX11_METRICS_DIR: %s", error)
        return None


def on_exit(server: Any) -> None:
    """Remove what only this run needed."""
    if counts := getattr(server, "counts", None):
        counts.leave()


def when_ready(server: Any) -> None:
    """Let workers know when all of us stops, and survive files that go bad."""
    from app.server.scoreboard import Scoreboard

    server.board = Scoreboard(places=3 * workers)  # a reload doubles them for a moment
    server.settings = _settings
    stop, reload, manage_workers = server.stop, server.reload, server.manage_workers

    def stop_all(graceful: bool = True) -> None:
        server.board.stop()
        stop(graceful)

    def look_and_manage_workers() -> None:
        if server.tokens:
            server.tokens.look()
        manage_workers()

    server.stop, server.manage_workers = stop_all, look_and_manage_workers
    server.reload = lambda: _reload_if_sound(server, reload)


def _reload_if_sound(server: Any, reload: Callable[[], None]) -> None:
    before = server.settings, server.tokens
    try:
        server.settings, server.tokens = _checked(server.settings)
        reload()
    except SettingsError as error:
        for problem in error.problems:
            server.log.error("Not reloaded: %s", problem)
    except (Exception, SystemExit):  # a file may have changed again meanwhile
        if os.getpid() != server.pid:
            raise  # it is a worker that ends, which was made by this reload
        server.log.exception("Not reloaded")
    else:
        return
    server.settings, server.tokens = before
    server.app.cfg = server.cfg  # gunicorn has emptied it before it read anything


def _checked(before: Any) -> tuple[Any, Any]:
    """The settings of now and their tokens. Raises SettingsError if they are bad."""
    settings = load()
    check_all(settings, before)
    check_addresses(settings, before)
    return settings, last_good_tokens(settings)


def pre_fork(server: Any, worker: Any) -> None:
    """Give the worker its place among the others."""
    worker.board = server.board
    worker.place = server.board.take_place()


def child_exit(server: Any, worker: Any) -> None:
    """Free the place of a worker that ended, however it did."""
    server.board.leave_place(worker.place)


def post_fork(server: Any, worker: Any) -> None:
    """Forget our modules, so that SIGHUP brings new code as well as new settings.

    Only gunicorn.conf.py's own imports, the worker class and the libraries stay
    those of the master until it is started anew. What the files say is handed on:
    one that is bad at this moment is no reason not to start.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "app"]:
        del sys.modules[name]
    Handover(_config, server.tokens.text if server.tokens else None).hand_over()


def post_worker_init(worker: Any) -> None:
    """Connect this worker before it takes requests; a bad start shows at once."""
    import faulthandler
    import gc

    from app.settings import load
    from app.telemetry.logs import set_up_logging
    from app.wiring import log_redactor

    faulthandler.enable()  # the master aborts a worker whose main loop is stuck
    # A thread that wakes up waits for the one that runs. Else it stops it only to find
    # the interpreter's lock taken, 3,000 times a second with 300 streams.
    with suppress(AttributeError, OSError):  # only Linux has it, and may forbid it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    settings = load()
    set_up_logging(settings.log_level, log_redactor(settings))
    worker.slots = settings.slots
    worker.drain = worker.app.callable.extensions["gateway"]().drain
    # What is there now stays, and looking through it again held up chats for 30 ms.
    gc.collect()
    gc.freeze()


def worker_exit(server: Any, worker: Any) -> None:
    """Flush records, stop background threads, and be gone.

    The interpreter would wait for threads that are stuck, and take a second more to
    clear up what the kernel clears up at once.
    """
    if worker.booted:
        if worker.is_cut_short:
            server.log.error("Requests were cut off by the end of the grace")
        worker.app.callable.extensions["gateway"]().close()
        logging.shutdown()
        os._exit(int(worker.is_cut_short))
