"""switch and madre, each against its stand-in (docs/contracts.md)."""

import json

import pytest

from app.gateway.budget import Budget
from app.gateway.chat import ChatRequest, Message
from app.gateway.errors import (
    BadReply,
    CallerFault,
    ConnectFailed,
    NoAnswer,
    Refused,
    Rejected,
    UpstreamError,
)
from app.upstreams.http.transport import Transport
from app.upstreams.madre import MadreUpstream
from app.upstreams.switch import SwitchUpstream
from sandbox.server import SandboxServer
from tests.support.fakes import a_request

TOKEN = "canary-token-0123456789"
KINDS = ("switch", "madre")


@pytest.fixture
def transport():
    transport = Transport()
    yield transport
    transport.close()


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def server(kind):
    with SandboxServer(kind, token=TOKEN) as server:
        yield server


@pytest.fixture
def upstream(kind, server, transport):
    return adapter(kind, server.url, transport)


def adapter(kind, url, transport, **options):
    if kind == "madre":
        return MadreUpstream(
            name="madre", url=url, timeout=5.0, transport=transport, **options
        )
    facts = {"token": TOKEN, "metadata_allowed": frozenset({"task_type"})} | options
    return SwitchUpstream(
        name="switch", url=url, timeout=30.0, transport=transport, **facts
    )


def ask(upstream, request=None, seconds=10.0):
    return upstream.open(request or a_request(), Budget(seconds))


def sent(server):
    return json.loads(server.requests[-1].body)


def test_an_upstream_answers_with_its_name_and_model(upstream, kind):
    stream = ask(upstream)
    reply = stream.collect()

    assert reply.text
    assert (reply.upstream, reply.is_degraded) == (kind, False)
    assert reply.model not in {"", kind, "madre-local"}
    assert (stream.status, stream.received > 0) == (200, True)


def test_text_of_any_script_comes_back_as_it_was_said(upstream, server):
    text = "žluťoučký 日本語 👩\u200d👩\u200d👧 \u202e <b>&amp;</b>"
    server.break_with("unicode_text", text=text)

    assert ask(upstream).collect().text == text


def test_what_no_database_of_madre_takes_is_replaced(upstream, kind, server):
    turns = (Message("tool", "PK\x00\x01"), Message("user", "What is it? \x00"))
    ask(upstream, a_request()._replace(messages=turns))

    assert ("\\u0000" in server.requests[-1].body.decode()) is (kind == "switch")


def test_every_chat_carries_its_id_and_the_time_that_is_left(upstream, server):
    ask(upstream, a_request(correlation_id="c-77"), seconds=7.0)

    seen = server.requests[-1]
    assert seen.header("x-correlation-id") == "c-77"
    assert 6000 < int(seen.header("x-gateway-deadline-remaining-ms")) <= 7000
    assert sent(server)["correlation_id"] == "c-77"
    assert sent(server)["session_id"] == "s-1"


FAULTS = {
    "refuse": (ConnectFailed, "connect_refused"),
    "close_at_once": (NoAnswer, "reset"),
    "reset_mid_body": (BadReply, "truncated"),
    "short_content_length": (BadReply, "truncated"),
    "truncated_chunked": (BadReply, "truncated"),
    "close_mid_header": (BadReply, "empty_body"),
    "cut_without_length": (BadReply, "bad_json"),
    "html": (BadReply, "bad_content_type"),
    "empty": (BadReply, "bad_json"),
    "not_json": (BadReply, "bad_json"),
    "json_list": (BadReply, "bad_json"),
    "deep_json": (BadReply, "bad_json"),
    "status_error": (BadReply, "upstream_error"),
    "status_partial": (BadReply, "upstream_error"),
    "wrong_schema": (BadReply, "schema"),
    "reply_null": (BadReply, "schema"),
    "reply_number": (BadReply, "schema"),
    "reply_list": (BadReply, "schema"),
    "reply_object": (BadReply, "schema"),
    "reply_empty": (BadReply, "schema"),
    "reply_blank": (BadReply, "schema"),
    "reply_missing": (BadReply, "schema"),
    "bad_utf8": (BadReply, "bad_encoding"),
    "utf16": (BadReply, "bad_encoding"),
    "bom": (BadReply, "bad_encoding"),
    "lone_surrogate": (BadReply, "bad_encoding"),
    "huge_body": (BadReply, "too_large"),
    "huge_endless": (BadReply, "too_large"),
    "huge_header": (BadReply, "protocol"),
    "gzip_bomb": (BadReply, "bad_encoding"),
    "double_gzip": (BadReply, "bad_encoding"),
    "redirect": (BadReply, "redirect"),
    "tls_garbage": (BadReply, "protocol"),
    "not_http": (BadReply, "protocol"),
    "rate_limited": (Refused, "rate_limited"),
    "http_status": (Refused, "http_5xx"),
    "unauthorized": (Refused, "upstream_auth"),
    "reject_400": (CallerFault, "upstream_rejected"),
    "reject_422": (Rejected, "upstream_rejected"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_of_an_upstream_has_its_class(name, upstream, server):
    kind, fault = FAULTS[name]
    server.break_with(name)

    with pytest.raises(kind) as caught:
        ask(upstream)

    assert caught.value.fault == fault
    assert everything_said(caught.value).isdisjoint({TOKEN, server.url, "Traceback"})


def everything_said(error):
    """The words of an error and of whatever it came from."""
    words = set()
    while error is not None:
        words.update(repr(error).split(), str(error).split())
        error = error.__cause__
    return words


SLOW_FAULTS = {
    "hang": "read_timeout",
    "frozen": "read_timeout",
    "header_drip": "deadline",
    "body_drip": "deadline",
    "endless_100_continue": "deadline",
}


@pytest.mark.parametrize("name", SLOW_FAULTS)
def test_each_way_to_be_slow_has_its_class(name, upstream, server):
    server.break_with(name)

    with pytest.raises(NoAnswer) as caught:
        ask(upstream, seconds=0.5)

    assert caught.value.fault == SLOW_FAULTS[name]


@pytest.mark.parametrize("name", ["set_cookie", "header_injection"])
def test_hostile_headers_around_a_good_reply_change_nothing(name, upstream, server):
    server.break_with(name)
    assert ask(upstream).collect().text
    server.heal()

    ask(upstream)

    names = {name.lower() for name, _ in server.requests[-1].headers}
    assert "cookie" not in names


def test_a_chat_is_asked_once_per_call(upstream, server):
    server.break_with("http_status", status=500)
    with pytest.raises(Refused):
        ask(upstream)

    assert server.chats == 1


def test_a_reused_connection_found_closed_is_the_one_repetition(upstream, server):
    ask(upstream)
    server.break_with("close_on_reuse", times=1)

    assert ask(upstream).collect().text


def test_an_error_tells_how_much_had_come(upstream, server):
    server.break_with("reply_empty")

    with pytest.raises(BadReply) as caught:
        ask(upstream)

    assert caught.value.status == 200
    assert caught.value.received > 0


class TestPing:
    def test_health_is_asked_without_a_token_and_costs_no_chat(self, upstream, server):
        upstream.ping(Budget(2.0))

        seen = server.requests[-1]
        assert (seen.method, seen.path, server.chats) == ("GET", "/health", 0)
        assert seen.header("x-vx11-token") == ""

    def test_it_may_have_a_path_of_its_own_on_the_server(self, kind, server, transport):
        behind = adapter(kind, f"{server.url}/base", transport, health="/alive?deep=1")

        behind.ping(Budget(2.0))

        assert server.requests[-1].path.partition("?")[0] == "/alive"
        assert server.requests[-1].header("x-vx11-token") == ""

    @pytest.mark.parametrize("status", [200, 302, 401, 404, 429])
    def test_any_answer_below_500_is_a_sign_of_life(self, status, upstream, server):
        server.break_with("http_status", path="/health", status=status)

        upstream.ping(Budget(2.0))

    @pytest.mark.parametrize(
        ("name", "fault"),
        [("frozen", "read_timeout"), ("refuse", "connect_refused")],
    )
    def test_no_answer_is_none(self, name, fault, upstream, server):
        server.break_with(name)

        with pytest.raises(UpstreamError, match=f"^{fault}$"):
            upstream.ping(Budget(0.4))

    def test_a_broken_service_is_not_alive(self, upstream, server):
        server.break_with("http_status", path="/health", status=503)

        with pytest.raises(Refused, match=r"^http_5xx$"):
            upstream.ping(Budget(2.0))


@pytest.mark.parametrize("kind", ["switch"])
class TestSwitch:
    def test_it_is_shown_our_token_in_its_own_header(self, upstream, server):
        ask(upstream)

        assert server.requests[-1].header("x-vx11-token") == TOKEN
        assert server.requests[-1].header("authorization") == ""

    def test_it_gets_the_whole_conversation(self, upstream, server):
        turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))

        ask(upstream, ChatRequest(turns, "s", "c"))

        assert sent(server)["messages"] == [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]

    def test_only_allowed_metadata_steers_it(self, upstream, server):
        metadata = {"task_type": "chat", "force_cli": True, "token": "x"}

        ask(upstream, a_request(metadata=metadata))

        assert sent(server)["metadata"] == {"task_type": "chat"}

    def test_without_metadata_it_gets_an_object(self, upstream, server):
        ask(upstream)

        assert sent(server)["metadata"] == {}

    def test_a_wrong_token_is_our_fault_and_not_the_callers(
        self, kind, server, transport
    ):
        wrong = adapter(kind, server.url, transport, token="another-token")

        with pytest.raises(Refused, match=r"^upstream_auth$"):
            ask(wrong)


@pytest.mark.parametrize("kind", ["madre"])
class TestMadre:
    def test_it_is_shown_a_token_only_if_it_is_given_one(
        self, kind, upstream, server, transport
    ):
        ask(upstream)
        ask(adapter(kind, server.url, transport, token=TOKEN))

        shown = [seen.header("x-vx11-token") for seen in server.requests]
        assert shown == ["", TOKEN]

    def test_it_gets_the_last_question_and_the_rest_as_context(self, upstream, server):
        turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "a"))

        ask(upstream, ChatRequest(turns, "s", "c", context={"page": 1}))

        assert sent(server)["message"] == "a"
        assert sent(server)["context"] == {
            "page": 1,
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
            ],
        }

    def test_what_the_caller_put_in_the_context_stays(self, upstream, server):
        turns = (Message("system", "x"), Message("user", "a"))

        ask(upstream, ChatRequest(turns, "s", "c", context={"messages": "mine"}))

        assert sent(server)["context"] == {"messages": "mine"}

    def test_without_context_it_gets_an_object(self, upstream, server):
        ask(upstream)

        assert sent(server)["context"] == {}

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            ("WAITING", "needs_confirmation"),
            ("PENDING", "unfinished"),
            ("RUNNING", "unfinished"),
        ],
    )
    def test_a_reply_that_is_not_done_is_degraded(
        self, status, reason, upstream, server
    ):
        server.break_with("waiting", status=status)

        reply = ask(upstream).collect()

        assert reply.text
        assert reply.degraded_by == reason
