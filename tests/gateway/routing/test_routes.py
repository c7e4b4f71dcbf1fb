import pytest

from app.gateway.abilities import CHAT, COMPLETIONS, EMBEDDINGS, IMAGES, TOOLS
from app.gateway.budget import Budget
from app.gateway.errors import (
    ContextTooLong,
    NoAnswer,
    NobodyAnswered,
    UnknownModel,
    Unsupported,
)
from app.gateway.routing.router import ChatRouter
from app.gateway.routing.routes import Route, RouteTable
from tests.support.fakes import FakeUpstream, a_request

NAMES = ("switch", "vllm", "ollama", "madre")


@pytest.fixture
def upstreams():
    return [FakeUpstream(name) for name in NAMES]


def asked(table, **fields):
    return [u.name for u in table.upstreams_for(a_request(**fields))]


def test_without_routes_everybody_is_asked_in_their_order(upstreams):
    assert asked(RouteTable(upstreams), model="gpt") == list(NAMES)
    assert asked(RouteTable(upstreams)) == list(NAMES)


def test_a_model_that_names_an_upstream_begins_with_that_one(upstreams):
    order = asked(RouteTable(upstreams), model="ollama")

    assert order == ["ollama", "switch", "vllm", "madre"]


ROUTES = [
    Route("gpt-*", ("vllm", "ollama")),
    Route("gpt-4*", ("madre",)),
    Route("gpt-4o", ("ollama", "vllm")),
    Route("vllm", ("madre",)),
    Route("fast", ("switch",)),
]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", ["ollama", "vllm"]),
        ("gpt-4", ["vllm", "ollama"]),
        ("vllm", ["madre"]),
        ("fast", ["switch"]),
        (None, list(NAMES)),
    ],
)
def test_a_route_gives_a_model_its_own_upstreams(upstreams, model, expected):
    assert asked(RouteTable(upstreams, ROUTES), model=model) == expected


@pytest.mark.parametrize("model", ["faster", "GPT-4"])
def test_a_model_that_no_route_has_is_unknown(upstreams, model):
    with pytest.raises(UnknownModel):
        asked(RouteTable(upstreams, ROUTES), model=model)


def test_who_does_not_serve_a_task_is_not_asked_for_it(upstreams):
    tasks = {"vllm": frozenset({EMBEDDINGS}), "ollama": frozenset({CHAT, EMBEDDINGS})}
    table = RouteTable(upstreams, tasks=tasks)

    assert "vllm" not in asked(table)
    assert asked(table, task=EMBEDDINGS) == ["vllm", "ollama"]
    with pytest.raises(Unsupported):
        asked(table, task=COMPLETIONS)


def test_a_route_may_take_all_that_no_other_takes(upstreams):
    table = RouteTable(upstreams, [*ROUTES, Route("*", ("madre",))])

    assert asked(table, model="anything") == asked(table) == ["madre"]


def test_hundreds_of_upstreams_and_routes_are_found_all_the_same():
    upstreams = [FakeUpstream(f"u{i}") for i in range(300)]
    routes = [Route(f"model-{i}", (f"u{i}",)) for i in range(300)]
    table = RouteTable(upstreams, routes)

    assert asked(table, model="model-250") == ["u250"]
    assert len(asked(table, model="u7")) == 300


ABILITIES = {"vllm": frozenset({TOOLS}), "ollama": frozenset({TOOLS, IMAGES})}


@pytest.mark.parametrize(
    ("needs", "expected"),
    [({TOOLS}, ["vllm", "ollama"]), ({TOOLS, IMAGES}, ["ollama"]), ((), list(NAMES))],
)
def test_what_a_request_needs_skips_those_who_can_not(upstreams, needs, expected):
    table = RouteTable(upstreams, abilities=ABILITIES)

    assert asked(table, needs=frozenset(needs)) == expected


def test_what_nobody_can_is_refused_before_anybody_is_asked(upstreams, clock):
    router = ChatRouter(upstreams, clock, abilities={})

    with pytest.raises(Unsupported, match="images, tools"):
        router.open(a_request(needs=frozenset({TOOLS, IMAGES})), Budget(30))

    assert [u.calls for u in upstreams] == [0, 0, 0, 0]


def test_who_was_skipped_for_want_of_ability_degrades_nothing(upstreams, clock):
    router = ChatRouter(upstreams, clock, abilities=ABILITIES)
    request = a_request(needs=frozenset({TOOLS}))

    reply = router.open(request, Budget(30, clock=clock)).collect()

    assert (reply.upstream, reply.is_degraded) == ("vllm", False)


ROUTES_OF_ONE = [Route("llama-3", ("vllm",)), Route("*", ("vllm",))]


def test_the_name_of_an_upstream_is_no_model_to_ask_for(upstreams, clock):
    """A server that is asked for the model `vllm` would say that it knows none."""
    asked_for = []

    class Listening(FakeUpstream):
        def open(self, request, budget, turn=None):
            asked_for.append(request.model)
            return super().open(request, budget)

    listening = Listening("vllm", clock=clock)
    router = ChatRouter([listening], clock, routes=ROUTES_OF_ONE)
    for model in ("vllm", "llama-3", "other", None):
        router.open(a_request(model=model), Budget(30, clock=clock)).collect()

    assert asked_for == [None, "llama-3", "other", None]


def test_many_upstreams_behind_leave_the_first_its_time(clock):
    upstreams = [FakeUpstream(f"u{i}", clock=clock) for i in range(100)]

    ChatRouter(upstreams, clock).open(a_request(), Budget(36, clock=clock)).collect()

    assert upstreams[0].limits == [12]


class TestWhenAllRefuseTheRequestItself:
    def ask(self, upstreams, clock, *errors):
        for upstream, error in zip(upstreams, errors, strict=True):
            upstream.fail(error)
        router = ChatRouter(upstreams, clock)
        return router.open(a_request(), Budget(30, clock=clock))

    def test_their_own_word_for_it_is_told(self, upstreams, clock):
        errors = [ContextTooLong("context_length", status=400) for _ in NAMES]

        with pytest.raises(ContextTooLong) as caught:
            self.ask(upstreams, clock, *errors)

        assert len(caught.value.attempts) == 4

    def test_unless_one_failed_in_another_way(self, upstreams, clock):
        errors = [UnknownModel("unknown_model") for _ in NAMES[1:]]

        with pytest.raises(NobodyAnswered):
            self.ask(upstreams, clock, NoAnswer("reset"), *errors)
