"""Whose chat it is behind a token that many people share."""

from dataclasses import replace

import pytest

from app.gateway.access.persons import PersonRules
from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.shared import InProcessState
from app.services import PerProcess
from app.storage.shared.rate_limits import SlidingRateLimits
from app.web import make_app
from tests.support.fakes import FakeClock
from tests.web.conftest import TOKEN

CHAT, COMPLETIONS = "/operator/api/chat", "/v1/chat/completions"
WEBUI = {"X-OpenWebUI-User-Id": "ada", "X-OpenWebUI-Chat-Id": "chat-7"}
BODIES = {
    CHAT: {"message": "Hello"},
    COMPLETIONS: {"messages": [{"role": "user", "content": "Hello"}]},
}
DOORS = pytest.mark.parametrize("door", BODIES)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def ask(services, clock):
    """Ask as the token `web`, which may name people, or as another one."""
    tokens = (
        Token.of(Caller("web", rate=50, names_people=True), "token-of-web"),
        Token.of(Caller("ci", rate=50), "token-of-ci"),
    )

    def ask(
        door=COMPLETIONS, headers=(), token="token-of-web", rules=None, **fields
    ):  # of a test
        ours = replace(
            services,
            keyring=Keyring(tokens),
            rate_limits=limits,
            persons=rules or PersonRules(),
        )
        client = make_app(PerProcess(lambda: ours)).test_client()
        shown = {"X-VX11-Token": token} | dict(headers)
        return client.post(door, json=BODIES[door] | fields, headers=shown)

    limits = SlidingRateLimits(InProcessState(clock))
    return ask


@pytest.fixture
def recorded(trail):
    """The person and the session of the chat that ended last."""

    def recorded():
        intent, _ = trail.closed[-1]
        return intent.person, intent.session_id

    return recorded


@DOORS
def test_who_may_names_person_and_session_by_header(ask, recorded, door, caplog):
    with caplog.at_level("INFO"):
        assert ask(door, WEBUI).status_code == 200

    assert recorded() == ("ada", "chat-7")
    assert "caller=web, person=ada" in caplog.text


@DOORS
def test_from_anybody_else_they_count_for_nothing(ask, recorded, door):
    ask(door, WEBUI, token="token-of-ci")

    person, session = recorded()
    assert (person, session != "chat-7") == (None, True)


def test_the_body_names_the_person_where_no_header_does(ask, recorded):
    ask(user="eve")
    assert recorded()[0] == "eve"

    ask(headers=WEBUI, user="eve")
    assert recorded() == ("ada", "chat-7")

    ask(token="token-of-ci", user="eve")
    assert recorded()[0] is None


def test_which_headers_is_a_matter_of_settings(ask, recorded):
    rules = PersonRules(("X-Who", "X-Or-Who"), ("X-Which",))

    ask(headers={"X-Or-Who": "eve", "X-Which": "s-1"} | WEBUI, rules=rules)

    assert recorded() == ("eve", "s-1")


def test_a_session_that_the_body_of_the_native_door_names_is_echoed(ask, recorded):
    answer = ask(CHAT, WEBUI, session_id="mine")

    assert (answer.json["session_id"], recorded()) == ("mine", ("ada", "mine"))


@DOORS
@pytest.mark.parametrize("name", ["x" * 201, "a\tb", f"p-{TOKEN}"])
def test_a_name_that_can_be_none_is_refused_and_never_repeated(ask, door, name):
    answer = ask(door, {"X-OpenWebUI-User-Id": name})

    assert answer.status_code == (422 if door == CHAT else 400)
    assert "X-OpenWebUI-User-Id: must be 1 to 200 characters" in answer.text
    assert name not in answer.text


def test_a_user_that_can_be_none_is_refused_as_well(ask):
    answer = ask(user="x" * 201)

    assert (answer.status_code, answer.json["error"]["param"]) == (400, "user")


class TestRate:
    RULES = PersonRules(rate=2)

    def statuses(self, ask, times=3, **options):
        return [ask(rules=self.RULES, **options).status_code for _ in range(times)]

    @DOORS
    def test_each_person_has_one(self, ask, recorded, trail, door):
        assert self.statuses(ask, door=door, headers=WEBUI) == [200, 200, 429]
        intent, closing = trail.closed[-1]
        assert (intent.person, closing.code) == ("ada", "rate_limited")

        eve = WEBUI | {"X-OpenWebUI-User-Id": "eve"}
        assert self.statuses(ask, door=door, headers=eve) == [200, 200, 429]

    def test_the_body_names_who_has_it_too(self, ask, trail, switch):
        assert self.statuses(ask, user="ada") == [200, 200, 429]
        assert (trail.closed[-1][0].person, switch.calls) == ("ada", 2)
        assert self.statuses(ask, headers=WEBUI, times=1) == [429]

    def test_it_is_told_when_it_is_over(self, ask, clock):
        self.statuses(ask, headers=WEBUI)
        answer = ask(headers=WEBUI, rules=self.RULES)

        assert answer.json["error"]["code"] == "rate_limited"
        clock.advance(int(answer.headers["Retry-After"]) + 0.1)  # past its window
        assert self.statuses(ask, headers=WEBUI, times=1) == [200]

    def test_one_persons_flood_costs_the_others_of_the_token_nothing(self, ask):
        self.statuses(ask, headers=WEBUI, times=60)

        assert self.statuses(ask, times=1) == [200]

    def test_who_may_name_nobody_is_not_held_to_it(self, ask):
        assert self.statuses(ask, headers=WEBUI, token="token-of-ci") == [200] * 3
