"""The page of the API: all that the document says, and nothing from elsewhere."""

import re
import shlex
from html import unescape

import pytest

from docs.api_page import curl, kind_of
from tests.web.operator.test_console import policy

PAGE = "/operator/api-docs"


@pytest.fixture
def page(client):
    return client.get(PAGE)


@pytest.fixture
def document(client):
    return client.get("/operator/api/openapi.json").json


def test_it_is_public_and_under_the_policy_of_the_console(page):
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert policy(page).items() >= {("default-src", "'none'"), ("style-src", "'self'")}
    assert "Set-Cookie" not in page.headers


def test_it_has_nothing_inline_and_needs_nobody_else(page):
    """Its own script folds and finds; all that it says is there without one."""
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    inline = r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|<noscript"
    assert re.findall(inline, page.text) == []
    assert [link for link in loaded if not link.startswith(("/operator/", "#"))] == []


def test_every_operation_is_shown_with_a_command(page, document):
    shown = unescape(page.text)

    for path, methods in document["paths"].items():
        for method, told in methods.items():
            assert f'id="{told["operationId"]}"' in page.text
            assert curl(path, method, told) in shown


def test_every_field_of_every_model_is_shown(page, document):
    for name, schema in document["components"]["schemas"].items():
        _, _, rest = page.text.partition(f'id="model-{name}"')
        table = rest.partition("</article>")[0]
        missing = [
            f for f in schema.get("properties", ()) if f"<code>{f}<" not in table
        ]
        assert (name, missing) == (name, [])


def test_every_link_inside_it_leads_somewhere(page):
    ids = re.findall(r'\sid="([^"]+)"', page.text)
    links = set(re.findall(r'href="#([^"]+)"', page.text))

    assert links <= set(ids)
    assert len(set(ids)) == len(ids)


def test_the_console_leads_to_it_and_it_to_the_document(client, page):
    assert f'href="{PAGE}"' in client.get("/operator/").text
    assert 'href="/operator/api/openapi.json"' in page.text


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, "any JSON value"),
        ({"type": "string"}, "string"),
        ({"type": "string", "maxLength": 200}, "string, at most 200 characters"),
        ({"type": "string", "format": "date-time"}, "date and time"),
        ({"type": "integer", "minimum": 1, "maximum": 200}, "integer, 1 to 200"),
        ({"type": "integer", "minimum": 1}, "integer, at least 1"),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, "true or false or null"),
        ({"enum": ["live", "verified"]}, '"live" or "verified"'),
        (
            {"type": "array", "items": {"$ref": "#/components/schemas/Row"}},
            "list of Row",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "number"}},
            "object of number",
        ),
    ],
)
def test_types_are_told_in_words(schema, words):
    assert "".join(part.text for part in kind_of(schema)) == words


def test_a_command_survives_a_shell():
    content = {"application/json": {"example": {"message": "it's"}}}
    told = {"security": [{"token": []}], "requestBody": {"content": content}}

    command = curl("/chat/{name}", "post", told).replace("\\\n", "")

    assert shlex.split(command) == [
        "curl",
        "$GATEWAY/chat/$name",
        "-H",
        "X-VX11-Token: $TOKEN",
        "-H",
        "Content-Type: application/json",
        "-d",
        '{"message": "it\'s"}',
    ]
