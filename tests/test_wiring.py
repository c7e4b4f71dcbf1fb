"""The order of the policies, which nothing else would notice if it changed."""

import contextlib
from pathlib import Path

import pytest

from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.budget import Budget
from app.gateway.chain.admission import Admission
from app.gateway.chain.admission_queue import Load
from app.gateway.chain.audited import Audited
from app.gateway.chain.bound_sessions import BoundSessions
from app.gateway.chain.cached import Cached
from app.gateway.chain.counted import Counted
from app.gateway.chain.idempotent import Idempotent
from app.gateway.chain.metered import Metered
from app.gateway.errors import NobodyAnswered, Overloaded
from app.gateway.routing.router import ChatRouter
from app.settings import Settings
from app.wiring import build_services, metrics_folder
from app.wiring.hosts import OwnFacts
from tests.support.fakes import a_request
from tests.support.stack import wait_until
from tests.upstreams.raw_server import OK, RawServer

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def build(tmp_path):
    with contextlib.ExitStack() as running:

        def build(**settings):
            services = build_services(
                Settings(
                    **{
                        "token": "a-token-for-tests",
                        "switch_url": NOBODY,
                        "madre_url": NOBODY,
                        "audit_url": f"sqlite:///{tmp_path}/audit.db",
                        "threads": 9,
                    }
                    | settings
                )
            )
            running.callback(services.close)
            return services

        yield build


@pytest.fixture
def services(build):
    return build()


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"cache_ttl": 60}, [Idempotent, Cached]),
        ({}, [Idempotent]),
        ({"idempotency_ttl": 0}, []),
        (
            {"routes": [{"model": "m", "upstreams": ["madre"], "cache": 5}]},
            [Idempotent, Cached],
        ),
    ],
)
def test_the_order_is_the_one_that_the_docstring_draws(build, settings, kept):
    policies, handler = [], build(**settings).chat
    while (inner := getattr(handler, "_inner", None)) is not None:
        policies.append(type(handler))
        handler = inner

    outside = [Admission, Metered, Audited]
    assert policies == [*outside, *kept, Counted, BoundSessions]
    assert type(handler) is ChatRouter


def test_one_slot_covers_all_attempts_and_is_free_afterwards(services):
    with pytest.raises(NobodyAnswered) as failed:
        services.chat.open(a_request(), Budget(10))

    assert {a.upstream for a in failed.value.attempts} == {"switch", "madre"}
    assert services.gate.load() == Load(busy=0, waiting=0, streams=0)


def test_a_refusal_is_on_record(services):
    ticket = services.gate.enter(a_request().priority)

    with pytest.raises(Overloaded):
        services.chat.open(a_request(correlation_id="refused"), Budget(10))

    services.gate.leave(ticket)
    services.trail.close()
    record = services.records.get("refused")
    assert (record.outcome, record.code) == ("refused", "overloaded")


@pytest.fixture
def busy_server():
    """Answers one request at a time: nobody else while a chat is under way."""

    def script(peer):
        if peer.read_request().startswith(b"GET "):
            peer.pause()
        peer.pause(0.8)  # the work of a chat
        peer.send(OK)

    server = RawServer(script)
    yield server
    server.stop()


@pytest.mark.parametrize("health", ["", "none"])
def test_a_server_that_is_never_probed_is_not_thought_to_hang(
    build, busy_server, health
):
    services = build(
        switch_url=busy_server.url,
        switch_health=health,
        hang_check_after=0.2,
        probe_timeout=0.2,
    )
    wait_until(lambda: health or services.health.verdict("switch"))

    assert services.health.is_probed("switch") == (health == "")
    if health:
        reply = services.chat.open(a_request(), Budget(10)).collect()
        assert reply.upstream == "switch"
        assert services.health.verdict("switch") is None
    else:
        assert not services.health.verdict("switch").is_healthy


def test_row_67_a_worker_that_is_short_of_memory_takes_on_nothing(build):
    with pytest.raises(Overloaded):
        build(max_memory=1).chat.open(a_request(), Budget(10))


class TestInstance:
    """What tells an instance from the others of its host."""

    @pytest.fixture
    def folder(self, tmp_path):
        def folder(audit="audit.db", **settings):
            url = f"sqlite:///{tmp_path}/{audit}"
            return metrics_folder(Settings(token="t" * 20, audit_url=url, **settings))

        return folder

    def test_by_default_it_is_the_audit_database(self, folder):
        assert folder() == folder()
        assert folder() != folder("other.db")

    def test_a_folder_for_its_state_takes_the_databases_place(self, folder, tmp_path):
        assert folder(state_dir=tmp_path) == folder("other.db", state_dir=tmp_path)
        assert folder(state_dir=tmp_path) != folder(state_dir=tmp_path / "other")
        assert folder(state_dir=tmp_path) != folder(state_dir=tmp_path, bind="[::1]:81")


def test_both_tokens_of_the_environment_let_callers_in_and_go_nowhere(build):
    services = build(operator_token="the-other-token")

    for token in ("a-token-for-tests", "the-other-token"):
        assert services.keyring.authenticate(token.encode()).name == "operator"
        assert services.holds_secret(f"s-{token}")
    assert services.keyring.authenticate(b"a-third-token") is None


def test_the_ports_of_upstreams_are_known(build):
    urls = ["http://one:8002", "http://two", "https://three/v1"]
    listed = [LISTED | {"name": f"u{n}", "url": url} for n, url in enumerate(urls)]

    assert build(upstreams=listed).ports == {"u0": 8002, "u1": 80, "u2": 443}


LISTED = {"name": "one", "kind": "openai", "url": f"{NOBODY}/v1"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 1024 * 1024),
        ({"upstreams": [LISTED]}, 20 * 1024 * 1024),
        ({"upstreams": [LISTED | {"abilities": ["tools"]}]}, 1024 * 1024),
        ({"upstreams": [LISTED | {"kind": "madre"}]}, 1024 * 1024),
        ({"upstreams": [LISTED], "max_body": 2048}, 2048),
    ],
)
def test_a_photo_fits_in_where_an_upstream_takes_photos(build, settings, expected):
    assert build(**settings).max_body == expected


class TestWhatAHostTellsOfItself:
    """Of settings and tokens only digests, and nothing of what is a host's own."""

    KEY = "k" * 32
    SECRET = "a-token-of-the-file"

    def facts(self, keyring=None, **settings):
        given = {"token": "a-token-for-tests", "audit_key": self.KEY} | settings
        return OwnFacts(Settings(**given), keyring, Path("/var/lib/gateway"))

    def keyring(self, *names):
        return Keyring([Token.of(Caller(name), self.SECRET + name) for name in names])

    def differences(self, one, other):
        return one.now().differences(other.now())

    def test_hosts_of_the_same_settings_are_alike(self):
        one = self.facts(self.keyring("a", "b"))
        other = self.facts(self.keyring("b", "a"), bind="0.0.0.0:1", workers=7)

        assert self.differences(one, other) == ()

    def test_each_difference_is_named(self):
        other = self.facts(self.keyring("a"), person_rate=20, switch_url=NOBODY)

        found = self.differences(self.facts(), other)

        assert found == ("tokens", "person_rate", "switch_url", "upstreams")

    def test_new_tokens_are_told_and_another_key_is_no_likeness(self):
        keyring = self.keyring("a")
        facts = self.facts(keyring)
        before = facts.now()

        keyring.replace([Token.of(Caller("b"), self.SECRET)])

        assert before.differences(facts.now()) == ("tokens",)
        other = self.facts(keyring, audit_key="x" * 32)
        assert "tokens" in self.differences(facts, other)

    def test_no_value_leaves_the_host(self):
        told = self.facts(self.keyring("a"), switch_url="http://a-canary:1").as_json()

        assert "canary" not in told
        assert self.SECRET not in told
        assert self.KEY not in told
