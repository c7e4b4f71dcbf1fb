"""`report`, `explain ID` and `backtest`: read from the database, with no gateway."""

import json

import pytest
from click.testing import CliRunner

from app.cli import main
from app.storage.trail import open_backend
from tests.storage.making import a_closing, an_intent

DECISION = '{"order":["switch","madre"],"class":"normal","deadline":36.0}'
FAILED = json.dumps(
    [
        {"upstream": "switch", "fault": "connect_refused", "duration": 0.1},
        {"upstream": "madre", "fault": None, "duration": 0.1},
    ]
)


@pytest.fixture
def degraded(tmp_path, monkeypatch):
    """The id of a chat on record that madre answered."""
    url = f"sqlite:///{tmp_path}/audit.db"
    monkeypatch.setenv("VX11_AUDIT_URL", url)
    trail = open_backend(url).trail()
    intent = an_intent(decision=DECISION)
    closing = a_closing(
        provider="madre", degraded_by="connect_refused", attempts=FAILED
    )
    trail.finish(intent, closing, 10.0)
    trail.close()
    return intent.id


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_the_report_tells_what_went_wrong_and_why(degraded):
    result = run("report", "degraded")

    assert result.exit_code == 0
    assert "1 bad minute: 1 degraded, 0 unanswered, 0 refused." in result.output
    assert "switch refused the connection (1 chat)" in result.output
    assert "Head of the records" in result.output


def test_the_report_as_json_is_what_the_api_answers(degraded):
    found = json.loads(run("report", "degraded", "--json").output)

    (window,) = found["windows"]
    assert (window["kind"], window["causes"][0]["word"]) == (
        "degraded",
        "connect_refused",
    )
    assert found["minutes"][0]["answered_by"] == {"madre": 1}


def test_the_report_as_a_page_stands_for_itself(degraded):
    page = run("report", "degraded", "--html").output

    assert page.startswith("<!doctype html>")
    assert "switch refused the connection" in page
    assert "<rect" in page
    assert "<script" not in page
    assert "http" not in page  # it loads nothing


def test_a_time_the_wrong_way_round_is_a_wrong_command_line(degraded):
    assert run("report", "degraded", "--since", "1h", "--until", "2h").exit_code == 2


def test_a_chat_is_explained_while_the_gateway_is_down(degraded):
    result = run("explain", degraded)

    assert result.exit_code == 0
    assert "the order was switch, madre" in result.output
    assert "switch was asked first" in result.output
    assert json.loads(run("explain", degraded, "--json").output)["sentences"]
    assert run("explain", "nobody").exit_code == 1


def test_other_settings_are_tried_without_a_call(degraded, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("switch_timeout = 0.05\n")

    result = run("backtest", "--config", str(other), "--json")

    found = json.loads(result.output)
    assert (result.exit_code, found["chats"], found["changed"]) == (0, 1, 0)
    assert found["as_recorded"] == 1
    assert found["cannot_know"]
    assert "What cannot be known" in run("backtest", "--config", str(other)).output


def test_other_settings_that_are_none_are_named(degraded, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("switch_timeout = 'never'\n")

    result = run("backtest", "--config", str(other))

    assert result.exit_code == 78
    assert "other.toml:1: switch_timeout: " in result.output
