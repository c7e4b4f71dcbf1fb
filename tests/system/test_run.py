"""`python -m app run`, as `make run` starts it."""

import os
import re
import shlex
import signal
import subprocess
import sys

import psutil
import pytest
import requests

from tests.stack import HOUSE, TOKEN, Process, free_port, sandbox, wait_until


class Run(Process):
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
        self.spawn([sys.executable, "-m", "app", "run"], self.env)
        return self

    def __exit__(self, *exc):
        self.stop()

    def is_ready(self):
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5).ok
        except requests.ConnectionError:
            assert self.process.poll() is None, self.output()
            return False


def test_the_curl_line_that_it_prints_works_on_the_sandbox(tmp_path):
    with Run(tmp_path) as run:
        wait_until(run.is_ready, 60)
        command = re.search(r"(curl .*?\\\n.*)", run.output())[1].replace("\\\n", " ")

        answer = subprocess.run(
            shlex.split(command), capture_output=True, text=True, timeout=60, check=True
        )

    assert '"provider":"switch"' in answer.stdout
    assert "andbox" in answer.stdout


def test_the_console_is_one_click_away_and_can_break_the_sandbox(tmp_path):
    with Run(tmp_path, workers=1) as run:
        wait_until(run.is_ready, 60)
        console, token = re.search(
            r"(http\S+/operator/)#token=(\S+)", run.output()
        ).groups()

        page = requests.get(console, timeout=10)
        panel = requests.get(
            f"{console}api/sandbox", headers={"X-VX11-Token": token}, timeout=10
        )

    assert page.ok
    assert set(panel.json()["services"]) == {"switch", "madre"}


def test_a_token_that_is_kept_is_in_no_address(tmp_path):
    """A browser remembers addresses; one for this run alone may be remembered."""
    with Run(tmp_path, workers=1, tentaculo_link_token=TOKEN) as run:
        wait_until(run.is_ready, 60)

    assert "/operator/\n" in run.output()
    assert f"#token={TOKEN}" not in run.output()


def test_ctrl_c_stops_all_of_it(tmp_path):
    with Run(tmp_path) as run:
        wait_until(run.is_ready, 60)
        family = psutil.Process(run.process.pid).children(recursive=True)
        assert len(family) >= 3  # gunicorn, its workers, the sandbox

        run.stop(signal.SIGINT)

    assert [p for p in family if p.is_running() and p.status() != "zombie"] == []
    assert run.process.returncode == 0


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
