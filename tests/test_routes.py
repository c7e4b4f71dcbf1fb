"""Every route of the gateway, and who may use it. A new one belongs in the table."""

from app.gateway.access.tokens import ALL_SCOPES
from app.services import PerProcess
from app.web import make_app
from app.web.request.auth import ANY, SCOPE

PUBLIC = None
ROUTES = {
    ("GET", "/health"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/metrics"): "metrics",
    ("GET", "/operator/api/health"): PUBLIC,
    ("GET", "/operator/api/settings"): "admin",
    ("GET", "/operator/api/status"): "chat",
    ("GET", "/operator/api/whoami"): ANY,
    ("GET", "/operator/api/openapi.json"): PUBLIC,
    ("GET", "/operator/api-docs"): PUBLIC,
    ("POST", "/operator/api/chat"): "chat",
    ("POST", "/v1/chat/completions"): "chat",
    ("POST", "/v1/responses"): "chat",
    ("POST", "/v1/completions"): "chat",
    ("POST", "/v1/embeddings"): "chat",
    ("GET", "/v1/models"): "chat",
    ("GET", "/v1/models/<path:model>"): "chat",
    ("POST", "/v1/messages"): "chat",
    ("POST", "/v1/messages/count_tokens"): "chat",
    ("GET", "/operator/api/records"): "audit",
    ("GET", "/operator/api/records/<any_id>"): "audit",
    ("GET", "/operator/api/records/<any_id>/stream"): "audit",
    ("POST", "/operator/api/replays"): "replay",
    ("GET", "/operator/api/windows"): "audit",
    ("GET", "/operator/api/activity"): "audit",
    ("GET", "/operator/api/report"): "audit",
    ("GET", "/operator/api/records/<any_id>/explanation"): "audit",
    ("GET", "/operator/api/anchor"): "audit",
    ("GET", "/operator/api/usage"): "audit",
    ("GET", "/operator/api/upstreams"): "audit",
    ("POST", "/operator/api/upstreams/<name>/health"): "audit",
    ("GET", "/operator/api/tokens"): "admin",
    ("POST", "/operator/api/tokens"): "admin",
    ("DELETE", "/operator/api/tokens/<token_id>"): "admin",
    # The console's pages hold no data; what they show they ask for with a token.
    ("GET", "/"): PUBLIC,
    ("GET", "/operator"): PUBLIC,
    ("GET", "/operator/"): PUBLIC,
    ("GET", "/operator/health"): PUBLIC,
    ("GET", "/operator/records"): PUBLIC,
    ("GET", "/operator/outages"): PUBLIC,
    ("GET", "/operator/usage"): PUBLIC,
    ("GET", "/operator/tokens"): PUBLIC,
    ("GET", "/operator/static/<name>"): PUBLIC,
}


def nobody():
    raise AssertionError("looking at the routes needs no services")


def the_app():
    return make_app(PerProcess(nobody))


def rules():
    app = the_app()
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        for method in rule.methods - {"HEAD"}:
            yield method, rule.rule, view


def test_every_route_says_who_may_use_it():
    assert [path for _, path, view in rules() if not hasattr(view, SCOPE)] == []


def test_every_scope_is_one_that_a_token_can_hold():
    scopes = {getattr(view, SCOPE) for _, _, view in rules()}

    assert scopes - {PUBLIC, ANY} <= ALL_SCOPES
    assert ANY not in ALL_SCOPES


def test_the_routes_and_their_scopes_are_those_of_the_table():
    assert {(m, path): getattr(view, SCOPE) for m, path, view in rules()} == ROUTES


def test_no_route_answers_a_method_that_nobody_wrote():
    """Flask would answer OPTIONS by itself, without a guard."""
    assert {method for method, _, _ in rules()} <= {"GET", "POST", "PUT", "DELETE"}
    assert "static" not in the_app().view_functions
