"""`python -m app token`: what an operator types and what he gets."""

import json
from time import time

import pytest
from click.testing import CliRunner

from app.cli import main
from app.storage.tokens.file import read_tokens


@pytest.fixture
def path(tmp_path, monkeypatch):
    path = tmp_path / "tokens.toml"
    monkeypatch.setenv("VX11_TOKENS_FILE", str(path))
    return path


def token(*arguments):
    return CliRunner().invoke(main, ["token", *arguments])


def made(*arguments):
    result = token("new", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def listed():
    return json.loads(token("list", "--json").stdout)


def test_a_new_token_is_all_that_goes_to_standard_output(path):
    result = token("new", "ci")

    shown = result.stdout.removesuffix("\n")
    assert result.exit_code == 0
    assert shown.startswith("vx11_")
    assert "\n" not in shown
    assert shown not in path.read_text()
    assert shown not in result.stderr


def test_it_is_shown_once(path):
    shown = token("new", "ci").stdout.strip()

    again = token("list").output + token("list", "--json").output
    assert shown not in again
    assert read_tokens(path)[0].sha256.hex() not in again


def test_what_it_may_do_is_told_and_kept(path):
    before = time()
    facts = made(
        *["boss", "--scope", "chat", "--scope", "admin", "--class", "high"],
        *[
            "--rate",
            "60",
            "--volume",
            "5000",
            "--not-before",
            "2026-01-01",
            "--expires",
            "90d",
        ],
    )

    (kept,) = read_tokens(path)
    assert facts["scopes"] == sorted(kept.caller.scopes) == ["admin", "chat"]
    assert (facts["class"], kept.caller.priority.name) == ("high", "HIGH")
    assert facts["rate"] == kept.caller.rate == 60
    assert facts["volume"] == kept.caller.volume == 5000
    assert facts["not_before"] == "2026-01-01T00:00:00+00:00"
    assert abs(kept.expires - before - 90 * 86400) < 60
    assert (facts["id"], facts["state"]) == (kept.id, "active")


def test_a_plain_one_may_chat_for_ever(path):
    facts = made("ci")

    assert (facts["scopes"], facts["class"]) == (["chat"], "normal")
    assert (facts["rate"], facts["expires"]) == (None, None)


def test_the_list_says_which_are_valid(path):
    made("now")
    made("later", "--not-before", "1h")
    made("over", "--expires", "2020-01-01T00:00Z")

    assert [(t["name"], t["state"]) for t in listed()] == [
        ("now", "active"),
        ("later", "not yet"),
        ("over", "expired"),
    ]
    lines = token("list").stdout.splitlines()
    assert lines[0].split() == [
        "NAME",
        "ID",
        "STATE",
        "SCOPES",
        "CLASS",
        "RATE",
        "VOLUME",
        "EXPIRES",
    ]
    assert len(lines) == 4


def test_a_rotated_token_may_do_what_the_old_one_may(path):
    old = made(
        "ci", "--scope", "audit", "--class", "low", "--rate", "7", "--volume", "9"
    )

    new = made("ci", "--rotate")
    same = ("name", "scopes", "class", "rate", "volume")
    assert [new[k] for k in same] == [old[k] for k in same]
    assert new["token"] != old["token"]

    assert token("revoke", "ci", "--id", old["id"]).exit_code == 0
    assert [t["id"] for t in listed()] == [new["id"]]


def test_a_revoked_name_is_gone(path):
    made("ci")
    made("ci", "--rotate")
    made("boss")

    result = token("revoke", "ci", "--json")

    gone = [(t["name"], t["state"]) for t in json.loads(result.stdout)]
    assert gone == [("ci", "revoked"), ("ci", "revoked")]
    assert [t["name"] for t in listed()] == ["boss"]


def test_a_name_that_is_taken_or_is_not_there_exits_with_3(path):
    made("ci")

    for command in (
        ["new", "ci"],
        ["new", "boss", "--rotate"],
        ["revoke", "boss"],
        ["revoke", "ci", "--id", "00000000"],
    ):
        result = token(*command)
        assert (result.exit_code, result.stdout) == (3, "")
        assert command[1] in result.stderr


@pytest.mark.parametrize(
    "wrong",
    [
        ["new"],
        ["new", "C I"],
        ["new", "operator"],
        ["new", "ci", "--scope", "all"],
        ["new", "ci", "--class", "vip"],
        ["new", "ci", "--rate", "0"],
        ["new", "ci", "--expires", "soon"],
        ["new", "ci", "--expires", "90"],
        ["revoke"],
        ["forget"],
    ],
)
def test_a_wrong_command_line_exits_with_2_and_makes_nothing(path, wrong):
    assert token(*wrong).exit_code == 2
    assert not path.exists()


def test_a_file_that_cannot_be_used_exits_with_78_and_says_why(path):
    path.write_text("[[tokens]]\nname = 'ci'\n")
    path.chmod(0o600)

    for command in (["list"], ["new", "boss"], ["revoke", "ci"]):
        result = token(*command)
        assert result.exit_code == 78
        assert "sha256" in result.stderr
        assert "Traceback" not in result.stderr


def test_without_a_file_it_says_how_to_name_one(monkeypatch):
    result = token("list")

    assert result.exit_code == 78
    assert "VX11_TOKENS_FILE" in result.stderr
    assert "--file" in result.stderr


def test_the_file_may_be_named_on_the_line(tmp_path):
    path = tmp_path / "other.toml"

    assert token("new", "ci", "--file", str(path)).exit_code == 0
    assert path.exists()
    assert path.stat().st_mode & 0o777 == 0o600


def test_help_tells_the_exit_codes():
    text = token("--help").stdout

    for code in ("0", "2", "3", "78"):
        assert f"{code}  " in text
    for command in ("new", "list", "revoke"):
        assert "Exit codes" in token(command, "--help").stdout
