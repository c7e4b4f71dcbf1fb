"""Starting, starting again in the place of a dead worker, and SIGHUP, with bad files.

A first start is refused in clear words. After that nothing that a file holds ends the
master or a worker that serves.
"""

import hashlib
import re
import shutil
import signal
import subprocess
import sys
import threading

import pytest
import requests

from tests.support.stack import HOUSE, TOKEN, Gateway, sandbox, wait_until

EXTRA = "an-extra-token-of-the-file"
TOKENS = f"""
[[tokens]]
name = "extra"
sha256 = "{hashlib.sha256(EXTRA.encode()).hexdigest()}"
scopes = ["chat"]
"""
BACK_WITHIN = 5.0  # seconds until a cause that went away is noticed
_tick = threading.Event()


@pytest.fixture(scope="module")
def upstreams():
    with sandbox() as pair:
        yield pair


class Boot(Gateway):
    """A gateway whose files can be broken."""

    def __init__(self, folder, upstreams, text="", **settings):
        self.config = folder / "gateway.toml"
        self.config.write_text(text)
        self.tokens = folder / "tokens.toml"
        self.tokens.write_text(TOKENS)
        self.tokens.chmod(0o600)
        trail = folder / "trail"
        super().__init__(
            folder,
            switch_url=upstreams[0].url,
            madre_url=upstreams[1].url,
            tokens_file=self.tokens,
            config=self.config,
            audit_url=f"sqlite:///{trail}/audit.db",
            **settings,
        )
        self.audit = trail / "audit.db"

    def pids(self):
        return {worker.pid for worker in self.workers()}

    def kill_one(self):
        """Kill a worker; return the pid of the one that goes on."""
        victim, survivor = self.workers()
        victim.kill()
        wait_until(lambda: victim.pid not in self.pids())
        return survivor.pid

    def kill_one_and_see_another(self):
        survivor = self.kill_one()
        wait_until(lambda: len(self.pids()) == 2)
        return survivor

    def hang_up(self):
        """SIGHUP; wait until what comes of it is known."""
        before = self.output().count("Hang up")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.output().count("Hang up") > before)

    def chat_of_extra(self):
        # From elsewhere: a source of ten wrong tokens is not heard for a minute.
        elsewhere = {"X-Forwarded-For": "192.0.2.1"}
        return self.chat(headers={"X-VX11-Token": EXTRA, **elsewhere})

    def codes(self, count=12, ask=None):
        """What so many chats are answered, each on a connection of its own."""
        return {(ask or self.chat)().status_code for _ in range(count)}

    def have_both_booted(self):
        """Each is measured once it has all that it needs."""
        page = requests.get(
            f"{self.url}/metrics", headers={"X-VX11-Token": TOKEN}, timeout=10
        )
        return "gateway_workers 2.0" in page.text

    def is_whole(self):
        return len(self.pids()) == 2 and self.codes() == {200}


@pytest.fixture
def gateway(tmp_path, upstreams):
    with Boot(tmp_path, upstreams) as gateway:
        wait_until(gateway.have_both_booted)
        yield gateway
        assert gateway.process.poll() is None, gateway.output()
        wait_until(gateway.is_whole, 20)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory, upstreams):
    """One that is refused many reloads, one after the other."""
    with Boot(tmp_path_factory.mktemp("lasting"), upstreams) as gateway:
        wait_until(gateway.have_both_booted)
        yield gateway


class Kept:
    """Files that are put back as they were."""

    def __init__(self, path):
        self.path, self.aside = path, path.with_name(path.name + ".aside")
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, self.aside)

    def put_back(self):
        if self.path.is_dir():
            shutil.rmtree(self.path)
        self.aside.rename(self.path)


class TestAWorkerDies:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.write_text("this is [not TOML"),
            lambda path: path.unlink(),
            lambda path: path.write_bytes(b"\xff\xfe"),
            lambda path: path.write_text("a = " + "[" * 9000),
        ],
        ids=["not_toml", "deleted", "not_utf8", "too_deep"],
    )
    def test_a_bad_file_of_tokens_changes_nobodys_token(self, gateway, damage):
        file = Kept(gateway.tokens)
        damage(gateway.tokens)

        gateway.kill_one_and_see_another()

        wait_until(lambda: gateway.chat().ok)
        assert gateway.codes(12, gateway.chat_of_extra) == {200}
        wait_until(lambda: gateway.status()["tokens"]["status"] == "stale")
        file.put_back()
        wait_until(lambda: gateway.status()["tokens"]["status"] == "ok", BACK_WITHIN)

    def test_a_token_that_was_revoked_stays_so_if_the_file_then_goes_bad(self, gateway):
        gateway.tokens.write_text("tokens = []")
        wait_until(lambda: gateway.codes(8, gateway.chat_of_extra) <= {401, 429})
        _tick.wait(2.5)  # the master looks once a second
        gateway.tokens.write_text("this is [not TOML")

        gateway.kill_one_and_see_another()

        wait_until(lambda: gateway.chat().ok)
        assert gateway.codes(8, gateway.chat_of_extra) <= {401, 429}
        gateway.tokens.write_text("tokens = []")

    @pytest.mark.parametrize(
        ("name", "damage"),
        [
            ("trail/audit.db.key", lambda path: path.unlink()),
            ("trail/audit.db.key", lambda path: path.write_text("ff" * 32)),
            ("trail", shutil.rmtree),
        ],
        ids=["key_deleted", "another_key", "folder_deleted"],
    )
    def test_a_bad_trail_costs_chats_and_comes_back(self, gateway, name, damage):
        assert gateway.chat().ok
        file = Kept(gateway.folder / name)
        damage(gateway.folder / name)

        gateway.kill_one_and_see_another()

        assert wait_until(lambda: refused_by_some(gateway)) == "audit_unavailable"
        assert gateway.codes() <= {200, 503}
        new = gateway.pids()
        file.put_back()
        wait_until(lambda: gateway.codes() == {200}, BACK_WITHIN)
        assert gateway.pids() == new

    def test_a_bad_configuration_is_not_looked_at(self, gateway):
        gateway.config.write_text("threads = [")

        gateway.kill_one_and_see_another()

        wait_until(gateway.is_whole)
        gateway.config.write_text("")

    def test_one_that_cannot_start_is_tried_again_slowly(self, tmp_path, upstreams):
        bundle = tmp_path / "ca.pem"
        shutil.copy2(requests.certs.where(), bundle)
        with Boot(tmp_path, upstreams, tls_ca=bundle) as gateway:
            # A worker that has not read the bundle yet would not survive its loss.
            wait_until(gateway.have_both_booted)
            file = Kept(bundle)
            bundle.unlink()

            survivor = gateway.kill_one()
            problem = "A worker does not start: VX11_TLS_CA"
            wait_until(lambda: problem in gateway.output())

            assert gateway.codes() == {200}
            _tick.wait(5)
            assert gateway.output().count(problem) <= 4
            assert survivor in gateway.pids()
            file.put_back()
            wait_until(gateway.is_whole, 10)


def refused_by_some(gateway):
    answers = (gateway.chat() for _ in range(8))
    return next((a.json()["code"] for a in answers if a.status_code == 503), None)


class TestSighup:
    @pytest.mark.parametrize(
        ("text", "mistake"),
        [
            (b"\xff\xfe", "VX11_CONFIG"),
            (b"threads = [", "gateway.toml:1: "),
            (b"a = " + b"[" * 9000, "gateway.toml: "),
            (b'tls_ca = "/nonexistent"', "gateway.toml:1: tls_ca: "),
            (b'shared_dir = "/proc"', "gateway.toml:1: shared_dir: "),
            (b"breaker_open_max = 0.5", "gateway.toml:1: breaker_open_max: "),
            (b'[[upstreams]]\nname="a"\nkind="switch"\nurl="http://h:99999"', "url"),
            (b'[[upstreams]]\nname="a"\nkind="switch"\nurl="http://[::1"', "url"),
        ],
    )
    def test_what_cannot_be_used_is_told_and_changes_nothing(
        self, lasting, text, mistake
    ):
        self.refused(lasting, text, mistake)

    def test_nor_does_what_the_file_alone_sets(self, tmp_path, upstreams):
        gateway = Boot(tmp_path, upstreams)
        alone = {
            name.lower(): gateway.settings.pop(name)
            for name in ("TOKENS_FILE", "AUDIT_URL", "BIND")
        }

        def text(**changes):
            lines = (f'{name} = "{v}"' for name, v in (alone | changes).items())
            return "\n".join(lines).encode()

        gateway.config.write_bytes(text())
        with gateway:
            wait_until(gateway.have_both_booted)

            for bad in (
                {"tokens_file": "/nonexistent"},
                {"audit_url": "nonsense"},
                {"audit_url": "sqlite:////proc/nonexistent/audit.db"},
                {"bind": "127.0.0.1:1"},
                {"bind": "127.0.0.1:8x"},
            ):
                (name,) = bad
                self.refused(gateway, text(**bad), f": {name}: ")

    def refused(self, gateway, text, mistake):
        before, told = gateway.pids(), len(gateway.output())
        gateway.config.write_bytes(text)

        gateway.process.send_signal(signal.SIGHUP)

        wait_until(lambda: "Not reloaded" in gateway.output()[told:])
        said = gateway.output()[told:]
        (line, *_) = [x for x in said.splitlines() if "Not reloaded" in x]
        assert mistake in line
        assert "Traceback" not in said
        assert gateway.codes(6) == {200}
        assert gateway.pids() == before
        gateway.config.write_bytes(b"")

    def test_a_bad_file_of_tokens_or_a_bad_trail_keeps_the_workers(self, gateway):
        before, file = gateway.pids(), Kept(gateway.tokens)
        gateway.tokens.write_text("this is [not TOML")
        gateway.hang_up()
        wait_until(lambda: "Not reloaded: VX11_TOKENS_FILE" in gateway.output())
        file.put_back()

        key = Kept(gateway.folder / "trail" / "audit.db.key")
        key.path.unlink()
        gateway.hang_up()
        wait_until(lambda: "Not reloaded: VX11_AUDIT_URL" in gateway.output())

        assert gateway.pids() == before
        assert gateway.codes() == {200}
        key.put_back()

    def test_a_good_file_is_still_taken_up(self, gateway):
        gateway.config.write_text("threads = [")
        gateway.hang_up()
        wait_until(lambda: "Not reloaded" in gateway.output())
        before = gateway.pids()

        gateway.config.write_text("threads = 20")
        gateway.hang_up()

        wait_until(lambda: not before & gateway.pids(), 60)
        assert wait_until(gateway.is_whole)
        slots = gateway.status()["admission"]["slots"]
        assert slots in {9, 18}  # of one worker or of both
        gateway.config.write_text("threads = [")
        gateway.kill_one_and_see_another()
        wait_until(gateway.is_whole)
        wait_until(lambda: gateway.status()["admission"]["slots"] == slots)
        gateway.config.write_text("")


def test_sighup_brings_new_code(tmp_path):
    """Workers share the modules of the master while the files of these are the same."""
    gateway = Gateway(tmp_path, workers=1)
    gateway.house = tmp_path / "house"
    shutil.copytree(HOUSE / "app", gateway.house / "app")
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy2(HOUSE / name, gateway.house)
    version = gateway.house / "app" / "version.py"

    def is_of(number):
        health = requests.get(f"{gateway.url}/health", timeout=10)
        return health.json()["version"] == number

    with gateway:
        assert not is_of("77.0.0")
        version.write_text(
            re.sub(r'VERSION = ".*"', 'VERSION = "77.0.0"', version.read_text())
        )
        gateway.process.send_signal(signal.SIGHUP)

        wait_until(lambda: is_of("77.0.0"))


SECRET = "sk-canary-of-this-test"


@pytest.mark.parametrize(
    ("settings", "variable"),
    [
        ({"config": "{folder}"}, "VX11_CONFIG"),
        ({"config": "{folder}/bytes"}, "VX11_CONFIG"),
        ({"config": "{folder}/nowhere"}, "VX11_CONFIG"),
        ({"tls_ca": "{folder}/nowhere"}, "VX11_TLS_CA"),
        ({"tls_ca": "{folder}/bytes"}, "VX11_TLS_CA"),
        ({"audit_url": f"nonsense-{SECRET}"}, "VX11_AUDIT_URL"),
        ({"audit_url": f"postgresql://me:{SECRET}@h/db"}, "VX11_AUDIT_URL"),
        ({"audit_url": "sqlite:////proc/nowhere/audit.db"}, "VX11_AUDIT_URL"),
        ({"tokens_file": "{folder}/nowhere"}, "VX11_TOKENS_FILE"),
        ({"tokens_file": "{folder}/bytes"}, "VX11_TOKENS_FILE"),
        ({"bind": "127.0.0.1:99999"}, "VX11_BIND"),
        ({"switch_url": "http://h:99999"}, "VX11_SWITCH_URL"),
        ({"madre_url": "http://h:0x1"}, "VX11_MADRE_URL"),
        ({"shared_dir": "/proc"}, "VX11_SHARED_DIR"),
        ({"audit_key": "short-one"}, "VX11_AUDIT_KEY"),
    ],
)
def test_a_first_start_is_refused_in_one_clear_line(tmp_path, settings, variable):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe" + SECRET.encode())
    (tmp_path / "bytes").chmod(0o600)
    filled = {k: v.replace("{folder}", str(tmp_path)) for k, v in settings.items()}
    gateway = Gateway(tmp_path, **filled)

    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        cwd=HOUSE,
        env=gateway.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    said = done.stderr + done.stdout
    (line,) = [x for x in said.splitlines() if "VX11_" in x]
    assert variable in line
    assert "does not start" in said
    assert "Traceback" not in said
    assert SECRET not in said


def test_a_key_in_the_place_of_its_variable_is_not_repeated(tmp_path):
    config = tmp_path / "gateway.toml"
    config.write_text(
        '[[upstreams]]\nname = "a"\nkind = "openai"\nurl = "http://h/v1"\n'
        f'api_key_env = "{SECRET}"'
    )
    gateway = Gateway(tmp_path, config=config)

    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        cwd=HOUSE,
        env=gateway.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "api_key_env" in done.stderr
    assert SECRET not in done.stderr + done.stdout


def test_nothing_but_our_own_variables_is_read(tmp_path):
    gateway = Gateway(tmp_path)
    del gateway.settings["TENTACULO_LINK_TOKEN"]

    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        cwd=HOUSE,
        env=gateway.environment() | {"TOKEN": TOKEN, "token": TOKEN},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert "VX11_TENTACULO_LINK_TOKEN" in done.stderr
