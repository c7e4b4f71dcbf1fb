"""The document of the API: true of what the doors take and of what they answer."""

import os
import re
from dataclasses import replace

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.gateway.access.rate_limits import FailedAuth, Unlimited
from app.gateway.access.tokens import Caller, Keyring, Token
from app.gateway.errors import (
    BadReply,
    CallerFault,
    ConnectFailed,
    ContentFiltered,
    Rejected,
    UnknownModel,
)
from app.gateway.shared import InProcessState
from app.services import PerProcess
from app.storage.shared.rate_limits import SlidingRateLimits
from app.storage.trail import open_backend
from app.web import make_app
from app.web.openapi.document import make_document
from app.web.request.auth import ANY, SCOPE
from app.web.request.caller import MILLISECONDS
from tests.storage.making import a_closing, an_intent
from tests.web.conftest import TOKEN

CHAT, COMPLETIONS = "/operator/api/chat", "/v1/chat/completions"
RESPONSES = "/v1/responses"
# Made up for each route, beside the edges of all types; `make soak` asks more often.
EXAMPLES = int(os.environ.get("VX11_FUZZED_REQUESTS", "25"))
# What is for people to look at is not part of the API.
PAGES = {
    "/",
    "/operator",
    "/operator/",
    "/operator/api-docs",
    "/operator/health",
    "/operator/records",
    "/operator/tokens",
    "/operator/usage",
    "/operator/outages",
    "/operator/static/<name>",
}


def nobody():
    raise AssertionError("the document is made without services")


DOCUMENT = make_document(make_app(PerProcess(nobody)))


def operations():
    for path, methods in DOCUMENT["paths"].items():
        for method, told in methods.items():
            yield path, method.upper(), told


class TestDocument:
    def test_free_values_hold_no_nul_however_deep(self):
        """Told without a type: makers of clients drop a union that holds itself."""
        schema = DOCUMENT["components"]["schemas"]["NulFreeValue"]
        known = {"components": {"schemas": {"NulFreeValue": schema}}}
        validator = Draft202012Validator(schema | known)

        fine = [1.5, "a\tb", None, True, [["x"]], {"a": [{"b": "c"}]}]
        bad = ["\0", ["\0"], {"a": [{"b": "\0"}]}, {"a": {"\0": 1}}, [[["\0"]]]]
        assert [v for v in [*fine, *bad] if validator.is_valid(v)] == fine
        assert "type" not in schema

    def test_it_is_valid_openapi(self):
        validate(DOCUMENT)

        assert DOCUMENT["openapi"].startswith("3.1.")

    def test_every_route_is_in_it_with_its_scope(self):
        app = make_app(PerProcess(nobody))

        routes = {
            (method, re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule)): getattr(
                app.view_functions[rule.endpoint], SCOPE
            )
            for rule in app.url_map.iter_rules()
            for method in rule.methods - {"HEAD"}
            if rule.rule not in PAGES
        }

        assert routes == {
            (method, path): scope_of(told) for path, method, told in operations()
        }

    def test_every_operation_has_a_name_of_its_own_and_says_what_it_does(self):
        told = [told for *_, told in operations()]

        assert len({one["operationId"] for one in told}) == len(told)
        assert all(one["summary"].endswith(".") for one in told)

    def test_it_is_served_to_everybody_as_it_is(self, client):
        answer = client.get("/operator/api/openapi.json")

        assert answer.content_type == "application/json"
        assert answer.json == DOCUMENT


def scope_of(told):
    """The same by each way of showing a token; OpenAPI names none for any."""
    if not told["security"]:
        return None
    ways = {way: roles for one in told["security"] for way, roles in one.items()}
    assert ways.keys() >= {"token", "bearer"}
    [[scope]] = {tuple(roles or [ANY]) for roles in ways.values()}
    return scope


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """A database with some records, for the doors that look back."""
    url = f"sqlite:///{tmp_path_factory.mktemp('past')}/audit.db"
    trail = open_backend(url).trail()
    for number in range(3):
        trail.finish(an_intent(correlation_id=f"c{number}"), a_closing(), 10.0)
    trail.close()
    return url


@pytest.fixture
def whole(services, past):
    """Everything is there and well, and no wrong token is one too many."""
    return replace(
        services,
        max_body=1024 * 1024,  # as by default: too many messages have to fit in
        records=open_backend(past).records(),
        activity=open_backend(past).activity(),
        failed_auth=FailedAuth(Unlimited()),
        metrics_page=lambda: b"a 1.0\n",
    )


@pytest.fixture
def app(whole):
    return make_app(PerProcess(lambda: whole))


api = schemathesis.openapi.from_dict(
    DOCUMENT,
    config=SchemathesisConfig.from_dict(
        {"seed": 8, "generation": {"max-examples": EXAMPLES, "deterministic": True}}
    ),
)


DEADLINE = "X-Gateway-Deadline-Ms"


@api.parametrize()
# Only with a parameter has each route an id of its own (pytest 9.2), as xdist wants.
@pytest.mark.parametrize("shown", [{"X-VX11-Token": TOKEN}], ids=["token"])
# All that is made up for a route meets the same gateway, as callers do.
@settings(
    # How fast examples are made up says more of the machine than of the document.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=EXAMPLES,
)
def test_the_doors_do_what_the_document_says(case, shown, app):
    # Some checks ask once more, and look for whom in both places.
    case.operation.app = case.operation.schema.app = app
    # On a busy machine a tenth of a second is used up before anybody is asked.
    asked_for = str((case.headers or {}).get(DEADLINE, ""))
    deadline = {DEADLINE: "30000"} if MILLISECONDS.fullmatch(asked_for) else {}

    case.call_and_validate(headers=shown | deadline)


CONFORMANCE = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def check(answer, path, method="POST"):
    """Hold an answer against what the document says of its route; return it."""
    api[path][method].Case().validate_response(answer, checks=CONFORMANCE)
    return answer


BODIES = {
    CHAT: {"message": "Hi"},
    COMPLETIONS: {"messages": [{"role": "user", "content": "Hi"}]},
    RESPONSES: {"input": "Hi"},
}


@pytest.fixture(params=BODIES)
def ask(request, client, token):
    path = request.param

    def ask(headers=token, client=client, **fields):
        answer = client.post(path, json=BODIES[path] | fields, headers=headers)
        return check(answer, path)

    return ask


class TestAnswers:
    """What schemathesis cannot bring about, because here all is well."""

    def test_an_answer_of_the_second_choice(self, ask, switch):
        switch.fail(ConnectFailed("connect_refused"))

        assert ask().headers["X-Gateway-Fallback-Reason"] == "connect_refused"

    def test_a_stream_to_its_end(self, ask):
        assert ask(stream=True).mimetype == "text/event-stream"

    def test_a_stream_that_breaks(self, ask, switch):
        switch.breaks_with = BadReply("truncated")

        assert '"reply_interrupted"' in ask(stream=True).text

    @pytest.mark.parametrize(
        "error",
        [
            BadReply("schema"),
            CallerFault("upstream_rejected"),
            ContentFiltered("content_filter"),
            UnknownModel("unknown_model"),
            Rejected("upstream_rejected"),
            KeyError("a bug"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_failure(self, ask, switch, madre, error):
        for upstream in (switch, madre):
            upstream.fail(error)

        assert ask().status_code >= 400

    def test_no_record(self, ask, trail):
        trail.is_down = True

        assert ask().status_code == 503

    def test_nobody_whom_we_know(self, ask):
        assert ask(headers={}).status_code == 401
        assert ask(headers={"X-VX11-Token": "wrong"}).status_code in {401, 403}

    def test_too_much_and_nonsense(self, ask):
        assert ask(more="x" * 65536).status_code == 413
        assert ask(stream="yes").status_code in {400, 422}

    def test_too_often(self, services, ask):
        limits = SlidingRateLimits(InProcessState())
        limited = replace(
            services,
            rate_limits=limits,
            failed_auth=FailedAuth(limits),
            keyring=Keyring([Token.of(Caller("seldom", rate=1), TOKEN)]),
        )
        client = make_app(PerProcess(lambda: limited)).test_client()
        wrong = {"X-VX11-Token": "wrong"}

        assert [ask(client=client).status_code for _ in range(2)] == [200, 429]
        assert ask(wrong, client).status_code in {401, 403}
        assert 429 in {ask(wrong, client).status_code for _ in range(10)}

    def test_a_gateway_that_is_not_ready(self, client, trail):
        trail.is_down = True

        assert check(client.get("/readyz"), "/readyz", "GET").status_code == 503
