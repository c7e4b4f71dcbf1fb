import pytest

from app.gateway.abilities import JSON, TOOLS
from app.gateway.budget import Budget
from app.gateway.errors import NoAnswer, NobodyAble, NobodyAnswered, Unfit, Unsupported
from app.gateway.routing.router import ChatRouter
from tests.support.fakes import FakeUpstream, a_request

EXTRA = {
    "tools": [{"type": "function"}],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "functions": [],
    "function_call": "auto",
    "temperature": 0.2,
}
WANTED = a_request(wants=frozenset({TOOLS}), extra=EXTRA)
NEEDED = a_request(needs=frozenset({TOOLS}), wants=frozenset({TOOLS}), extra=EXTRA)


class Heard(FakeUpstream):
    """Remembers the fields that it was asked with."""

    def open(self, request, budget, turn=None):
        self.extra = request.extra
        return super().open(request, budget, turn)


@pytest.fixture
def words():
    return Heard("words")


@pytest.fixture
def tools():
    return Heard("tools")


@pytest.fixture
def ask(words, tools, clock):
    router = ChatRouter(
        [words, tools], clock, abilities={"tools": frozenset({TOOLS, JSON})}
    )
    return lambda request: router.open(request, Budget(30, clock=clock)).collect()


def test_who_can_use_tools_is_asked_first_and_with_them(ask, words, tools):
    reply = ask(WANTED)

    assert (reply.upstream, reply.is_degraded, words.calls) == ("tools", False, 0)
    assert (tools.extra, reply.left_out) == (EXTRA, ())


def test_who_cannot_use_them_is_asked_without(ask, words, tools):
    tools.fail(NoAnswer("read_timeout"))

    reply = ask(WANTED)

    assert (reply.upstream, reply.degraded_by) == ("words", "read_timeout")
    assert (words.extra, reply.left_out) == ({"temperature": 0.2}, (TOOLS,))


def test_where_nobody_can_use_them_the_first_is_no_fallback(words, clock):
    router = ChatRouter([words, FakeUpstream("more")], clock)

    reply = router.open(WANTED, Budget(30, clock=clock)).collect()

    assert (reply.upstream, reply.is_degraded) == ("words", False)
    assert reply.left_out == (TOOLS,)


def test_who_is_declared_to_use_them_but_refuses_is_asked_again_without(
    ask, words, tools
):
    """Ollama says so of models without tools, whatever the settings declare."""
    words.fail(NoAnswer("read_timeout"))
    tools.fail(Unfit("unsupported"))

    reply = ask(WANTED)

    assert (reply.upstream, tools.calls, reply.left_out) == ("tools", 2, (TOOLS,))
    assert tools.extra == {"temperature": 0.2}
    assert [a.fault for a in reply.attempts] == ["unsupported", "read_timeout", None]


def test_who_refuses_without_them_too_is_not_asked_a_third_time(ask, words, tools):
    words.fail(Unfit("unsupported"))
    tools.fail(Unfit("unsupported"), times=2)

    with pytest.raises(Unfit):
        ask(WANTED)

    assert (words.calls, tools.calls) == (1, 2)


def test_tools_that_must_be_called_are_asked_of_nobody_else(ask, words, tools):
    tools.fail(NoAnswer("read_timeout"))

    with pytest.raises(NobodyAble) as raised:
        ask(NEEDED)

    assert (words.calls, len(raised.value.attempts)) == (0, 1)
    assert raised.value.retry_after


def test_where_everybody_is_able_nobody_is_said_to_lack_an_ability(ask, words, tools):
    for one in (words, tools):
        one.fail(NoAnswer("read_timeout"))

    with pytest.raises(NobodyAnswered) as raised:
        ask(WANTED)

    assert not isinstance(raised.value, NobodyAble)


def test_a_format_is_needed_of_whoever_answers(ask, tools):
    assert ask(a_request(needs=frozenset({JSON}))).upstream == "tools"

    with pytest.raises(Unsupported):
        ask(a_request(needs=frozenset({JSON, "images"})))
