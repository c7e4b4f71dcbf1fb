"""The console's pages as they are served: public shells under a strict policy."""

import re
from dataclasses import replace

import pytest

from app.gateway.error_categories import CODES, FAULTS
from app.gateway.errors import CallerGone, GatewayError, ShuttingDown
from app.services import PerProcess
from app.upstreams.madre import DEGRADED_BY
from app.web import make_app
from app.web.operator.console import STATIC, VENDOR
from tests.web.conftest import TOKEN

PAGES = [
    "/operator/",
    "/operator/health",
    "/operator/records",
    "/operator/outages",
    "/operator/usage",
    "/operator/tokens",
]
SCRIPTS = sorted(STATIC.glob("*.js"))
# What turns a text into markup or into a program.
SINKS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment"
    r"|\beval\(|new Function|srcdoc|setHTMLUnsafe|DOMParser|javascript:"
)


def policy(answer):
    directives = answer.headers["Content-Security-Policy"].split("; ")
    return dict(d.partition(" ")[::2] for d in directives)


def test_the_bare_address_leads_to_the_console(client):
    answer = client.get("/")

    assert (answer.status_code, answer.headers["Location"]) == (302, "/operator/")

    elsewhere = client.get("/operator", headers={"Host": "elsewhere.example"})
    assert (elsewhere.status_code, elsewhere.headers["Location"]) == (302, "/operator/")
    assert b"elsewhere" not in elsewhere.data


@pytest.mark.parametrize("page", [*PAGES, "/operator/static/console.css", "/"])
def test_the_policy_lets_a_page_load_nothing_but_our_own(client, page):
    answer = client.get(page)

    assert policy(answer).items() >= {
        ("default-src", "'none'"),
        ("script-src", "'self'"),
        ("style-src", "'self'"),
        ("connect-src", "'self'"),
        ("img-src", "'self'"),
        ("base-uri", "'none'"),
        ("form-action", "'none'"),
        ("frame-ancestors", "'none'"),
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_a_public_shell_without_anything_inline(client, page):
    answer = client.get(page)
    html = answer.text

    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert re.findall(r"<script(?![^>]*\ssrc=)", html) == []
    assert (
        re.findall(r"<style|\sstyle=|\son\w+=|https?://|<form[^>]*action", html) == []
    )
    assert TOKEN not in html
    assert "switch" not in html.replace("made-up switch", "")  # not even a name


@pytest.mark.parametrize("page", PAGES)
def test_whatever_a_page_loads_is_there_in_its_own_type(client, page):
    loaded = re.findall(
        r'(?:src|href)="(/operator/static/[^"]+)"', client.get(page).text
    )
    types = {client.get(path).mimetype for path in loaded}

    assert types == {"text/javascript", "text/css", "image/svg+xml"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_no_script_can_turn_text_into_markup(client, script):
    text = script.read_text()

    assert SINKS.findall(text) == []
    for module in re.findall(r'from "\./([^"]+)"', text):
        assert client.get(f"/operator/static/{module}").status_code == 200


def test_only_the_sanitiser_may_make_markup(client):
    told = policy(client.get("/operator/"))

    assert told["trusted-types"] == "dompurify"
    assert told["require-trusted-types-for"] == "'script'"


def test_what_others_wrote_has_its_licence_beside_it():
    libraries = sorted(VENDOR.glob("*.js"))
    page = (STATIC.parents[2] / "docs/licences.md").read_text()

    assert [path.stem for path in libraries] == ["marked", "purify"]
    for path in libraries:
        assert (VENDOR / f"LICENSE.{path.stem}").stat().st_size > 1000
        (version,) = re.findall(r"(?:marked v|DOMPurify )([\d.]+)", path.read_text())[
            :1
        ]
        assert f"| {version} |" in page


def words_for(table):
    """The codes that a table of the console's words has words for."""
    (rows,) = re.findall(
        rf"^const {table} = {{\n(.*?)^}};",
        (STATIC / "words.js").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    return set(re.findall(r"^  (\w+): \"", rows, re.MULTILINE))


def all_kinds(kind):
    return {kind}.union(*map(all_kinds, kind.__subclasses__()))


@pytest.mark.parametrize(
    "fault",
    [
        *FAULTS,
        *sorted(set(DEGRADED_BY.values())),
        # What ends an attempt from outside is on record by its code.
        *(kind.code for kind in (CallerGone, ShuttingDown, GatewayError)),
    ],
)
def test_every_fault_is_put_into_words(fault):
    assert fault in words_for("FAULTS")


@pytest.mark.parametrize(
    "code", sorted({kind.code for kind in all_kinds(GatewayError)} | set(CODES))
)
def test_every_code_of_a_chat_without_an_answer_is_put_into_words(code):
    assert code in words_for("PROBLEMS")


@pytest.mark.parametrize(
    "name", ["none.js", "..%2fconsole.py", "%2e%2e/console.py", "../base.html", ""]
)
def test_nothing_else_can_be_had_as_a_static_file(client, name):
    assert client.get(f"/operator/static/{name}").status_code == 404


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["nowhere", "static/nowhere", "records/x", "healthy"])
def test_a_person_who_is_lost_gets_a_page(client, path):
    answer = client.get(f"/operator/{path}", headers=BROWSER)

    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "There is no such page" in answer.text
    assert policy(answer)["script-src"] == "'self'"
    assert path not in answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/operator/nowhere", {}),
        ("/operator/nowhere", {"Accept": "application/json"}),
        ("/operator/api/nowhere", BROWSER),
        ("/v1/nowhere", BROWSER),
        ("/nowhere", BROWSER),
    ],
)
def test_a_program_that_is_lost_gets_json(client, path, headers):
    answer = client.get(path, headers=headers)

    assert (answer.status_code, answer.mimetype) == (404, "application/json")


def test_an_open_gateway_asks_nobody_to_sign_in(client, services):
    opened = make_app(PerProcess(lambda: replace(services, keyring=None)))

    assert "data-open" in opened.test_client().get("/operator/").text
    assert "data-open" not in client.get("/operator/").text


def test_the_status_tells_who_is_signed_in_and_whether_there_is_a_sandbox(
    client, token
):
    status = client.get("/operator/api/status", headers=token).json

    assert status["caller"]["name"] == "operator"
    assert "audit" in status["caller"]["scopes"]
    assert status["sandbox"] is False


def test_the_console_links_to_the_page_of_the_sandbox_where_there_is_one(
    client, services
):
    page = "http://127.0.0.1:1234/sandbox/"
    beside = make_app(PerProcess(lambda: replace(services, sandbox_page=page)))

    assert f'href="{page}"' in beside.test_client().get("/operator/").text
    assert "Break it" not in client.get("/operator/").text
