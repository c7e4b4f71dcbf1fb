"""The sixteen behaviours of an OpenAI-speaking upstream that has a fallback.

At the core's door, with everything that is behind it: wiring, record, guards,
retries, splicing, real servers. Times are scaled down: what is 10 s at an operator's
is 1 s here. Each is asked for in three ways: whole, live and verified.
"""

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import StreamMode, Usage
from app.gateway.errors import ContentFiltered, Interrupted
from app.settings import load
from app.wiring import build_services
from sandbox.openai import OpenAI, Voice
from sandbox.server import SandboxServer
from tests.support.fakes import a_request
from tests.support.stack import TOKEN, wait_until

WORDS = 60
SAYS = {
    "primary": " ".join(f"one{i}" for i in range(WORDS)),
    "fallback": " ".join(f"two{i}" for i in range(WORDS)),
}
DEADLINE = 8.0
ASKED_IN = {
    "whole": {"stream": False},
    "live": {"stream": True, "stream_mode": StreamMode.LIVE},
    "verified": {"stream": True, "stream_mode": StreamMode.VERIFIED},
}


@dataclass(frozen=True)
class Behaviour:
    """What the primary does, and what must follow from it.

    `faults` are those of the attempts, in their order; `breaks` says that it happens
    after the first words of a stream; `within` is in seconds.
    """

    what: str
    fault: str
    knobs: dict = field(default_factory=dict)
    times: int | None = None
    answered_by: str = "fallback"
    faults: tuple = ()
    faults_if_whole: tuple = ()
    breaks: bool = False
    within: float = 6.0


BEHAVIOURS = [
    Behaviour(
        "429 with Retry-After, then fine: waits, same upstream",
        "rate_limited",
        {"retry_after": "1"},
        times=1,
        answered_by="primary",
        faults=("rate_limited",),
    ),
    Behaviour(
        "429 without end: at most 4 attempts in 3 s, then the fallback",
        "rate_limited",
        {"retry_after": ""},
        faults=("rate_limited",) * 3,
        within=3,
    ),
    Behaviour(
        "500 once: the same upstream again",
        "http_status",
        {"status": 500},
        times=1,
        answered_by="primary",
        faults=("http_5xx",),
    ),
    Behaviour("503 for ever", "http_status", {"status": 503}, faults=("http_5xx",) * 2),
    Behaviour(
        "reset before headers", "close_at_once", {"reset": True}, faults=("reset",) * 2
    ),
    Behaviour(
        "silence: the fallback after the first time-out, no second try",
        "hang",
        faults=("first_token",),
        faults_if_whole=("read_timeout",),
    ),
    Behaviour(
        "first token only after 20 s",
        "stream_late",
        faults=("first_token",),
        faults_if_whole=("read_timeout",),
    ),
    Behaviour(
        "stream cut after 40 of 60 words",
        "stream_cut",
        faults=("truncated",),
        breaks=True,
    ),
    Behaviour(
        "stream silent for 30 s after 20 words",
        "stream_stall",
        faults=("stream_idle",),
        faults_if_whole=("deadline",),
        breaks=True,
    ),
    Behaviour(
        "malformed tenth event, of no word",
        "stream_malformed",
        answered_by="primary",
    ),
    Behaviour(
        "no [DONE]",
        "stream_no_done",
        {"hold": True},
        answered_by="primary",
    ),
    Behaviour(
        "context-length 400: the next upstream, no retry",
        "context_length",
        faults=("context_length",),
    ),
]


@pytest.fixture(scope="module")
def servers():
    voices = {
        "primary": Voice(SAYS["primary"], model="big"),
        "fallback": Voice(SAYS["fallback"], model="small"),
        "twin": Voice(SAYS["primary"], model="big-too"),
    }
    with ExitStack() as running:
        yield {
            name: running.enter_context(SandboxServer(OpenAI(voice=voice)))
            for name, voice in voices.items()
        }


@pytest.fixture
def healed(servers):
    yield servers
    for server in servers.values():
        server.heal()


@pytest.fixture
def primary(healed):
    return healed["primary"]


@pytest.fixture
def fallback(healed):
    return healed["fallback"]


@pytest.fixture
def start(healed, tmp_path):
    """Start gateways in this process, to be asked at their core's door."""
    running = []

    def start(*names):
        settings = load(
            token=TOKEN,
            audit_url=f"sqlite:///{tmp_path / 'audit.db'}",
            shared_dir=tmp_path,
            metrics_dir=tmp_path,
            upstreams=[entry(name, healed[name]) for name in names],
        )
        running.append(build_services(settings))
        return running[-1]

    yield start
    for services in running:
        services.close()


def entry(name, server):
    return {
        "name": name,
        "kind": "openai",
        "url": f"{server.url}/v1",
        "timeout": 3,
        "first_token_timeout": 1,
        "idle_timeout": 1,
        "retries": 2,
    }


@pytest.fixture
def gateway(start):
    return start("primary", "fallback")


@pytest.fixture(params=ASKED_IN)
def mode(request):
    return request.param


def ask(gateway, mode, **fields):
    request = a_request(**ASKED_IN[mode], **fields)
    return gateway.chat.open(request, Budget(DEADLINE))


def faults(reply):
    return tuple(a.fault for a in reply.attempts if a.fault)


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda b: b.what)
def test_an_answer_is_whole_or_an_error_says_that_it_is_not(
    gateway, primary, mode, behaviour
):
    primary.break_with(behaviour.fault, times=behaviour.times, **behaviour.knobs)
    before, started = primary.chats, monotonic()
    stream = ask(gateway, mode)

    if behaviour.breaks and mode == "live":
        with pytest.raises(Interrupted):
            stream.collect()
        assert SAYS["primary"].startswith(stream.reply.text)
        assert faults(stream.reply) == (*behaviour.faults, "diverged")
        return

    reply = stream.collect()
    assert reply.text == SAYS[behaviour.answered_by]
    assert reply.upstream == behaviour.answered_by
    assert reply.is_degraded == (reply.upstream == "fallback")
    expected = behaviour.faults_if_whole if mode == "whole" else ()
    assert faults(reply) == (expected or behaviour.faults)
    tries = len(behaviour.faults) + (reply.upstream == "primary")
    assert primary.chats - before == tries
    assert monotonic() - started < behaviour.within


MID_STREAM = pytest.mark.parametrize(
    ("fault", "knobs", "meaning"),
    [
        ("stream_cut", {"after": 40}, "truncated"),
        ("stream_cut", {"after": 40, "clean": True}, "truncated"),
        ("stream_stall", {"after": 20}, "stream_idle"),
        ("stream_heartbeats", {"after": 20, "interval": 0.1}, "stream_idle"),
        ("stream_malformed", {"at": 10, "instead": True}, "protocol"),
        ("stream_error", {"after": 10}, "upstream_error"),
    ],
)


@MID_STREAM
def test_a_live_stream_goes_on_with_a_fallback_that_says_the_same(
    start, primary, fault, knobs, meaning
):
    primary.break_with(fault, **knobs)

    reply = ask(start("primary", "twin"), "live").collect()

    assert reply.text == SAYS["primary"]
    assert (reply.upstream, reply.model) == ("twin", "big-too")
    assert faults(reply) == (meaning,)


@MID_STREAM
def test_a_verified_stream_is_whole_whatever_breaks(
    gateway, primary, fault, knobs, meaning
):
    primary.break_with(fault, **knobs)

    reply = ask(gateway, "verified").collect()

    assert reply.text == SAYS["fallback"]
    assert faults(reply) == (meaning,)


def test_a_content_filters_refusal_goes_to_the_caller_as_it_is(
    gateway, primary, fallback, mode
):
    primary.break_with("content_filter")
    before = primary.chats, fallback.chats

    with pytest.raises(ContentFiltered):
        ask(gateway, mode)

    assert (primary.chats, fallback.chats) == (before[0] + 1, before[1])


def test_a_fallback_that_rejects_an_assistant_prefill_is_never_sent_one(
    gateway, primary, fallback
):
    """Going on where a stream broke is done by comparing, not by prefilling."""
    primary.break_with("stream_cut")
    fallback.break_with("rejects_prefill")

    assert ask(gateway, "verified").collect().text == SAYS["fallback"]
    assert fallback.requests[-1].json()["messages"] == [
        {"role": "user", "content": "Hello"}
    ]


def test_an_upstream_that_was_down_is_back_soon_and_was_asked_little(
    gateway, primary, fallback, mode
):
    primary.break_with("refuse")
    served = [ask(gateway, mode).collect().upstream for _ in range(20)]
    assert set(served) == {"fallback"}
    probes = len(primary.requests)

    primary.heal()

    wait_until(lambda: ask(gateway, mode).collect().upstream == "primary", limit=30)
    seen = [request.path for request in primary.requests[probes:]]
    assert seen.count("/v1/models") <= 5


def test_the_account_names_the_fallbacks_model_and_usage(gateway, primary, mode):
    primary.break_with("http_status", status=503)

    reply = ask(gateway, mode, model="wanted").collect()

    assert (reply.upstream, reply.model) == ("fallback", "small")
    assert reply.usage == Usage(1, WORDS)


def test_hanging_up_reaches_the_upstream_and_leaves_what_was_sent(gateway, primary):
    primary.break_with("stream_stall", after=3)
    left = primary.closed_by_peer
    stream = ask(gateway, "live")
    said = next(stream).text
    started = monotonic()

    stream.close()

    assert primary.wait_for_closed_by_peer(left + 1)
    assert monotonic() - started < 2
    record = gateway.records.get(stream.reply.audit_id)
    assert record.outcome == "cancelled"
    assert json.loads(record.reply) == {"text": said}


def test_routes_lead_each_model_to_its_own_upstreams(healed, tmp_path):
    settings = load(
        token=TOKEN,
        audit_url=f"sqlite:///{tmp_path / 'audit.db'}",
        shared_dir=tmp_path,
        metrics_dir=tmp_path,
        upstreams=[entry(name, healed[name]) for name in ("primary", "fallback")],
        routes=[
            {"model": "small*", "upstreams": ["fallback"]},
            {"model": "alias", "upstreams": ["fallback", "primary"]},
            {"model": "*", "upstreams": ["primary", "fallback"]},
        ],
    )
    services = build_services(settings)

    answered = {
        model: ask(services, "whole", model=model).collect().upstream
        for model in ("small-1", "alias", "fallback", "other", None)
    }

    services.close()
    listed = [model.name for model in services.models.listed]
    assert listed == ["alias", "primary", "fallback"]
    assert answered == {
        "small-1": "fallback",
        "alias": "fallback",
        "fallback": "fallback",
        "other": "primary",
        None: "primary",
    }
