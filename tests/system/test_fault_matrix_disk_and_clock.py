"""docs/faults.md, D: what the disk, the log and the clock do to callers.

Rows 72 to 77, 79 and 80, seen from outside; what the trail itself does is tested in
tests/storage/sqlite/test_faults.py, row 75 in test_run.py.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time

import pytest
import requests

from app import create_app
from app.gateway.access.tokens import Caller, Token
from app.gateway.chat import Priority
from app.settings import Settings
from app.storage.tokens.edit import TokenFile
from app.storage.trail import open_backend
from tests.support.stack import TOKEN, Gateway, sandbox, wait_until

DETECTED = BACK = 5.0  # seconds, as docs/faults.md says
NOISE = 1.0  # this box is shared
SPACE = 12 * 1024 * 1024


@pytest.fixture
def upstreams():
    with sandbox() as (switch, madre):
        yield switch, madre


@pytest.fixture
def switch(upstreams):
    return upstreams[0]


@contextlib.contextmanager
def mounted(where, size=SPACE):
    """A file system of its own; skipped where only root could mount it."""
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def fill(folder, leave=0):
    """Use up a file system but for so many bytes; return the file that does it."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        while (free := os.statvfs(folder).f_bavail * 4096 - leave) > 0:
            try:
                file.write(bytes(min(free, 65536)))
            except OSError:
                break
    return path


class GatewayUnderTest:
    """The whole app, with its real upstreams and database, in this process."""

    def __init__(self, folder, upstreams):
        switch, madre = upstreams
        self.audit = folder / "audit.db"
        app = create_app(
            Settings(
                token=TOKEN,
                switch_url=switch.url,
                madre_url=madre.url,
                audit_url=f"sqlite:///{self.audit}",
                chat_deadline=20,
            )
        )
        self.services = app.extensions["gateway"]()
        self.client = app.test_client()

    def ask(self, message="Hello"):
        """(answer, seconds)."""
        started = time.monotonic()
        answer = self.client.post(
            "/operator/api/chat",
            json={"message": message},
            headers={"X-VX11-Token": TOKEN},
        )
        return answer, time.monotonic() - started

    def reason(self):
        """Why it is not ready; None if it is."""
        answer = self.client.get("/readyz")
        if answer.status_code == 200:
            return None
        assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")
        token = {"X-VX11-Token": TOKEN}
        return self.client.get("/operator/api/status", headers=token).json["audit"]

    def is_ready(self):
        return self.reason() is None

    def status(self):
        return self.services.board.now()

    def record_of(self, answer):
        return self.services.records.get(answer.headers["X-Correlation-ID"])


@contextlib.contextmanager
def a_gateway(folder, upstreams):
    gateway = GatewayUnderTest(folder, upstreams)
    try:
        assert gateway.ask()[0].status_code == 200
        yield gateway
    finally:
        gateway.services.close()


@pytest.fixture
def gateway(tmp_path, upstreams):
    with a_gateway(tmp_path / "var", upstreams) as gateway:
        yield gateway


@pytest.fixture
def on_small_disk(tmp_path, upstreams):
    with mounted(tmp_path / "disk") as folder, a_gateway(folder, upstreams) as gateway:
        yield gateway


def assert_refuses_unasked(gateway, switch):
    """503, at once, for the audit's sake, and no upstream hears of it."""
    before = switch.chats

    answer, took = gateway.ask()

    assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    assert took < NOISE
    assert switch.chats == before


def assert_is_back(gateway):
    wait_until(gateway.is_ready, BACK)
    answer, _ = gateway.ask()
    assert answer.status_code == 200
    assert gateway.record_of(answer).outcome == "completed"


def test_row_72_a_full_disk_refuses_before_anything_is_asked(on_small_disk, switch):
    gateway = on_small_disk

    filler = fill(gateway.audit.parent)
    assert wait_until(gateway.reason, DETECTED) == "disk_full"
    assert_refuses_unasked(gateway, switch)

    filler.unlink()
    assert_is_back(gateway)
    assert open_backend(f"sqlite:///{gateway.audit}").verify().ok


@pytest.mark.parametrize(
    ("leave", "status", "outcome"),
    [(0, 503, "failed"), (2 * 1024 * 1024, 200, "completed")],
    ids=["not_delivered", "from_the_reserve"],
)
def test_row_73_a_disk_that_fills_between_call_and_answer(
    on_small_disk, switch, leave, status, outcome
):
    gateway, answers = on_small_disk, []
    switch.break_with("slow", seconds=2.5, times=1)
    caller = threading.Thread(target=lambda: answers.append(gateway.ask("x" * 60_000)))
    caller.start()
    assert switch.wait_for_chats(2, 20)

    filler = fill(gateway.audit.parent, leave)
    assert wait_until(gateway.reason, DETECTED) == "disk_full"
    caller.join(30)

    ((answer, _),) = answers
    assert answer.status_code == status
    filler.unlink()
    wait_until(gateway.is_ready, BACK)
    wait_until(lambda: gateway.record_of(answer).seq)
    record = gateway.record_of(answer)
    assert record.outcome == outcome
    if status == 503:
        assert answer.json["code"] == record.code == "audit_unavailable"


@contextlib.contextmanager
def locked_by_another_process(path):
    code = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline()
        yield
        other.communicate()


def test_row_74_a_database_locked_by_another_process(gateway, switch):
    with locked_by_another_process(gateway.audit):
        assert wait_until(gateway.reason, 2 + NOISE) == "locked"
        assert_refuses_unasked(gateway, switch)

    assert_is_back(gateway)


def test_row_74_a_chat_that_meets_the_lock_is_answered_within_2_s(gateway):
    with locked_by_another_process(gateway.audit):
        answer, took = gateway.ask()

        assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")
        assert took < 2 + NOISE

    wait_until(gateway.is_ready, BACK)
    if record := gateway.record_of(answer):  # else it was refused unasked
        wait_until(lambda: gateway.record_of(answer).seq)
        assert record.outcome != "completed"


def test_row_74a_a_disk_that_stalls_is_told_and_costs_nobody_an_answer(gateway):
    """As a disk does that flushes: whoever writes waits, and then goes on."""
    answers = []
    caller = threading.Thread(target=lambda: answers.append(gateway.ask()))
    lock = gateway.audit.with_name(f"{gateway.audit.name}.lock")
    with lock.open() as writers:
        fcntl.flock(writers, fcntl.LOCK_EX)
        caller.start()
        wait_until(lambda: "audit_slow" in {r.code for r in gateway.status().reasons})
        assert gateway.is_ready()
    caller.join(60)

    ((answer, took),) = answers
    assert (answer.status_code, took > 1) == (200, True)
    assert gateway.record_of(answer).outcome == "completed"
    assert gateway.status().reasons == ()


def test_row_74_a_database_that_was_made_read_only(gateway, switch):
    gateway.audit.chmod(0o400)
    assert wait_until(gateway.reason, 2 + NOISE) == "read_only"
    assert_refuses_unasked(gateway, switch)

    gateway.audit.chmod(0o600)
    assert_is_back(gateway)


@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_row_76_a_database_that_is_taken_away_under_us(gateway, switch, how):
    if how == "deleted":
        gateway.audit.unlink()
    else:
        other = gateway.audit.with_name("other.db")
        with contextlib.closing(sqlite3.connect(other)) as db:
            db.execute("CREATE TABLE holidays (day)")
        other.rename(gateway.audit)

    assert wait_until(gateway.reason, DETECTED)
    assert_refuses_unasked(gateway, switch)


def test_row_76_a_volume_that_goes_away_is_missed_and_taken_back(gateway, switch):
    away = gateway.audit.parent.with_name("away")
    gateway.audit.parent.rename(away)
    gateway.audit.parent.mkdir()

    assert wait_until(gateway.reason, DETECTED) == "deleted"
    for _ in range(5):
        assert_refuses_unasked(gateway, switch)
        assert gateway.reason() == "deleted"
    assert not gateway.audit.exists()

    shutil.rmtree(gateway.audit.parent)
    away.rename(gateway.audit.parent)
    assert_is_back(gateway)
    assert open_backend(f"sqlite:///{gateway.audit}").verify().ok


def test_row_76_no_worker_and_no_reload_begins_a_trail_anew(tmp_path, upstreams):
    switch, madre = upstreams
    volume, away = tmp_path / "var", tmp_path / "away"
    url = f"sqlite:///{volume}/audit.db"
    with Gateway(
        tmp_path, switch_url=switch.url, madre_url=madre.url, audit_url=url
    ) as gateway:
        assert gateway.chat().status_code == 200
        volume.rename(away)
        volume.mkdir()
        gateway.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Not reloaded: VX11_AUDIT_URL" in gateway.output())
        (first, *_) = old = gateway.workers()
        first.kill()
        wait_until(
            lambda: {one.pid for one in gateway.workers()} - {o.pid for o in old}
        )

        said = [gateway.chat().status_code for _ in range(20)]
        assert set(said) == {503}
        assert not (volume / "audit.db").exists()

        shutil.rmtree(volume)
        away.rename(volume)
        wait_until(lambda: {gateway.chat().status_code for _ in range(10)} == {200})
    assert open_backend(url).verify().ok


def test_row_76_an_older_copy_in_its_place_stops_chats(gateway, switch, tmp_path):
    with (
        contextlib.closing(sqlite3.connect(gateway.audit)) as database,
        contextlib.closing(sqlite3.connect(tmp_path / "older.db")) as older,
    ):
        database.backup(older)
        assert gateway.ask()[0].status_code == 200
        older.backup(database)

    assert wait_until(gateway.reason, DETECTED) == "replaced"
    assert_refuses_unasked(gateway, switch)


def test_row_76_a_taken_place_in_the_chain_stops_chats(gateway, switch):
    with contextlib.closing(sqlite3.connect(gateway.audit)) as database:
        database.execute(
            "INSERT INTO records (id, correlation_id, session_id, caller, route,"
            " opened_at, request, worker, seq) SELECT 'forged', '', '', '', '', 0.0,"
            " '{}', '', seq + 1 FROM chain"
        )
        database.commit()

    assert wait_until(gateway.reason, DETECTED) == "corrupt"
    assert_refuses_unasked(gateway, switch)
    assert gateway.reason() == "corrupt"


def test_row_77_a_reader_that_stays_cannot_hold_up_chats(gateway):
    database = f"file:{gateway.audit}?mode=ro"
    with contextlib.closing(sqlite3.connect(database, uri=True)) as export:
        export.execute("BEGIN")
        export.execute("SELECT count(*) FROM records").fetchone()

        answers = [gateway.ask("x" * 500_000) for _ in range(4)]

        assert {answer.status_code for answer, _ in answers} == {200}
        assert gateway.is_ready()
    assert gateway.ask()[0].status_code == 200


# ---- row 79: the log


class GatewayLoggingTo(Gateway):
    """A gateway whose standard error is a file descriptor of the test's."""

    def __init__(self, folder, stderr, **settings):
        super().__init__(folder, **settings)
        self._stderr = stderr

    def spawn(self, command, env):
        self.process = subprocess.Popen(command, env=env, stderr=self._stderr)


def chats_go_on(gateway, times):
    for _ in range(times):
        answer = gateway.chat(timeout=20)
        assert answer.ok
        assert answer.elapsed.total_seconds() < 5


@pytest.fixture
def logging_to(tmp_path, upstreams):
    def start(stderr, **settings):
        switch, madre = upstreams
        return GatewayLoggingTo(
            tmp_path,
            stderr,
            workers=1,
            switch_url=switch.url,
            madre_url=madre.url,
            **settings,
        )

    return start


def test_row_79_a_full_log_disk_stops_no_chat(tmp_path, logging_to):
    with (
        mounted(tmp_path / "logs", 256 * 1024) as folder,
        (folder / "log").open("wb") as log,
        logging_to(log) as gateway,
    ):
        filler = fill(folder)
        began = time.monotonic()
        while time.monotonic() < began + 1:  # ten times as long as lines are kept
            chats_go_on(gateway, 10)
        filler.unlink()

        def the_loss_is_told():
            chats_go_on(gateway, 1)
            return b"log lines lost" in (folder / "log").read_bytes()

        wait_until(the_loss_is_told, every=0.2)


def test_row_79_a_log_pipe_that_nobody_reads_or_that_is_closed(logging_to):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(writer, "wb") as log, logging_to(log) as gateway:
        chats_go_on(gateway, 30)  # more than the pipe holds

        os.close(reader)
        chats_go_on(gateway, 10)


# ---- row 80: the clock

HOUR = 3600.0


class Clock:
    """The wall clock of a gateway; see stepping_clock/sitecustomize.py."""

    def __init__(self, path):
        self.path = path
        self.set(0.0)

    def set(self, seconds):
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("d", seconds))


class GatewayWithClock(Gateway):
    def __init__(self, folder, **settings):
        super().__init__(folder, **settings)
        self.clock = Clock(self.folder / "clock")

    def environment(self):
        folder = os.path.join(os.path.dirname(__file__), "stepping_clock")
        return super().environment() | {
            "PYTHONPATH": folder,
            "CLOCK_STEP_FILE": str(self.clock.path),
        }


@pytest.fixture(scope="module")
def pair():
    with sandbox() as pair:
        yield pair


@pytest.fixture(scope="module")
def clocked(tmp_path_factory, pair):
    folder = tmp_path_factory.mktemp("clock")
    tokens = TokenFile(folder / "tokens.toml")
    for name, rate in (("three", 3), ("steady", None)):
        caller = Caller(name, frozenset({"chat"}), Priority.NORMAL, rate)
        tokens.add(Token.of(caller, f"token-of-{name}"), beside_others=False)
    switch, madre = pair
    with GatewayWithClock(
        folder,
        switch_url=switch.url,
        madre_url=madre.url,
        switch_timeout=1.5,
        madre_timeout=1.0,
        chat_deadline=3,
        tokens_file=tokens.path,
    ) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def whole_again(request):
    yield
    if "pair" in request.fixturenames:
        for upstream in request.getfixturevalue("pair"):
            upstream.heal()


STEPS = [HOUR, -HOUR, 0.0]  # from where it was: +1 h, -2 h, +1 h


def test_row_80_the_wall_clock_does_step(clocked):
    """Else the rest of them would show nothing."""
    clocked.clock.set(-HOUR)
    said = requests.get(f"{clocked.url}/health", timeout=10).headers["Date"]
    clocked.chat(headers={"X-Correlation-ID": "stepped"})

    (record,) = clocked.records("correlation_id = 'stepped'")
    assert record["opened_at"] == pytest.approx(time.time() - HOUR, abs=60)
    assert said
    clocked.clock.set(0.0)


def chat_during_step(clocked, step):
    """Ask, and set the clock a moment later."""
    timer = threading.Timer(0.3, lambda: clocked.clock.set(step))
    timer.start()
    answer = clocked.chat()
    timer.join()
    return answer


def test_row_80_deadlines_are_kept(clocked, pair):
    for upstream in pair:
        upstream.break_with("hang")
    for step in STEPS:
        began = time.monotonic()
        answer = chat_during_step(clocked, step)

        assert answer.status_code == 503
        assert time.monotonic() - began < 3 + 0.25 + 2 * NOISE


def test_row_80_an_answer_that_is_under_way_is_not_cut_off(clocked, pair):
    wait_until(lambda: clocked.chat().json().get("provider") == "switch")
    for step in STEPS:
        pair[0].break_with("slow", seconds=0.8, times=1)
        body = chat_during_step(clocked, step).json()

        assert (body["provider"], body["degraded"]) == ("switch", False)
        assert 700 < body["latency_ms"] < 3000
        (record,) = clocked.records("correlation_id = ?", body["correlation_id"])
        assert 0.7 < record["duration"] < 3


def test_row_80_verdicts_and_breakers_do_not_run_out_or_wedge(clocked, pair):
    for upstream in pair:
        upstream.break_with("refuse")
    assert clocked.chat().status_code == 503
    wait_until(lambda: clocked.upstreams_are(switch="down", madre="down"))
    for step in STEPS:
        clocked.clock.set(step)
        before = pair[0].chats
        answer = clocked.chat()

        assert answer.status_code == 503
        assert clocked.upstreams_are(switch="down", madre="down")
        assert pair[0].chats == before

    clocked.clock.set(-HOUR)
    for upstream in pair:
        upstream.heal()
    wait_until(lambda: clocked.upstreams_are(switch="up", madre="up"), BACK + NOISE)
    try:  # a worker learns of another's verdict a quarter of a second later
        wait_until(lambda: clocked.chat().json().get("provider") == "switch", NOISE)
    finally:
        clocked.clock.set(0.0)


def test_row_80_rates_are_neither_given_back_nor_frozen(clocked):
    shown = {"X-VX11-Token": "token-of-three"}
    assert [clocked.chat(headers=shown).status_code for _ in range(3)] == [200] * 3

    for step in STEPS:
        clocked.clock.set(step)
        answer = clocked.chat(headers=shown)

        assert answer.status_code == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_row_80_the_records_keep_their_order_and_the_step_is_marked(clocked):
    ids = []
    for step in STEPS:
        clocked.clock.set(step)
        ids += [clocked.chat().headers["X-Correlation-ID"] for _ in range(3)]

    rows = clocked.records("seq IS NOT NULL")
    order = [r["correlation_id"] for r in sorted(rows, key=lambda row: row["seq"])]
    assert [i for i in order if i in ids] == ids
    marks = [row["clock_step"] for row in rows if row["clock_step"] is not None]
    assert any(mark > HOUR - 60 for mark in marks)
    assert any(mark < -HOUR + 60 for mark in marks)
    assert open_backend(f"sqlite:///{clocked.audit}").verify().ok
