"""`config check`: every kind of mistake, at once, by file, line and key."""

import contextlib
import json
import os
import re
from pathlib import Path

import pytest
import requests
import trustme
from click.testing import CliRunner

from app.cli import main
from app.gateway.access.tokens import Caller, Token
from app.settings import Settings
from app.settings.entries import RouteSettings, UpstreamSettings
from app.storage.tokens.edit import TokenFile
from app.storage.trail import open_backend
from tests.storage.conftest import small_disk
from tests.storage.making import record_one
from tests.support.stack import TOKEN, Gateway, sandbox, wait_until

__all__ = ["small_disk"]

LISTED = ("upstreams", "routes")
ONE = '[[upstreams]]\nname = "a"\nkind = "switch"\nurl = "http://a"\n'
MODEL = '[[upstreams]]\nname = "m"\nkind = "openai"\nurl = "http://m/v1"\nmodel = "m"\n'


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a file of settings with a place for the records, and check it."""
    monkeypatch.setenv("VX11_TENTACULO_LINK_TOKEN", TOKEN)
    monkeypatch.setenv("VX11_BIND", "127.0.0.1:1")  # nobody runs there
    file = tmp_path / "gateway.toml"

    def check(text, *words, records=True):
        place = f'audit_url = "sqlite:///{tmp_path}/audit.db"\n' if records else ""
        file.write_text(place + text)
        monkeypatch.setenv("VX11_CONFIG", str(file))
        return CliRunner().invoke(main, ["config", "check", *words])

    check.file = file
    return check


def told(done):
    """What is wrong, by line, key and words; all is told by its file."""
    assert done.exit_code == 78, done.output
    found = re.findall(r"^.*?/gateway\.toml:(\d+): (.*)$", done.stderr, re.MULTILINE)
    assert len(found) == len(done.stderr.splitlines()), done.stderr
    return {int(line): words for line, words in found}


def test_one_that_can_be_used_ends_with_usable(config):
    done = config(ONE + "timeout = 6\n" + MODEL)

    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.endswith(
        f"Usable: asks a, m; records in {config.file.parent}/audit.db\n"
    )
    assert f"({config.file}:2)" in done.stdout
    assert re.search(r"^VX11_AUDIT_KEY +-  \(default\)$", done.stdout, re.MULTILINE)
    assert re.search(r'^VX11_LOG_LEVEL +"INFO"  \(default', done.stdout, re.MULTILINE)
    assert not (config.file.parent / "audit.db").exists()


def test_mistakes_of_all_kinds_hide_each_other_nowhere(config, monkeypatch):
    monkeypatch.setenv("VX11_WORKERS", "canary")
    done = config(
        'thread = 64\nthreads = "canary"\nlog_level = "canary"\n'
        "queue = = 3\nchat_deadline = 20\nchat_deadline = 21\n"
        'tokens_file = "/none/tokens.toml"\ntls_ca = "/none/ca.pem"\n'
        'metrics_bind = "127.0.0.1:1"\nshared_dir = "/none"\n'
        'anchor_file = "/none/anchors"\naudit_url = "sqlite:////proc/audit.db"\n'
        f'{ONE}{ONE}timout = 3\n[[upstreams]]\nname = "b"\nkind = "canary"\n'
        'url = "canary"\n[[routes]]\nmodel = "x"\nupstreams = ["aa", "b"]\n',
        records=False,
    )

    lines = done.stderr.splitlines()
    assert lines[0] == "VX11_WORKERS: must be a whole number"
    done.stderr_bytes = "\n".join(lines[1:]).encode()
    words = told(done)
    assert words == {
        1: "thread: there is no such key; did you mean threads?",
        2: "threads: must be a whole number",
        3: "log_level: must be `DEBUG`, `INFO`, `WARNING` or `ERROR`",
        4: "the value is none of TOML's: text needs quotes",
        6: "this key stands there twice",
        7: "tokens_file: /none/tokens.toml: No such file or directory",
        8: "tls_ca: /none/ca.pem: No such file or directory",
        9: "metrics_bind: must have another port than VX11_BIND",
        10: "shared_dir: /none: is no folder that can be written to",
        11: "anchor_file: /none/anchors: this user cannot add to it",
        12: "audit_url: no file can be made in /proc: No such file or directory",
        18: "[[upstreams]] number 2, name: number 1 has the same name",
        21: "[[upstreams]] number 2, timout: there is no such key; did you mean "
        "timeout?",
        24: "[[upstreams]] number 3, kind: must be one of switch, madre, openai, "
        "anthropic",
        25: "[[upstreams]] number 3, url: must be http:// or https:// and a host, "
        "with a port and a path where needed, and nothing else",
        28: "[[routes]] number 1, upstreams.1: there is no such upstream; did you mean "
        "a?",
    }
    assert "canary" not in done.output


@pytest.mark.parametrize(
    "bad",
    [
        '"canary"',
        *("-1", "inf", "1e300", "true", "12:00:00"),
        *("{canary = 1}", '["canary"]', "[[1]]", "[{}]"),
        *('""', f'"{"canary" * 200}"'),
    ],
)
def test_every_setting_that_is_wrong_is_told_in_words_of_ours(config, bad):
    def table(name, model):
        keys = [key for key in model.model_fields if name or key not in LISTED]
        return [f"[[{name}]]", *(f"{key} = {bad}" for key in keys)]

    lines = table("", Settings)[1:]
    lines += table("upstreams", UpstreamSettings) + table("routes", RouteSettings)

    done = config("\n".join(lines), records=False)

    words = told(done)
    assert len(words) > 20
    for line, text in words.items():
        key, _, why = text.partition(": ")
        assert f"{key.rpartition(', ')[2].partition('.')[0]} = " in lines[line - 1]
        for theirs in ("nput should", "ield requ", "tring should", "rror,", "valid "):
            assert theirs not in why
        assert "cannot be used as it is" not in why
    assert "canary" not in done.output


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            'chat_deadline = 9\n[[upstreams]]\nname = "a"\nkind = "switch"\n'
            'url = "http://a"\ntimeout = 30\n' + MODEL + "timeout = 3\n",
            "7: [[upstreams]] number 1, timeout: a may get only 6 of its 30 s",
        ),
        (MODEL.replace("/v1", ""), "5: [[upstreams]] number 1, url: does not end in"),
        (
            MODEL.replace('model = "m"\n', ""),
            "2: [[upstreams]] number 1, model: has no `model`",
        ),
        (
            ONE.replace("http://a", "http://127.0.0.1:1"),
            "5: [[upstreams]] number 1, url: is the address of this gateway itself",
        ),
        (
            f'{ONE}[[routes]]\nmodel = "x"\nupstreams = ["a"]\n'
            '[[routes]]\nmodel = "x"\nupstreams = ["a"]\n',
            "9: [[routes]] number 2: is never used, for number 1 has the same model",
        ),
        ('metrics_dir = "/none"\n', "2: metrics_dir: /none is no folder"),
    ],
)
def test_what_will_not_work_well_is_warned_of(config, text, warning):
    done = config(text)

    assert done.exit_code == 0, done.output
    assert f"Warning: {config.file}:{warning}" in done.stderr
    assert "Usable, with 1 warning: " in done.stdout


def test_a_bundle_of_certificates_is_looked_into(config, tmp_path):
    bundle = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(bundle)
    assert config(f'tls_ca = "{bundle}"\n').stderr == ""

    bundle.write_text("no certificate")
    words = told(config(f'tls_ca = "{bundle}"\n'))
    assert words == {2: f"tls_ca: {bundle}: holds no certificates"}


class TestTheRecords:
    @pytest.fixture
    def begun(self, tmp_path):
        trail = open_backend(f"sqlite:///{tmp_path}/audit.db").trail()
        record_one(trail)
        trail.close()
        return tmp_path / "audit.db"

    def test_those_that_were_begun_can_be_used(self, config, begun):
        before = sorted(begun.parent.rglob("audit.db*"))

        assert config("").exit_code == 0
        assert sorted(begun.parent.rglob("audit.db*"))[: len(before)] == before

    @pytest.mark.parametrize(
        ("breaks", "words"),
        [
            (lambda db: db.unlink(), "is gone, though a trail was begun there"),
            (lambda db: Path(f"{db}.key").unlink(), ".key is missing or damaged"),
            (lambda db: Path(f"{db}.key").chmod(0o644), ".key is open to others"),
            (
                lambda db: Path(f"{db}.key").write_text("ab" * 32),
                "was signed with another key",
            ),
            (lambda db: db.write_bytes(b"x" * 5000), "can't be used (file is not a"),
        ],
    )
    def test_those_that_cannot_be_written_to_are_told(
        self, config, begun, breaks, words
    ):
        breaks(begun)

        (problem,) = told(config("")).values()
        assert problem.startswith("audit_url: ")
        assert words in problem

    def test_a_folder_that_is_not_there_is_warned_of(self, config, tmp_path):
        done = config(f'audit_url = "sqlite:///{tmp_path}/a/b/audit.db"', records=False)

        assert done.exit_code == 0
        assert f"{tmp_path}/a/b is not there; the gateway makes it" in done.stderr
        assert not (tmp_path / "a").exists()

    def test_a_file_in_the_place_of_the_folder_is_a_mistake(self, config, tmp_path):
        (tmp_path / "a").write_text("")

        words = told(
            config(f'audit_url = "sqlite:///{tmp_path}/a/audit.db"', records=False)
        )
        assert words[1].startswith("audit_url: no file can be made in ")

    def test_a_disk_without_room_is_warned_of(self, config, small_disk):
        with small_disk("3m") as folder:
            done = config(f'audit_url = "sqlite:///{folder}/audit.db"', records=False)

        assert "chats are refused while it has less than 4.2 MB" in done.stderr


def test_mistakes_in_the_file_of_tokens_are_told_by_their_lines(config, tmp_path):
    tokens = tmp_path / "tokens.toml"
    TokenFile(tokens).add(Token.of(Caller("ci"), "a-token-of-ci"), beside_others=False)
    assert config(f'tokens_file = "{tokens}"\n').exit_code == 0

    with tokens.open("a") as file:
        file.write('[[tokens]]\nname = "C I"\nscope = ["chat"]\nsha256 = canary\n')
    begins = tokens.read_text().splitlines().index('name = "C I"')

    done = config(f'tokens_file = "{tokens}"\n')

    told_lines = done.stderr.splitlines()
    assert done.exit_code == 78
    for line, words in {
        begins + 1: "[[tokens]] number 2, name: must be 1 to 64 of",
        begins + 2: "[[tokens]] number 2, scope: there is no such key; did you mean",
        begins + 3: "the value is none of TOML's",
    }.items():
        where = f"{config.file}:2: tokens_file: {tokens}:{line}: {words}"
        assert [one for one in told_lines if one.startswith(where)], where
    assert "canary" not in done.output
    assert len(told_lines) == 3


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A gateway with a file of settings."""
    folder = tmp_path_factory.mktemp("running")
    file = folder / "gateway.toml"
    with sandbox() as (switch, madre):
        file.write_text(f'switch_url = "{switch.url}"\nmadre_url = "{madre.url}"\n')
        with Gateway(folder, workers=1, config=str(file)) as gateway:
            yield gateway, file


@pytest.fixture
def check(running, monkeypatch):
    for name, value in running[0].settings.items():
        monkeypatch.setenv(f"VX11_{name}", str(value))
    return lambda *words: CliRunner().invoke(main, ["config", "check", *words])


def test_what_a_hup_would_change_is_told_and_what_it_did_is_logged(
    running, check, monkeypatch
):
    gateway, file = running
    before = file.read_text()
    assert "A HUP would change nothing" in check().stdout

    file.write_text(before + "threads = 70\nmetrics_bind = '127.0.0.1:2'\n")
    monkeypatch.setenv("VX11_WORKERS", "2")
    changes = json.loads(check("--json").stdout)["changes"]
    assert changes == [
        "Only a restart would change workers: 1 becomes 2",
        "A HUP would change threads: 64 becomes 70",
        "A HUP would change slots: 40 becomes 44",
        "A HUP would change stream_slots: 30 becomes 33",
        'Only a restart would change metrics_bind: null becomes "127.0.0.1:2"',
        "A HUP would change queue: 16 becomes 17",
    ] or set(changes) >= {"A HUP would change threads: 64 becomes 70"}

    file.write_text(before + "threads = 70\n")
    monkeypatch.setenv("VX11_WORKERS", "1")
    os.kill(gateway.process.pid, 1)
    wait_until(lambda: "Reloaded: threads, queue, slots" in gateway.output())
    wait_until(lambda: "A HUP would change nothing" in check().stdout)
    file.write_text(before)


def test_a_reload_that_was_refused_is_told_until_the_next(running, check):
    gateway, file = running
    before = file.read_text()
    file.write_text(before + "thread = 7\ntokens_file = '/none'\n")
    os.kill(gateway.process.pid, 1)

    def reasons():
        """None while the worker is exchanged, which takes long on a busy machine."""
        with contextlib.suppress(requests.RequestException):
            return [one["code"] for one in gateway.status()["gateway"]["reasons"]]

    wait_until(lambda: "settings_stale" in (reasons() or ()), 60)
    for words in ("thread: there is no such key", "tokens_file: /none: No such file"):
        assert words in gateway.output()
    doctor = CliRunner().invoke(main, ["doctor"])
    assert "the last reload was refused" in doctor.stdout
    assert "config check" in doctor.stdout

    file.write_text(before)
    os.kill(gateway.process.pid, 1)
    wait_until(lambda: reasons() == [], 60)
