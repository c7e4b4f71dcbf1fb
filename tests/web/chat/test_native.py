import uuid

import pytest

from app.gateway.errors import BadReply, CallerFault, ConnectFailed, NoAnswer
from tests.web.conftest import TOKEN

CHAT = "/operator/api/chat"

# Of the kind that a file of tokens holds; fixed, because it names tests.
FILE_TOKEN = "vx11_Canary-0123456789_Canary-0123456789_abcdefg"


def is_uuid4(text):
    return uuid.UUID(text).version == 4


@pytest.fixture
def ask(client, token):
    def ask(message="Hello", headers=(), **fields):
        return client.post(
            CHAT, json={"message": message} | fields, headers=token | dict(headers)
        )

    return ask


class TestAnswer:
    def test_it_has_all_nine_fields(self, ask):
        body = ask(session_id="s-9", correlation_id="c-9").json

        assert body.pop("latency_ms") >= 0
        assert body == {
            "response": "Hi",
            "model_used": "m",
            "correlation_id": "c-9",
            "session_id": "s-9",
            "provider": "switch",
            "provider_used": "switch",
            "status": "ok",
            "degraded": False,
        }

    def test_the_fallback_is_no_secret(self, ask, switch):
        switch.fail(NoAnswer("read_timeout"))

        answer = ask()

        assert answer.status_code == 200
        assert answer.json["provider"] == "madre"
        assert (answer.json["status"], answer.json["degraded"]) == ("degraded", True)
        assert answer.headers["X-Gateway-Fallback-Reason"] == "read_timeout"

    def test_headers_say_who_answered_and_where_the_time_went(self, ask, switch, trail):
        switch.fail(ConnectFailed("connect_refused"))

        headers = ask().headers

        assert headers["X-Gateway-Provider"] == "madre"
        assert headers["X-Gateway-Attempts"] == "2"
        assert headers["X-Gateway-Audit-Id"] == trail.closed[0][0].id
        timing = [part.split(";")[0] for part in headers["Server-Timing"].split(", ")]
        assert timing == ["queue", "switch", "madre", "audit"]
        assert 'desc="connect_refused"' in headers["Server-Timing"]

    def test_nobody_may_store_it(self, ask):
        assert ask().headers["Cache-Control"] == "no-store"

    def test_unknown_fields_are_ignored(self, ask):
        assert ask(stream_options={"x": 1}, foo="bar").status_code == 200

    @pytest.mark.parametrize("absent", [None, ""])
    def test_missing_ids_are_made(self, ask, absent):
        body = ask(session_id=absent, correlation_id=absent).json

        assert is_uuid4(body["session_id"])
        assert is_uuid4(body["correlation_id"])

    def test_null_context_and_metadata_become_empty(self, ask, switch):
        assert ask(context=None, metadata=None).status_code == 200


class TestCorrelationId:
    def test_a_header_is_taken_and_returned_everywhere(self, ask, trail):
        answer = ask(headers={"X-Correlation-ID": "from-header"})

        assert answer.json["correlation_id"] == "from-header"
        assert answer.headers["X-Correlation-ID"] == "from-header"
        assert trail.closed[0][0].correlation_id == "from-header"

    def test_the_body_wins_over_the_header(self, ask):
        answer = ask(headers={"X-Correlation-ID": "h"}, correlation_id="b")

        assert answer.headers["X-Correlation-ID"] == "b"

    def test_a_repeated_equal_header_counts_once(self, ask):
        assert ask(headers={"X-Correlation-ID": "a,a"}).json["correlation_id"] == "a"

    @pytest.mark.parametrize(
        "bad", ["a,b", "tab\there", "caf\xe9", "x" * 129, "a b", "😀", "a\r\nSet: x"]
    )
    def test_a_malformed_one_is_replaced_and_never_reflected(self, ask, bad):
        answer = ask(correlation_id=bad)

        assert answer.status_code == 200
        assert is_uuid4(answer.json["correlation_id"])
        assert is_uuid4(answer.headers["X-Correlation-ID"])

    @pytest.mark.parametrize("secret", [TOKEN, f"x-{TOKEN}-y", FILE_TOKEN])
    def test_one_that_holds_a_token_goes_nowhere(self, ask, trail, secret):
        for where in (
            {"correlation_id": secret},
            {"headers": {"X-Correlation-ID": secret}},
        ):
            answer = ask(**where)

            assert is_uuid4(answer.json["correlation_id"])
            assert secret not in f"{answer.headers}{trail.closed[-1]}"

    def test_it_is_on_errors_too(self, client, token):
        lost = {"X-Correlation-ID": "lost"}
        answer = client.get("/operator/api/records/none", headers=token | lost)

        assert answer.status_code == 404
        assert (
            answer.headers["X-Correlation-ID"]
            == answer.json["correlation_id"]
            == "lost"
        )

    def test_it_does_not_stay_with_the_thread(self, ask):
        ask(headers={"X-Correlation-ID": "first"})

        assert ask().headers["X-Correlation-ID"] != "first"


@pytest.mark.parametrize("text", ["\x1b[31mError\x1b[0m", "\x01", "\x7f\x85", "a\r\tb"])
def test_what_a_terminal_or_a_program_prints_is_a_message(ask, switch, text):
    answer = ask(message=text, context={text: [text]}, metadata={"log": text})

    assert answer.status_code == 200
    assert switch.asked[-1].last_user_message == text


@pytest.mark.parametrize("secret", [TOKEN, f"x-{TOKEN}-y", FILE_TOKEN])
def test_a_session_id_that_holds_a_token_is_replaced(ask, trail, secret):
    answer = ask(session_id=secret)

    assert is_uuid4(answer.json["session_id"])
    assert secret not in f"{answer.text}{trail.closed[-1]}"


class TestRefusal:
    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"message": None}, "message"),
            ({"message": 5}, "message"),
            ({"message": "  "}, "message"),
            ({"message": "nul \x00"}, "message"),
            ({"session_id": 7}, "session_id"),
            ({"session_id": "s" * 201}, "session_id"),
            ({"session_id": "a\x1b[2J"}, "session_id"),
            ({"correlation_id": {}}, "correlation_id"),
            ({"context": [1]}, "context"),
            ({"context": {"a": ["\x00"]}}, "context.a.0"),
            ({"metadata": "secret-value"}, "metadata"),
            ({"metadata": {"\x00": 1}}, "metadata.*"),
        ],
    )
    def test_a_bad_field_is_named_and_its_value_never_repeated(
        self, ask, fields, named
    ):
        answer = ask(**fields)

        assert answer.status_code == 422
        assert answer.json["detail"].startswith(f"{named}: ")
        assert answer.json["errors"][0]["field"] == named
        assert "secret-value" not in answer.text

    def test_a_missing_message_is_named(self, client, token):
        answer = client.post(CHAT, json={}, headers=token)

        assert answer.json["detail"] == "message: field required"

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"{", b"[]", b"null", b'"x"', b'{"message": "\xff"}',
            '{"message": "x"}'.encode("utf-16"), b"\xef\xbb\xbf{}",
            b'{"message": "\\ud800"}', b'{"message": "x", "context": {"n": NaN}}',
            b'{"message": "x", "context": {"n": %s}}' % (b"9" * 5000),
            b"[" * 30_000,
        ],
        ids=["empty", "cut", "list", "null", "string", "bad utf-8", "utf-16", "bom",
             "surrogate", "nan", "huge int", "deep"],
    )  # fmt: skip
    def test_what_is_no_json_object_is_422(self, client, token, body):
        answer = client.post(
            CHAT, data=body, content_type="application/json", headers=token
        )

        assert answer.status_code == 422
        assert answer.json["detail"].startswith(("body: ", "message: "))

    @pytest.mark.parametrize(
        ("member", "place"),
        [
            ('"metadata":{"task_type":1e999}', "metadata.task_type"),
            ('"metadata":{"n":[0,-1E+999]}', "metadata.n.1"),
            ('"context":{"n":' + "9" * 400 + ".5}", "context.n"),
            ('"context":{"a secret":1e400}', "context.*"),
            ('"unknown":1e0999', "unknown"),
        ],
    )
    def test_a_number_that_no_float_holds_is_named(self, client, token, member, place):
        answer = client.post(
            CHAT,
            data=f'{{"message":"Hi",{member}}}',
            content_type="application/json",
            headers=token,
        )

        assert answer.status_code == 422
        assert answer.json["errors"][0]["field"] == place

    @pytest.mark.parametrize(
        "number", ["1e308", "-1e308", "1e-999", "1e+5", "0.1", "9" * 400]
    )
    def test_a_number_that_one_holds_is_let_through(self, client, token, number):
        answer = client.post(
            CHAT,
            data=f'{{"message":"1e999 is a number","context":{{"n":{number}}}}}',
            content_type="application/json",
            headers=token,
        )

        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Content-Type": "text/plain"},
            {"Content-Type": ""},
            {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        ],
    )
    def test_only_plain_json_is_read(self, client, token, headers):
        answer = client.post(CHAT, data=b"{}", headers=token | headers)

        assert answer.status_code == 415

    def test_a_body_over_the_limit_is_413(self, ask):
        assert ask("x" * 65536).status_code == 413

    @pytest.mark.parametrize(
        "bad", ["soon", "-5", "0", "99", "", "1e3", "99999999", "٣"]
    )
    def test_a_deadline_that_is_no_number_is_422(self, ask, bad):
        answer = ask(headers={"X-Gateway-Deadline-Ms": bad})

        assert answer.status_code == 422
        assert answer.json["errors"][0]["field"] == "X-Gateway-Deadline-Ms"

    def test_a_refused_request_is_on_record(self, ask, trail):
        ask(session_id=7)

        assert [c.code for _, c in trail.closed] == ["invalid_request"]

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", CHAT, 405), ("OPTIONS", CHAT, 405), ("TRACE", CHAT, 405),
            ("GET", "/nowhere", 404), ("GET", "/operator/../etc", 404),
            ("GET", "/%00", 404), ("POST", CHAT + "/", 404),
            ("GET", "/" + "x" * 4100, 414),
        ],
    )  # fmt: skip
    def test_every_other_way_in_is_json_too(self, client, method, path, status):
        answer = client.open(path, method=method)

        assert answer.status_code == status
        assert set(answer.json) >= {"detail", "code", "correlation_id"}


class TestFailure:
    def test_when_everything_fails_the_caller_gets_a_code_and_a_time(
        self, ask, switch, madre
    ):
        switch.fail(ConnectFailed("connect_refused"))
        madre.fail(BadReply("schema"))

        answer = ask()

        assert (answer.status_code, answer.json["code"]) == (
            503,
            "upstream_unavailable",
        )
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.headers["X-Gateway-Attempts"] == "2"
        assert "schema" not in answer.text

    def test_a_request_that_no_upstream_takes_is_502(self, ask, switch):
        switch.fail(CallerFault("upstream_rejected", status=422))

        answer = ask()

        assert (answer.status_code, answer.json["code"]) == (502, "upstream_rejected")

    def test_without_a_record_there_is_no_answer(self, ask, trail, switch):
        trail.is_down = True

        answer = ask()

        assert (answer.status_code, answer.json["code"]) == (503, "audit_unavailable")
        assert switch.calls == 0

    def test_a_bug_in_our_adapters_tells_nothing(self, ask, switch, madre):
        for upstream in (switch, madre):
            upstream.fail(KeyError("http://switch:8002/secret"))

        answer = ask()

        assert answer.status_code == 503
        assert answer.json["code"] == "upstream_unavailable"
        assert "secret" not in answer.text


class TestDeadline:
    def test_a_caller_may_ask_for_less(self, ask, switch):
        ask(headers={"X-Gateway-Deadline-Ms": "4000"})

        assert switch.limits[0] == pytest.approx(2, abs=0.2)

    def test_a_caller_cannot_ask_for_more(self, ask, switch):
        ask(headers={"X-Gateway-Deadline-Ms": "9000000"})

        assert switch.limits[0] == pytest.approx(30, abs=0.2)
