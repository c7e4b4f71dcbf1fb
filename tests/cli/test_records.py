"""`records`: following and checking a trail that is being written."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from app.cli import main
from app.cli.failing import Failure
from app.cli.records import readable, sealed_from_now_on
from app.gateway.errors import SearchTookTooLong
from app.storage.chain.verification import FORGED
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


class TestSearch:
    """What is asked for at night, and how it is shown."""

    @pytest.fixture
    def chats(self, trail):
        def put(hours_ago, closing=None, **intent):
            asked = an_intent(opened_at=time.time() - hours_ago * 3600, **intent)
            trail.finish(asked, a_closing(**closing or {}), 10.0)
            return asked.id

        fallback = {"degraded_by": "read_timeout", "provider": "madre"}
        nobody = {"outcome": "failed", "status": 503, "provider": None, "code": "x"}
        return {
            "whole": put(3, caller="shop"),
            "degraded": put(2, fallback),
            "failed": put(1, nobody),
            "mistake": put(0.5, {**nobody, "status": 400}),
        }

    def found(self, chats, *words):
        done = CliRunner().invoke(main, ["records", "search", "--json", *words])
        ids = {json.loads(line)["id"] for line in done.stdout.splitlines()}
        return {name for name, one in chats.items() if one in ids}

    @pytest.mark.parametrize(
        ("words", "names"),
        [
            (["--degraded"], {"degraded"}),
            (["--failed"], {"failed"}),
            (["--degraded", "--failed"], {"degraded", "failed"}),
            (["--caller", "shop"], {"whole"}),
            (["--since", "90m"], {"failed", "mistake"}),
            (["--since", "1w", "--until", "150m"], {"whole"}),
            (["--since", "2000-01-01", "--until", "2000-01-01T10:00+02:00"], set()),
        ],
    )
    def test_filters(self, chats, words, names):
        assert self.found(chats, *words) == names

    def test_a_time_without_a_zone_is_in_the_one_that_is_printed(self, chats):
        ago = datetime.now(UTC) - timedelta(minutes=90)
        assert self.found(chats, "--since", f"{ago:%Y-%m-%dT%H:%M:%S}") == {
            "failed",
            "mistake",
        }

    @pytest.mark.parametrize("shown", ["2x", "yesterday", "9999999d", "-2h", ""])
    def test_a_time_that_is_none_is_refused_and_not_repeated(self, shown):
        done = CliRunner().invoke(main, ["records", "search", "--since", shown])

        assert done.exit_code == 2
        assert "must be like 2h" in done.stderr

    def test_the_heading_names_the_zone_and_no_column_is_empty(self, chats):
        done = CliRunner().invoke(main, ["records", "search"])

        heading, _, failed, degraded, whole = done.stdout.splitlines()
        assert heading.startswith("Began (UTC)")
        cells = " ".join(whole.split()[4:])
        assert cells == "200 250 ms switch no none shop What is the capital?"
        assert "read_timeout      none" in degraded
        assert failed.split()[4:10] == ["503", "250", "ms", "-", "-", "x"]

    def test_words_do_not_drive_the_terminal(self, trail):
        evil = json.dumps({"messages": [["user", "a\x1b[2J\nb\u202e"]]})
        record_one(trail, request=evil, correlation_id="evil")

        for words in (["search"], ["show", "evil"]):
            shown = CliRunner().invoke(main, ["records", *words]).stdout
            assert "\x1b" not in shown
            assert "\u202e" not in shown


class TestShow:
    """One record, for people and for programs."""

    def test_sections_times_and_attempts(self, trail):
        attempts = [
            {"upstream": "switch", "fault": "read_timeout", "duration": 0.75},
            {"upstream": "madre", "fault": None, "duration": 0.25, "status": 200},
        ]
        asked = an_intent(opened_at=1_700_000_000.0, person="ana", correlation_id="c9")
        ending = a_closing(
            attempts=json.dumps(attempts),
            duration=1.0,
            provider="madre",
            degraded_by="read_timeout",
        )
        trail.finish(asked, ending, 10.0)

        shown = CliRunner().invoke(main, ["records", "show", "c9"]).stdout

        assert "began           2023-11-14 22:13:20 UTC" in shown
        assert "outcome         completed, status 200 after 1 s" in shown
        assert "madre (a-model), degraded: read_timeout" in shown
        assert "person          ana" in shown
        assert f"|{'#' * 18}{' ' * 6}|   750 ms  read_timeout" in shown
        assert f"|{' ' * 18}{'#' * 6}|   250 ms  answered, status 200" in shown
        assert "Question\n  user: What is the capital?" in shown
        assert "Answer\n  Paris" in shown
        assert "In the chain\n  no. 1, digest " in shown

    def test_one_under_way_or_without_words(self, trail):
        trail.begin(an_intent(correlation_id="c1", request="{}"))
        trail.close()  # writes what is queued

        shown = CliRunner().invoke(main, ["records", "show", "c1"]).stdout

        assert "outcome         open: it is under way" in shown
        assert "Question\n  (not kept)" in shown
        assert "not sealed yet" in shown


class TestExport:
    """All records, in the order of the chain, and its head."""

    def run(self, *words):
        done = CliRunner().invoke(main, ["records", "export", *words])
        assert done.exit_code == 0
        return done.stdout

    def test_lines_of_json_end_with_the_head(self, trail):
        ids = [record_one(trail).id for _ in range(600)]

        *lines, last = map(json.loads, self.run().splitlines())

        assert [line["id"] for line in lines] == ids
        assert [line["seq"] for line in lines] == [*range(1, 601)]
        assert last == {"heads": [f"1:600:{lines[-1]['digest']}"]}
        assert lines[0]["reply"] == {"text": "Paris"}

    def test_a_table_reads_back_and_holds_no_formula(self, trail):
        record_one(trail, session_id="=1+1", request='{"text":"two\\n\\"lines\\""}')
        record_one(trail, caller="köln")

        names, first, second, head = csv.reader(
            io.StringIO(self.run("--format", "csv"))
        )

        first, second = (dict(zip(names, r, strict=True)) for r in (first, second))
        assert first["session_id"] == "'=1+1"
        assert json.loads(first["request"]) == {"text": 'two\n"lines"'}
        assert (second["caller"], second["code"], second["seq"]) == ("köln", "", "2")
        assert head == ["head", f"1:2:{second['digest']}"]

    def test_an_empty_trail_has_a_head_and_no_record(self, trail):
        trail.check()

        assert self.run() == json.dumps({"heads": ["1:0:" + 64 * "0"]}) + "\n"


class TestVerify:
    """Its head, and heads of earlier."""

    def run(self, *words):
        return CliRunner().invoke(main, ["records", "verify", *words])

    def test_it_prints_the_head_and_takes_it_again(self, trail):
        record_one(trail)

        printed = self.run().stdout
        head = printed.splitlines()[-1].removeprefix("Head ")
        record_one(trail)

        assert head.startswith("1:1:")
        assert self.run("--head", head).exit_code == 0
        told = json.loads(self.run("--head", head, "--json").stdout)
        assert (told["noted"], told["heads"][0][:4]) == (1, "1:2:")

    def test_a_head_that_is_not_part_of_it_is_told(self, trail):
        record_one(trail)

        done = self.run("--head", "1:1:" + 64 * "0")

        assert done.exit_code == 1
        assert "not the one that was noted" in done.stdout
        assert "earlier state" in self.run("--head", "1:9:" + 64 * "0").stdout

    def test_anchors_are_taken_from_a_log_too(self, trail, tmp_path):
        record_one(trail)
        head = self.run().stdout.splitlines()[-1].removeprefix("Head ")
        log = tmp_path / "log"
        log.write_text(f'x\n{{"message": "Audit anchor {head}"}}\n')
        assert json.loads(self.run("--anchors", log, "--json").stdout)["noted"] == 1

        log.write_text(f"Audit anchor {head[:-1]}{'0' if head[-1] != '0' else '1'}\n")
        assert self.run("--anchors", log).exit_code == 1

    def test_what_is_no_head_is_told_and_not_repeated(self, trail, tmp_path):
        empty = tmp_path / "empty"
        empty.write_text("secret-word\n")
        for words in (["--head", "secret-word"], ["--anchors", empty]):
            done = self.run(*words)
            assert done.exit_code == 78
            assert words[0] in done.stderr
            assert "secret-word" not in done.output


def test_a_broken_chain_is_an_error_in_json_too(trail, monkeypatch):
    record_one(trail)
    monkeypatch.setenv("VX11_AUDIT_KEY", "another-key-that-is-long-enough-for-us")

    done = CliRunner().invoke(main, ["records", "verify", "--json"])

    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"] == FORGED


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
    with pytest.raises(Failure, match="--since") as failed, readable():
        raise SearchTookTooLong

    assert failed.value.exit_code == 74


def erase(*options):
    return CliRunner().invoke(main, ["records", "erase", *options])


def test_words_of_a_person_are_erased_on_demand_and_that_is_on_record(trail, url):
    hers = record_one(trail, person="ada")
    other = record_one(trail, person="bob")

    tried = erase("--user", "ada", "--dry-run")
    assert (tried.exit_code, tried.stdout) == (
        0,
        "The words of 1 records would be erased.\n",
    )
    done = erase("--user", "ada", "--json")

    assert json.loads(done.stdout) == {
        "records": 1,
        "open": 0,
        "is_clean": True,
        "dry_run": False,
    }
    reader = open_backend(url).records()
    assert reader.get(hers.id).request is None
    assert reader.get(other.id).request
    assert erase("--person", "ada").exit_code == 1
    record_one(trail)
    assert open_backend(url).verify().ok


def test_a_demand_that_names_nobody_is_refused(url):
    assert erase("--yes").exit_code == 2
