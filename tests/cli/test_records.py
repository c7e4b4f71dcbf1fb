"""`records`: following and checking a trail that is being written."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from app.cli import main
from app.cli.failing import Failure
from app.cli.records import _readable, sealed_from_now_on
from app.gateway.errors import SearchTookTooLong
from app.storage.trail import open_backend
from tests.storage.making import a_closing, an_intent, record_one
from tests.support.stack import HOUSE

PAGE = 500  # as many as the reader gives at once


@pytest.fixture
def url(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/audit.db"
    monkeypatch.setenv("VX11_AUDIT_URL", url)
    return url


@pytest.fixture
def trail(url):
    trail = open_backend(url).trail()
    trail.start()
    yield trail
    trail.close()


def followed(url, *turns):
    """The ids that are printed while the turns are taken, one between two looks."""
    turns = iter(turns)

    def wait(_seconds):
        for turn in turns:
            turn()
            return False
        return True

    return [
        record.id for record in sealed_from_now_on(open_backend(url).records(), wait)
    ]


def test_each_record_is_printed_once_when_it_ends_in_order(trail, url):
    record_one(trail)
    long, short, later = an_intent(), an_intent(), an_intent()
    trail.begin(long)  # the newest there is, and still open

    printed = followed(
        url,
        lambda: trail.finish(short, a_closing(), 10.0),
        lambda: None,
        lambda: trail.finish(long, a_closing(), 10.0),
        lambda: trail.finish(later, a_closing(), 10.0),
    )

    assert printed == [short.id, long.id, later.id]


def test_more_records_than_fit_into_one_look_are_all_printed(trail, url):
    def flood():
        for _ in range(2 * PAGE + 7):
            trail.note(an_intent(), a_closing())
        record_one(trail)

    printed = followed(url, flood, lambda: None)

    assert len(printed) == len(set(printed)) == 2 * PAGE + 8


def test_follow_ends_well_by_ctrl_c(trail):
    record_one(trail)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONWARNINGS"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "app", "records", "follow", "--json"],
        cwd=HOUSE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    made = set()
    try:
        made.add(record_one(trail).id)
        while not (line := _next_line(process)):
            made.add(record_one(trail).id)
        assert json.loads(line)["id"] in made
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=30)
        assert (process.returncode, words) == (0, "")
    finally:
        process.kill()
        process.communicate()


def _next_line(process):
    os.set_blocking(process.stdout.fileno(), False)
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        return process.stdout.readline()
    raise AssertionError(process.stderr.read())


def test_a_broken_chain_is_an_error_in_json_too(trail, monkeypatch):
    record_one(trail)
    monkeypatch.setenv("VX11_AUDIT_KEY", "another-key-that-is-long-enough-for-us")

    done = CliRunner().invoke(main, ["records", "verify", "--json"])

    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"] == "the head is missing or forged"


@pytest.mark.parametrize("words", [["verify"], ["search", "unicorn"]])
def test_long_work_shows_how_far_it_is_on_a_terminal(trail, words):
    record_one(trail)
    ours, theirs = pty.openpty()

    done = subprocess.run(
        [sys.executable, "-m", "app", "records", *words],
        cwd=HOUSE,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)

    assert "100%" in shown
    assert b"%" not in done.stdout


def test_a_search_that_takes_too_long_says_what_to_do():
    with pytest.raises(Failure, match="--since") as failed, _readable():
        raise SearchTookTooLong

    assert failed.value.exit_code == 74
