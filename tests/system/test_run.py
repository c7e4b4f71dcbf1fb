"""`python -m app run`, as `make run` starts it."""

import contextlib
import os
import pty
import re
import shlex
import signal
import socket
import subprocess
import sys

import psutil
import pytest
import requests

from tests.support.stack import HOUSE, TOKEN, Process, free_port, sandbox, wait_until


class Run(Process):
    OPTIONS = ()

    def __init__(self, folder, **settings):
        super().__init__(folder / "run.log")
        self.port = free_port()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("VX11_")}
        self.env = clean | {
            "VX11_BIND": f"127.0.0.1:{self.port}",
            "VX11_AUDIT_URL": f"sqlite:///{folder}/audit.db",
        }
        self.env |= {f"VX11_{k.upper()}": str(v) for k, v in settings.items()}

    def __enter__(self):
        self.spawn([sys.executable, "-m", "app", "run", *self.OPTIONS], self.env)
        return self

    def __exit__(self, *exc):
        self.stop()

    def is_ready(self):
        assert self.process.poll() is None, self.output()
        return "Ctrl-C stops" in self.output() and self.answers()

    def answers(self):
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).ok
        return False

    def curl(self):
        """The line to try it with."""
        line = re.search(r"curl (?:.*\\\n)*.*", self.output())[0]
        return line.replace("\\\n", " ")

    def family(self):
        """gunicorn, its workers and the sandbox."""
        return psutil.Process(self.process.pid).children(recursive=True)


def living(processes):
    return [p for p in processes if p.is_running() and p.status() != "zombie"]


def test_the_curl_line_that_it_prints_works_on_the_sandbox(tmp_path):
    with Run(tmp_path) as run:
        wait_until(run.is_ready, 60)

        answer = subprocess.run(
            shlex.split(run.curl()),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    assert '"provider":"switch"' in answer.stdout
    assert "andbox" in answer.stdout


def test_the_console_is_one_click_away_and_can_break_the_sandbox(tmp_path):
    with Run(tmp_path, workers=1) as run:
        wait_until(run.is_ready, 60)
        (console,) = re.findall(r"(http\S+/operator/)#token=", run.output())

        page = requests.get(console, timeout=10)
        (link,) = re.findall(r'href="(\S+)" id="to-break"', page.text)
        panel = requests.get(link, timeout=10)

    assert page.ok
    assert panel.ok
    assert "Break it" in panel.text


def test_the_words_of_the_sandbox_are_seen_to_flow(tmp_path):
    with Run(tmp_path, workers=1) as run:
        wait_until(run.is_ready, 60)
        console, token = re.search(
            r"(http\S+/operator/)#token=(\S+)", run.output()
        ).groups()

        answer = requests.post(
            f"{console}api/chat",
            json={"message": "Hello", "stream": True},
            headers={"X-VX11-Token": token},
            timeout=30,
        )

    assert answer.text.count("event: delta") > 3


def test_a_token_that_is_kept_is_in_no_address(tmp_path):
    """A browser remembers addresses; one for this run alone may be remembered."""
    with Run(tmp_path, workers=1, tentaculo_link_token=TOKEN) as run:
        wait_until(run.is_ready, 60)

    assert "/operator/\n" in run.output()
    assert f"#token={TOKEN}" not in run.output()


def test_ctrl_c_stops_all_of_it(tmp_path):
    with Run(tmp_path) as run:
        wait_until(run.is_ready, 60)
        family = run.family()
        assert len(family) >= 3

        run.stop(signal.SIGINT)

    assert living(family) == []
    assert run.process.returncode == 0


def test_closing_the_terminal_stops_all_of_it(tmp_path):
    """A gateway that lived on would keep the port, with nobody to stop it."""
    ours, theirs = pty.openpty()
    run = Run(tmp_path, workers=1)
    run.process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "app", "run"],
        cwd=HOUSE,
        env=run.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    printed = b""
    while b"Ctrl-C stops" not in printed:
        printed += os.read(ours, 4096)
    family = run.family()
    assert len(family) >= 3

    os.close(ours)
    run.process.wait(30)

    assert living(family) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the children")
def test_nobody_outlives_a_launcher_that_is_killed(tmp_path):
    with Run(tmp_path, workers=1) as run:
        wait_until(run.is_ready, 60)
        family = run.family()

        run.process.kill()
        run.process.wait(30)

        wait_until(lambda: not living(family), 30)


def test_who_is_in_a_hurry_leaves_no_worker_behind(tmp_path):
    """A chat would hold up the end for as long as it may take."""
    with Run(tmp_path, workers=1) as run:
        wait_until(run.is_ready, 60)
        family = run.family()
        for process in family:
            process.suspend()

        def has_ended():
            run.process.send_signal(signal.SIGINT)
            return run.process.poll() is not None

        wait_until(has_ended, 30, every=0.5)

    assert living(family) == []


def test_a_port_that_is_taken_is_told_in_one_line_and_nothing_starts(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = "{}:{}".format(*other.getsockname())
        with Run(tmp_path, bind=address) as run:
            assert run.process.wait(60) == 69

    assert run.output() == (
        f"{address} is taken: stop what listens there, or set VX11_BIND\n"
    )


def test_nothing_is_announced_that_does_not_answer(tmp_path):
    """A banner with a token above ten lines of errors helps nobody."""
    (tmp_path / "audit.db").write_bytes(b"no database" * 99)

    with Run(tmp_path, workers=1) as run:
        assert run.process.wait(60) != 0

    assert "curl" not in run.output()


def test_at_a_unix_socket_the_curl_line_works_too(tmp_path):
    with Run(tmp_path, workers=1, bind=f"unix:{tmp_path}/gw.sock") as run:
        wait_until(lambda: "Ctrl-C stops" in run.output(), 60)
        answer = subprocess.run(
            shlex.split(run.curl()), capture_output=True, text=True, check=True
        )

    assert '"provider":"switch"' in answer.stdout
    assert "http://unix" not in run.output()


def test_words_for_the_sandbox_are_not_among_the_records_of_real_chats(tmp_path):
    with Run(tmp_path, workers=1) as run:
        run.stop()
        del run.env["VX11_AUDIT_URL"]
        run.__enter__()
        wait_until(run.is_ready, 60)
        shown = dict(re.findall(r"export (\w+)=(\S+)", run.output()))
        searched = subprocess.run(
            [sys.executable, "-m", "app", "records", "verify"],
            cwd=HOUSE,
            env=run.env | shown,
            check=True,
            capture_output=True,
        )

    assert shown["VX11_AUDIT_URL"] == f"sqlite:///{HOUSE}/var/sandbox.db"
    assert b"the chain is whole" in searched.stdout


def test_commands_in_another_terminal_work_with_what_it_prints(tmp_path):
    with Run(tmp_path, workers=1) as run:
        wait_until(run.is_ready, 60)
        lines = re.findall(r"export \w+=\S+", run.output())
        script = "\n".join([*lines, f"{sys.executable} -m app chat Hello"])
        clean = {k: v for k, v in os.environ.items() if not k.startswith("VX11_")}

        said = subprocess.run(
            ["sh", "-c", script], cwd=HOUSE, env=clean, check=True, capture_output=True
        )

    assert said.stdout.strip()


def test_configured_upstreams_are_used_instead(tmp_path):
    with (
        sandbox() as (switch, madre),
        Run(
            tmp_path,
            switch_url=switch.url,
            madre_url=madre.url,
            tentaculo_link_token=TOKEN,
        ) as run,
    ):
        wait_until(run.is_ready, 60)
        requests.post(
            f"http://127.0.0.1:{run.port}/operator/api/chat",
            json={"message": "Hello"},
            headers={"X-VX11-Token": TOKEN},
            timeout=60,
        ).raise_for_status()

        assert switch.chats == 1
        assert "sandbox" not in run.output()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"threads": "many", "workers": "0"}, ["VX11_THREADS", "VX11_WORKERS"]),
        ({"switch_url": "not a url"}, ["VX11_SWITCH_URL"]),
        ({"config": "/no/such/file"}, ["VX11_CONFIG"]),
    ],
)
def test_a_bad_setting_is_named_and_nothing_starts(tmp_path, settings, named):
    with Run(tmp_path, **settings) as run:
        assert run.process.wait(60) == 78

    assert all(variable in run.output() for variable in named)
    assert "Traceback" not in run.output()


@pytest.mark.parametrize(
    "content", [b"This is a letter to my aunt.\n" * 99, b"SQLite format 3\0"]
)
def test_a_database_that_is_none_is_kept_and_nothing_starts(tmp_path, content):
    letter = tmp_path / "audit.db"
    letter.write_bytes(content)

    with Run(tmp_path, workers=2) as run:
        assert run.process.wait(60) != 0

    assert letter.read_bytes() == content
    assert "audit.db" in run.output()
    assert "Traceback" not in run.output()


def test_without_a_token_gunicorn_itself_refuses_to_start(tmp_path):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("VX11_")}

    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        cwd=HOUSE,
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "VX11_TENTACULO_LINK_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr
