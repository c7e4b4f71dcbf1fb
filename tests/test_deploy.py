"""The examples in deploy/: they must work as they lie there."""

import configparser
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from app.settings import load, warnings_about
from app.storage.tokens.file import read_tokens
from app.upstreams import KINDS
from app.wiring import parts
from app.wiring.parts import require_kinds

HOUSE = Path(__file__).parents[1]
DEPLOY = HOUSE / "deploy"


@pytest.fixture
def settings(monkeypatch):
    monkeypatch.setenv("VX11_CONFIG", str(DEPLOY / "gateway.toml"))
    monkeypatch.setenv("VX11_TENTACULO_LINK_TOKEN", "a-token-for-tests")
    monkeypatch.setenv("LOCAL_LLM_KEY", "a-key-for-tests")
    monkeypatch.setenv("CLAUDE_KEY", "a-key-for-tests")
    return load()


@pytest.fixture
def unit():
    parser = configparser.RawConfigParser(strict=False, comment_prefixes=("#",))
    parser.optionxform = str
    parser.read(DEPLOY / "chat-gateway.service")
    return parser["Service"]


def names_in(file):
    """Of the variables that are set there."""
    return re.findall(r"^(\w+)=", (DEPLOY / file).read_text(), re.MULTILINE)


def test_the_settings_can_be_used_and_show_every_kind_of_upstream(settings):
    require_kinds(settings)
    assert not warnings_about(settings)
    assert {u.kind for u in settings.upstreams} == set(KINDS)
    assert settings.routes


def test_they_draw_no_warning_where_they_are_installed(monkeypatch, tmp_path):
    """With the places of an installed host, and the environment of the example."""
    tokens = tmp_path / "tokens.toml"
    tokens.write_text("")
    tokens.chmod(0o600)
    config = tmp_path / "gateway.toml"
    text = (DEPLOY / "gateway.toml").read_text()
    for named, there in {
        "/etc/chat-gateway/tokens.toml": str(tokens),
        "/var/lib/chat-gateway/": f"{tmp_path}/",
    }.items():
        assert named in text
        text = text.replace(named, there)
    config.write_text(text)
    monkeypatch.setenv("VX11_CONFIG", str(config))
    for name in {*names_in("environment.example")} - {"VX11_CONFIG"}:
        monkeypatch.setenv(name, "a-word-for-tests")

    done = CliRunner().invoke(main, ["config", "check"])

    assert (done.exit_code, done.stderr) == (0, "")
    assert "Usable: asks switch, local-llm, claude, madre;" in done.stdout


def test_the_tokens_can_be_read(tmp_path, settings):
    assert settings.tokens_file == Path("/etc/chat-gateway/tokens.toml")
    tokens = tmp_path / "tokens.toml"
    tokens.write_text((DEPLOY / "tokens.toml").read_text())
    tokens.chmod(0o600)

    assert {t.caller.name for t in read_tokens(tokens)} == {"web", "nightly"}


def test_the_environment_has_what_the_settings_do_not(settings):
    keys = {u.api_key_env for u in settings.upstreams} - {""}

    assert {"VX11_CONFIG", "VX11_TENTACULO_LINK_TOKEN", *keys} == set(
        names_in("environment.example")
    )


def test_the_service_starts_what_is_in_this_tree(unit, settings):
    home = unit["WorkingDirectory"]
    program, *module, _, config, app = shlex.split(unit["ExecStart"])

    assert (program, module) == (f"{home}/.venv/bin/python", ["-m", "gunicorn"])
    assert (HOUSE / config).is_file()
    assert (HOUSE / f"{app.partition(':')[0]}.py").is_file()
    assert unit["ExecReload"].endswith("-HUP $MAINPID")


def test_the_service_waits_for_the_last_chat_and_may_write_its_records(unit, settings):
    state = Path("/var/lib") / unit["StateDirectory"]

    assert unit["KillMode"] == "mixed"
    assert float(unit["TimeoutStopSec"]) >= settings.grace + 5
    assert settings.audit_url == f"sqlite:///{state}/audit.db"


def test_all_name_the_same_places(unit, settings):
    nginx = (DEPLOY / "nginx.conf").read_text()
    guide = (HOUSE / "docs" / "operating.md").read_text()

    door = (DEPLOY / "chat-gateway-nginx.service").read_text()
    launcher = (DEPLOY / "chat-gateway").read_text()

    assert f"server {settings.bind} " in nginx
    assert f"client_max_body_size {parts.PHOTOS // 2**20}m;" in nginx
    (command,) = re.findall(r"^# +(nginx -p .*)$", nginx, re.MULTILINE)
    assert door.count(command.partition("nginx")[2]) == 2
    for text in (unit["WorkingDirectory"], unit["EnvironmentFile"]):
        assert text in guide
    assert unit["EnvironmentFile"] in launcher
    assert f"user={unit['User']}\n" in launcher


def python_that_make_takes(folder, **works):
    for name, is_fit in works.items():
        program = folder / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\nexit {0 if is_fit else 127}\n")
        program.chmod(0o755)
    where = {"PATH": f"{folder}:{os.defpath}"}
    order = ["make", "-n", f"VENV={folder}/new", f"{folder}/new/bin/python"]
    told = subprocess.check_output(order, cwd=HOUSE, env=where, text=True)
    (line,) = [line for line in told.splitlines() if " -m venv " in line]
    return line.split()[0]


def test_make_takes_the_newest_python_that_works(tmp_path):
    """pyenv puts a shim on the PATH for a version that is switched off."""
    broken = dict.fromkeys(("python3_14", "python3_13"), False)

    taken = python_that_make_takes(tmp_path, **broken, python3_12=True, python3_11=True)

    assert taken == "python3.12"
