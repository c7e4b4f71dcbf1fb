import io
from dataclasses import replace
from statistics import median
from time import perf_counter_ns

import pytest

from app.gateway.access.rate_limits import FailedAuth
from app.gateway.access.tokens import LINK, Caller, Keyring, Token
from app.gateway.shared import InProcessState
from app.services import PerProcess
from app.storage.shared.rate_limits import SlidingRateLimits
from app.web import make_app
from tests.support.fakes import FakeClock

TOKEN = "a-token-for-tests"
CHAT = "/operator/api/chat"


def chat(client, headers):
    return client.post(CHAT, json={"message": "Hello"}, headers=headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-VX11-Token": TOKEN},
        {"Authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer {TOKEN}"},
        {"X-VX11-Token": TOKEN, "Authorization": f"Bearer {TOKEN}"},
        {"X-VX11-Token": f"{TOKEN},{TOKEN}"},  # a proxy that sends it twice
        {"X-VX11-Token": f"{TOKEN}, {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN},Bearer {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN}, bearer {TOKEN}"},
        {"Authorization": f"Bearer {TOKEN},{TOKEN}"},
    ],
)
def test_a_valid_token_is_let_in(client, headers):
    assert chat(client, headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-VX11-Token": ""},
        {"X-VX11-Token": ","},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Basic YTpi, Bearer {TOKEN}"},
    ],
)
def test_no_token_is_401(client, headers):
    answer = chat(client, headers)

    assert (answer.status_code, answer.json["detail"]) == (401, "auth_required")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_of_several_tokens_that_are_valid_the_first_counts(services):
    """tentaculo_link puts a token of its own behind that of its caller."""
    tokens = {name: f"the-token-of-{name}" for name in ("link", "web", "ci")}
    known = [Token.of(Caller(name), token) for name, token in tokens.items()]
    ours = replace(services, keyring=Keyring(known))
    client = make_app(PerProcess(lambda: ours)).test_client()

    def whoami(**headers):
        shown = {k.replace("_", "-"): v.format(**tokens) for k, v in headers.items()}
        return client.get("/operator/api/whoami", headers=shown).json["name"]

    assert whoami(X_VX11_Token="{web}, {link}") == "web"
    assert whoami(X_VX11_Token="{link},{web},{link}") == "link"
    assert whoami(Authorization="Bearer {ci},Bearer {web}") == "ci"
    assert whoami(Authorization="Bearer {ci}", X_VX11_Token="{web}") == "web"


def test_many_tokens_at_once_are_not_looked_up(services):
    """Each would be compared with all that there are."""
    known = [Token.of(Caller("ci"), f"token-{n}") for n in range(5)]
    ours = replace(services, keyring=Keyring(known))
    client = make_app(PerProcess(lambda: ours)).test_client()

    def status(count):
        shown = ",".join(f"token-{n}" for n in range(count))
        return chat(client, {"X-VX11-Token": shown}).status_code

    assert (status(4), status(5)) == (200, 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-VX11-Token": "wrong-token-entirely"},
        {"X-VX11-Token": TOKEN[:-1]},
        {"X-VX11-Token": f"{TOKEN},other"},
        {"X-VX11-Token": f"other,{TOKEN}"},
        {"X-VX11-Token": ",".join([TOKEN, *"abcdefgh"])},
        {"X-VX11-Token": TOKEN, "Authorization": "Bearer other"},
        {"Authorization": f"Bearer {TOKEN},Bearer other"},
        {"Authorization": f"Bearer {TOKEN},Basic YTpi"},
        {"Authorization": f"Bearer Bearer {TOKEN}"},
        {"X-VX11-Token": "t\xf6ken"},
        {"X-VX11-Token": "x" * 8000},
    ],
)
def test_a_wrong_token_is_403_and_never_repeated(client, headers):
    answer = chat(client, headers)

    assert (answer.status_code, answer.json["detail"]) == (403, "forbidden")
    assert "token" not in answer.text


def post_unreadable(client, headers):
    class Body(io.BytesIO):
        def read(self, *args):
            raise AssertionError("the body was read")

    return client.post(
        CHAT,
        headers=headers,
        input_stream=Body(),
        content_type="application/json",
        content_length=10,
    )


def test_the_guard_decides_before_the_body_is_read(client):
    assert post_unreadable(client, {}).status_code == 401


class TestTokensWithLimits:
    """Scope, rate and failures, in the order in which the door decides."""

    @pytest.fixture
    def clock(self):
        return FakeClock(60_000.5)  # a window has just begun

    @pytest.fixture
    def client(self, services, clock):
        limits = SlidingRateLimits(InProcessState(clock), clock=clock)
        keyring = Keyring([Token.of(LINK, TOKEN)], clock=clock)
        keyring.replace(
            [
                Token.of(Caller("ci", frozenset({"chat"}), rate=3), "token-of-ci"),
                Token.of(Caller("ci", frozenset({"chat"}), rate=3), "newer-of-ci"),
                Token.of(Caller("loader", volume=1000), "of-loader"),
                Token.of(Caller("grafana", frozenset({"metrics"})), "of-grafana"),
            ]
        )
        limited = replace(
            services,
            keyring=keyring,
            rate_limits=limits,
            failed_auth=FailedAuth(limits),
            trusted_proxies=("127.0.0.1",),
        )
        return make_app(PerProcess(lambda: limited)).test_client()

    def statuses(self, client, token, times):
        return [chat(client, {"X-VX11-Token": token}).status_code for _ in range(times)]

    def test_row_55_a_token_without_the_scope_is_403_and_on_record(self, client, trail):
        answer = chat(client, {"X-VX11-Token": "of-grafana"})

        assert (answer.status_code, answer.json["detail"]) == (403, "forbidden")
        ((intent, closing),) = trail.closed
        assert (intent.caller, closing.outcome) == ("grafana", "refused")
        assert (closing.code, closing.status) == ("forbidden", 403)

    def test_what_is_left_of_the_rate_is_told(self, client):
        headers = chat(client, {"X-VX11-Token": "token-of-ci"}).headers

        assert headers["RateLimit-Policy"] == '"default";q=3;w=60'
        assert headers["RateLimit"] == '"default";r=2;t=60'

    def test_over_the_rate_it_is_429_until_there_is_room(self, client, clock, trail):
        assert self.statuses(client, "token-of-ci", 3) == [200] * 3

        answer = chat(client, {"X-VX11-Token": "token-of-ci"})
        assert (answer.status_code, answer.json["code"]) == (429, "rate_limited")
        assert answer.headers["RateLimit"] == '"default";r=0;t=60'
        assert trail.closed[-1][1].code == "rate_limited"

        clock.advance(int(answer.headers["Retry-After"]))
        assert chat(client, {"X-VX11-Token": "token-of-ci"}).status_code == 200

    def test_the_tokens_of_a_name_share_its_rate(self, client):
        self.statuses(client, "token-of-ci", 3)

        assert self.statuses(client, "newer-of-ci", 1) == [429]

    def test_a_rate_is_refused_before_the_body_is_read(self, client):
        self.statuses(client, "token-of-ci", 3)

        answer = post_unreadable(client, {"X-VX11-Token": "token-of-ci"})

        assert answer.status_code == 429

    def test_a_token_without_a_rate_has_no_such_headers(self, client):
        assert "RateLimit" not in chat(client, {"X-VX11-Token": TOKEN}).headers
        assert self.statuses(client, TOKEN, 200) == [200] * 200

    def test_the_status_uses_up_no_rate(self, client):
        for _ in range(10):
            answer = client.get(
                "/operator/api/status", headers={"X-VX11-Token": "token-of-ci"}
            )
            assert answer.status_code == 200

        assert self.statuses(client, "token-of-ci", 4) == [200] * 3 + [429]

    def test_over_its_volume_a_token_is_429_before_the_body_is_read(
        self, client, clock, services
    ):
        def ask(size, **headers):
            return client.post(
                CHAT,
                json={"message": "x" * size},
                headers={"X-VX11-Token": "of-loader"} | headers,
            )

        assert [ask(600).status_code for _ in range(3)] == [200, 200, 429]
        refused = post_unreadable(client, {"X-VX11-Token": "of-loader"})
        assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert self.statuses(client, "token-of-ci", 1) == [200]
        clock.advance(120)
        assert ask(600).status_code == 200

    def test_a_body_of_no_announced_length_counts_as_the_longest(self, client):
        headers = {"X-VX11-Token": "of-loader", "Transfer-Encoding": "chunked"}
        first = client.post(
            CHAT,
            input_stream=io.BytesIO(b'{"message": "Hi"}'),
            headers=headers | {"Content-Type": "application/json"},
        )

        assert first.status_code != 429
        assert self.statuses(client, "of-loader", 1) == [429]

    def test_row_54_the_eleventh_wrong_token_of_a_minute_is_429(self, client):
        assert self.statuses(client, "wrong-token", 12) == [403] * 10 + [429] * 2

        answer = chat(client, {"X-VX11-Token": "wrong-token"})
        assert answer.json["code"] == "too_many_failed_auth"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60

    def test_even_the_right_token_is_not_looked_at_then(self, client, clock):
        """Else the limit would bound the answers to guesses, and not the guesses."""
        self.statuses(client, "wrong-token", 20)

        assert self.statuses(client, TOKEN, 1) == [429]
        elsewhere = {"X-VX11-Token": TOKEN, "X-Forwarded-For": "10.1.2.3"}
        assert chat(client, elsewhere).status_code == 200
        clock.advance(120)
        assert self.statuses(client, TOKEN, 1) == [200]

    def test_who_shows_no_token_is_told_401_however_often(self, client):
        assert {chat(client, {}).status_code for _ in range(30)} == {401}
        assert self.statuses(client, "wrong-token", 1) == [403]

    def test_failures_are_logged_with_their_source_and_never_the_token(
        self, client, caplog
    ):
        with caplog.at_level("WARNING"):
            chat(client, {"X-VX11-Token": "wrong-token", "X-Forwarded-For": "10.1.2.3"})

        (message,) = caplog.messages
        assert "source=10.1.2.3" in message
        assert "wrong-token" not in caplog.text

    def test_row_57_a_forged_address_does_not_get_a_count_of_its_own(self, client):
        def attempt(number):
            return client.post(
                CHAT,
                headers={
                    "X-VX11-Token": "wrong-token",
                    "X-Forwarded-For": f"10.0.0.{number}",
                },
                environ_base={"REMOTE_ADDR": "192.0.2.7"},
            ).status_code

        assert [attempt(number) for number in range(12)] == [403] * 10 + [429] * 2

    def test_the_front_door_tells_its_callers_apart(self, client):
        def attempt(number):
            forwarded = {"X-Forwarded-For": f"10.0.0.{number % 2}"}
            return chat(client, {"X-VX11-Token": "wrong-token"} | forwarded).status_code

        assert [attempt(number) for number in range(22)] == [403] * 20 + [429] * 2

    def test_whatever_breaks_in_the_counting_is_no_500(self, client, services):
        class BrokenState(InProcessState):
            def update(self, *args, **options):
                raise OSError("gone")

        limits = SlidingRateLimits(BrokenState())
        broken = replace(services, rate_limits=limits, failed_auth=FailedAuth(limits))
        broken.keyring.replace([Token.of(Caller("ci", rate=3), "token-of-ci")])
        client = make_app(PerProcess(lambda: broken)).test_client()

        assert self.statuses(client, "token-of-ci", 5) == [200] * 3 + [429] * 2
        assert self.statuses(client, "wrong-token", 12) == [403] * 10 + [429] * 2


def test_the_order_is_token_then_scope_then_rate_then_body(client):
    """Nobody is told more than the first reason."""
    assert post_unreadable(client, {}).status_code == 401
    assert post_unreadable(client, {"X-VX11-Token": "wrong"}).status_code == 403


def test_all_wrong_tokens_take_as_long(client, record_property):
    """Reported, with a bound so wide that only a shortcut would break it."""
    kinds = {
        "first byte": b"b" + TOKEN[1:].encode(),
        "last byte": TOKEN[:-1].encode() + b"b",
        "length": TOKEN.encode() * 2,
        "empty": b"",
    }
    keyring = Keyring([Token.of(Caller(f"c{n}"), f"{TOKEN}{n}") for n in range(20)])
    times = {kind: [] for kind in kinds}
    for _ in range(2000):
        for kind, shown in kinds.items():
            began = perf_counter_ns()
            keyring.authenticate(shown)
            times[kind].append(perf_counter_ns() - began)
    medians = {kind: median(taken) / 1000 for kind, taken in times.items()}
    record_property("microseconds", medians)
    print(medians)

    assert max(medians.values()) < 1.5 * min(medians.values())
