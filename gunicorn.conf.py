"""How gunicorn runs the gateway. Everything an operator chooses is in Settings."""

import math
import resource
from pathlib import Path

from app.server.hooks import Hooks
from app.wiring import server_logging

_hooks = Hooks()
_settings = _hooks.settings

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

# gunicorn sets a umask of its own, whatever the unit says; at 0 a Unix socket would be
# open to every local user. The group is for the front door.
umask = 0o007

accesslog = None  # the gateway writes its own line per chat
errorlog = "-"
loglevel = _settings.log_level.lower()
logconfig_dict = server_logging(_settings)

on_starting = _hooks.on_starting
on_exit = _hooks.on_exit
when_ready = _hooks.when_ready
pre_fork = _hooks.pre_fork
post_fork = _hooks.post_fork
post_worker_init = _hooks.post_worker_init
worker_exit = _hooks.worker_exit
child_exit = _hooks.child_exit
