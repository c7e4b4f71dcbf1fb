"""What gunicorn is told, and the hooks around the life of its processes."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from gunicorn.config import Config
from gunicorn.util import load_class

from app.web.worker import Worker

HOUSE = Path(__file__).parents[1]
CONFIG = HOUSE / "gunicorn.conf.py"
TOKEN = "a-token-for-tests"


@pytest.fixture
def env(monkeypatch):
    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(f"VX11_{name}", value)

    set_all(TENTACULO_LINK_TOKEN=TOKEN)
    return set_all


def load():
    """The file's names, as gunicorn sees them."""
    names = {"__file__": str(CONFIG)}
    exec(compile(CONFIG.read_text(), str(CONFIG), "exec"), names)
    return SimpleNamespace(**names)


def test_gunicorn_knows_all_of_its_settings(env):
    known, names = Config(), vars(load())

    for name, value in names.items():
        if name in known.settings:
            known.set(name, value)

    assert load_class(known.worker_class_str) is Worker
    assert known.preload_app is False
    assert known.reuse_port is False
    assert known.max_requests == 0
    assert known.http_parser == "python"
    assert known.limit_request_fields == 50
    assert known.limit_request_field_size == 8190
    assert known.control_socket_disable is True
    assert known.forwarded_allow_ips == ["127.0.0.1"]


def test_what_an_operator_chooses_comes_from_the_settings(env):
    env(BIND="127.0.0.1:1234", WORKERS="3", THREADS="20", GRACE="7.5")

    config = load()

    assert "127.0.0.1:1234" in config.bind
    assert (config.workers, config.threads) == (3, 20)
    assert config.graceful_timeout == 8


def test_the_grace_covers_a_chat_by_default(env):
    env(CHAT_DEADLINE="20")

    assert load().graceful_timeout == 22


def test_callers_without_a_thread_have_room_beside_the_others(env):
    env(THREADS="512")

    assert load().worker_connections - load().threads >= 1000


def test_the_heartbeat_waits_for_no_disk(env):
    assert load().worker_tmp_dir == ("/dev/shm" if Path("/dev/shm").is_dir() else None)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"TENTACULO_LINK_TOKEN": ""}, "VX11_TENTACULO_LINK_TOKEN"),
        ({"THREADS": "55", "SLOTS": "40", "QUEUE": "8"}, "VX11_QUEUE (8)"),
    ],
)
def test_a_bad_setting_is_named_and_nothing_starts(env, variables, problem):
    env(**variables)

    with pytest.raises(SystemExit) as refused:
        load()

    assert "does not start" in str(refused.value)
    assert problem in str(refused.value)


class Master:
    """As much of gunicorn's arbiter as the hooks touch."""

    log = logging.getLogger("master")

    def __init__(self):
        self.done = []

    def stop(self, graceful=True):
        self.done.append(("stop", graceful))

    def reload(self):
        self.done.append(("reload",))


@pytest.fixture
def master(env):
    master = Master()
    load().when_ready(master)
    return master


def test_workers_can_tell_a_stop_from_a_reload(env, master):
    worker = SimpleNamespace()
    load().pre_fork(master, worker)

    master.reload()
    assert not worker.board.is_stopping

    read, write = os.pipe()
    if os.fork() == 0:  # told across the fork, as a worker is
        os.read(read, 1)
        os._exit(7 if worker.board.is_stopping else 0)
    master.stop(graceful=False)
    os.write(write, b"x")

    assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
    assert master.done == [("reload",), ("stop", False)]
    os.close(read)
    os.close(write)


def test_each_worker_has_a_place_until_it_ends(env, master):
    config = load()
    first, second, third = (SimpleNamespace() for _ in range(3))
    for worker in (first, second):
        config.pre_fork(master, worker)

    config.child_exit(master, first)
    config.pre_fork(master, third)

    assert first.place == third.place != second.place


def test_a_reload_of_a_bad_file_leaves_all_as_it_is(env, master, caplog):
    env(THREADS="many")

    master.reload()

    assert master.done == []
    assert "VX11_THREADS" in caplog.text


def test_a_new_worker_takes_the_code_that_lies_there_now(env):
    """What the master has imported would be old code after SIGHUP."""
    script = f"""
import json, sys
sys.path.insert(0, {str(HOUSE)!r})
names = {{}}
exec(open({str(CONFIG)!r}).read(), names)
before = [n for n in sys.modules if n.partition(".")[0] == "app"]
names["post_fork"](None, None)
after = [n for n in sys.modules if n.partition(".")[0] == "app"]
print(json.dumps([before, after]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, timeout=60
    )

    before, after = json.loads(done.stdout)
    assert "app.settings" in before
    assert after == []
