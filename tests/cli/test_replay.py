"""`replay` and `records play`, beside a gateway that says what it is told to."""

import json

import pytest
from click.testing import CliRunner

from app.cli import main
from app.cli.client import Refused
from app.cli.failing import Failure
from app.cli.replay.ask import lines
from app.cli.replay.run import PATIENCE, Target, ask_all, sampled
from app.cli.replay.written import as_facts, as_html, as_junit, summary_lines
from app.gateway.replay.report import Report, thresholds
from app.storage.trail import open_backend
from tests.gateway.replay.test_report import a_case
from tests.storage.making import a_closing, an_intent

ALLOWED = {"redacted": False, "may_act": True}
CHANGED = {"model": "slow", "temperature": None, **ALLOWED}


class FakeGateway:
    """Answers each replay with the next thing it was told, and remembers the bodies."""

    def __init__(self, *told):
        self.told = list(told)
        self.bodies = []

    def replay(self, body):
        self.bodies.append(body)
        told = self.told.pop(0) if self.told else an_answer(body["record"])
        if isinstance(told, Exception):
            raise told
        return told


def an_answer(record, **changes):
    answer = {
        "record": record,
        "outcome": "completed",
        "code": None,
        "provider": "switch",
        "model": "m",
        "finish_reason": "stop",
        "text": "Hi",
        "tools": [],
        "duration": 0.5,
        "input_tokens": None,
        "output_tokens": 4,
    }
    return {
        "upstream": "switch",
        "before": answer,
        "after": answer | {"record": f"again-{record}"},
        "same": {"outcome": True, "finish_reason": True, "tools": True},
        "likeness": 1.0,
        "pieces": [{"kind": "same", "text": "Hi"}],
        "is_redacted": False,
    } | changes


class Named:
    def __init__(self, name):
        self.id = name


def asked_of(gateway, *targets, waits=None):
    report = Report()
    wait = (lambda seconds: None) if waits is None else waits.append
    ask_all(gateway, Named("r1"), targets, CHANGED, report, wait)
    return report


def test_each_target_is_asked_and_a_baseline_the_very_same_as_then():
    gateway = FakeGateway()

    report = asked_of(gateway, Target("madre"), Target(None, is_baseline=True))

    assert gateway.bodies == [
        {"record": "r1", "upstream": "madre", "model": "slow", "may_act": True},
        {"record": "r1", "may_act": True},
    ]
    assert [case.is_baseline for case in report.cases] == [False, True]


def test_it_waits_until_there_is_room():
    busy = Refused(503, "overloaded", "too many requests at once", 2.0)
    often = Refused(429, "rate_limited", "too many requests", 7.0)
    gateway, waits = FakeGateway(busy, often), []

    report = asked_of(gateway, Target(None), waits=waits)

    assert waits == [2.0, 7.0]
    assert len(report.cases) == 1


def test_it_does_not_wait_for_ever():
    busy = Refused(503, "overloaded", "too many requests at once", 60.0)
    waits = []

    with pytest.raises(Failure) as failure:
        asked_of(FakeGateway(*[busy] * 9), Target(None), waits=waits)

    assert failure.value.exit_code == 75
    assert sum(waits) <= PATIENCE + 60


def test_what_cannot_be_asked_again_is_told_and_the_run_goes_on():
    gone = Refused(409, "not_replayable", "its words were erased", None)

    report = asked_of(FakeGateway(gone), Target("a"), Target("b"))

    assert report.cases == []
    assert report.skipped == [("r1", "its words were erased")]


@pytest.mark.parametrize(("size", "taken"), [(3, [0, 3, 6]), (10, list(range(10)))])
def test_a_sample_is_spread_evenly_and_the_same_each_time(size, taken):
    assert sampled(range(10), size) == taken


def test_a_report_says_the_same_in_each_form():
    report = Report(thresholds("tools,text<0.8"))
    report.cases += [
        a_case("r1", likeness=0.5),
        a_case("r2", is_same_tools=False),
        a_case("r3"),
        a_case("r1", is_baseline=True, upstream="<switch>"),
    ]
    report.skipped.append(("r4", "its words were erased"))

    facts, page, junit = as_facts(report), as_html(report), as_junit(report)
    shown = "\n".join(summary_lines(report))

    assert [one["record"] for one in facts["broken"]] == ["r1", "r2"]
    assert not facts["ok"]
    assert json.loads(json.dumps(facts))["worst"] == ["r2", "r1"]
    assert junit.count("<failure") == 2
    assert junit.count("<skipped") == 1
    assert "&lt;switch&gt; (baseline)" in page
    assert "2 of the answers break" in page
    assert "differs: r1 madre (text)" in shown
    assert "1 not asked: its words were erased" in shown


def test_a_comparison_for_people_marks_what_differs():
    told = an_answer("r1", is_redacted=True)
    told["same"] = {"outcome": True, "finish_reason": False, "tools": True}

    shown = list(lines(told))

    assert "placeholders" in shown[1]
    assert [line.split()[0] for line in shown if line.endswith("differs")] == ["finish"]


@pytest.fixture
def trail(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/audit.db"
    monkeypatch.setenv("VX11_AUDIT_URL", url)
    trail = open_backend(url).trail()
    trail.start()
    yield trail
    trail.close()


def put(trail, said, **closing):
    intent = an_intent()
    trail.finish(intent, a_closing(reply=json.dumps(said), **closing), 10.0)
    return intent.id


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_an_answer_is_played(trail):
    said = {"timeline": [[1, 2], [2, 3]], "text": "Hi you"}
    record = put(trail, said | {"text": "Hi ya"})

    plain = run("records", "play", record)
    as_json = run("records", "play", record, "--json", "--speed", "0")

    assert plain.exit_code == 0
    assert plain.stdout == "Hi ya\n"
    assert "switch, completed" in plain.stderr
    pieces = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [piece["text"] for piece in pieces] == ["Hi", " ya"]


def test_what_cannot_be_played_has_an_exit_code_of_its_own(trail):
    record = put(trail, {"hmac_sha256": "00", "bytes": 3})

    told = run("records", "play", record, "--json")

    assert told.exit_code == 65
    assert json.loads(told.stdout)["reason"] == "digest"
    assert run("records", "play", "nothing").exit_code == 1


@pytest.mark.parametrize("limit", ["text<2", "nothing", "latency"])
def test_a_threshold_that_says_nothing_is_refused(limit):
    told = run("replay", "run", "--fail-on", limit)

    assert told.exit_code == 2
    assert "text<0.8" in told.stderr
