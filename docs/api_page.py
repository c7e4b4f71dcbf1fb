"""The API page: what the document of the API says, as HTML for people."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

from flask import Flask

from app.version import VERSION
from app.web.openapi.document import make_document

Json = Mapping[str, Any]

TEMPLATE = Path(__file__).with_suffix(".html")
JSON, EVENTS = "application/json", "text/event-stream"
BY_FORMAT = {"date-time": "date and time"}
PLAIN = {"null": "null", "object": "object", "boolean": "true or false"}


class Part(NamedTuple):
    """A piece of a type in words; `model` is whose table tells more."""

    text: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A field or parameter."""

    name: str
    kind: tuple[Part, ...]
    is_required: bool
    text: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A model and its fields; `kind` tells of one that is no object."""

    title: str
    text: str
    kind: tuple[Part, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """A status of an answer, its codes with their meaning, and its headers."""

    code: str
    phrase: str
    reasons: tuple[tuple[str, str], ...]
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """All there is to say of one operation."""

    id: str
    method: str
    path: str
    summary: str
    text: str
    access: str
    curl: str
    parameters: tuple[Row, ...]
    body: Table | None
    answer: Table | None
    answer_type: str
    events: tuple[tuple[str, tuple[Part, ...]], ...]
    statuses: tuple[Status, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The routes of a tag."""

    title: str
    text: str
    routes: tuple[Route, ...]


class Page:
    """What the template asks of the document."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._schemas: Json = document["components"]["schemas"]

    @property
    def paragraphs(self) -> list[str]:
        """What the document says of the API as a whole."""
        text: str = self._document["info"]["description"]
        return text.split("\n\n")

    @property
    def ways_in(self) -> Json:
        """How a token is shown."""
        schemes: Json = self._document["components"]["securitySchemes"]
        return schemes

    def sections(self) -> Iterator[Section]:
        """The routes by their tags, in the order of those."""
        for tag in self._document["tags"]:
            routes = tuple(
                self._route(path, method, told)
                for path, methods in self._document["paths"].items()
                for method, told in methods.items()
                if tag["name"] in told["tags"]
            )
            yield Section(tag["name"], tag["description"], routes)

    def tables(self) -> Iterator[Table]:
        """Every model."""
        yield from map(self._table, self._schemas)

    def headers(self) -> Iterator[Row]:
        """The headers of answers."""
        for name, header in self._document["components"]["headers"].items():
            kind = tuple(kind_of(header["schema"]))
            yield Row(name, kind, header["required"], header["description"])

    def _route(self, path: str, method: str, told: Json) -> Route:
        content = told["responses"]["200"]["content"]
        [(answer_type, answer), *_] = content.items()
        stream = content.get(EVENTS, {}).get("schema", {}).get("oneOf", ())
        return Route(
            id=told["operationId"],
            method=method.upper(),
            path=path,
            summary=told["summary"],
            text=told.get("description", ""),
            access=_access(told),
            curl=curl(path, method, told),
            parameters=tuple(map(self._parameter, told["parameters"])),
            body=self._named(_content(told.get("requestBody", {})).get("schema", {})),
            answer=self._named(answer["schema"]),
            answer_type=answer_type,
            events=tuple(map(_event, stream)),
            statuses=tuple(
                _status(code, answer) for code, answer in told["responses"].items()
            ),
        )

    def _parameter(self, told: Json) -> Row:
        if "$ref" in told:
            name = told["$ref"].rpartition("/")[2]
            told = self._document["components"]["parameters"][name]
        return Row(
            told["name"],
            tuple(kind_of(told["schema"])),
            told.get("required", False),
            told.get("description", ""),
            told["in"],
        )

    def _named(self, schema: Json) -> Table | None:
        name = schema.get("$ref", "").rpartition("/")[2]
        return self._table(name) if name else None

    def _table(self, name: str) -> Table:
        schema = self._schemas[name]
        required = schema.get("required", ())
        rows = (
            Row(field, tuple(kind_of(s)), field in required, s.get("description", ""))
            for field, s in schema.get("properties", {}).items()
        )
        kind = () if "properties" in schema else tuple(kind_of(schema))
        return Table(name, schema.get("description", ""), kind, tuple(rows))


def kind_of(schema: Json) -> Iterator[Part]:
    """A type in words, with the bounds that it has."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield Part(name, name)
    elif choices := schema.get("anyOf") or schema.get("oneOf"):
        yield from _joined(choices)
    elif "const" in schema or "enum" in schema:
        values = schema.get("enum") or [schema["const"]]
        yield Part(" or ".join(json.dumps(value) for value in values))
    elif schema.get("type") == "array":
        yield Part("list of ")
        yield from kind_of(schema.get("items") or {})
    elif "type" not in schema and "items" in schema:  # and more, each if it is that
        yield Part("any value")
    elif isinstance(values := schema.get("additionalProperties"), dict):
        yield Part("object of ")
        yield from kind_of(values)
    else:
        yield Part(_plain(schema))


def _joined(choices: list[Json]) -> Iterator[Part]:
    for number, choice in enumerate(choices):
        if number:
            yield Part(" or ")
        yield from kind_of(choice)


def _plain(schema: Json) -> str:
    kind: str = schema.get("type", "any JSON value")
    words = BY_FORMAT.get(schema.get("format", ""), PLAIN.get(kind, kind))
    least = schema.get("minimum", schema.get("minLength"))
    most = schema.get("maximum", schema.get("maxLength"))
    unit = " characters" if kind == "string" else ""
    if least is not None and most is not None:
        return f"{words}, {least:.12g} to {most:.12g}{unit}"
    if most is not None:
        return f"{words}, at most {most:.12g}{unit}"
    return f"{words}, at least {least:.12g}{unit}" if least else words


def _event(schema: Json) -> tuple[str, tuple[Part, ...]]:
    """An event's name and what its data is."""
    data = schema["properties"]["data"]
    name = schema["properties"].get("event", {}).get("const", "")
    if "const" in data:
        return name, (Part(data["const"]),)
    return name, tuple(kind_of(data["contentSchema"]))


def _status(code: str, answer: Json) -> Status:
    phrase, *lines = answer["description"].split("\n")
    split = (line.partition(": ") for line in lines)
    reasons = tuple((reason.strip("`"), meaning) for reason, _, meaning in split)
    return Status(code, phrase, reasons, tuple(answer["headers"]))


def _access(told: Json) -> str:
    """Who may use it."""
    for way in told["security"]:
        for roles in way.values():
            scope = f"with the scope `{roles[0]}`" if roles else "of whatever scope"
            return f"Needs a token {scope}."
    return "Needs no token."


def _content(body: Json) -> Json:
    content: Json = body.get("content", {}).get(JSON, {})
    return content


def curl(path: str, method: str, told: Json) -> str:
    """A command that works where GATEWAY, TOKEN and the path's names are set."""
    url = path.replace("{", "$").replace("}", "")
    verb = "" if method in {"get", "post"} else f"-X {method.upper()} "
    parts = [f'curl {verb}"$GATEWAY{url}"']
    if told["security"]:
        parts.append('-H "X-VX11-Token: $TOKEN"')
    if example := _content(told.get("requestBody", {})).get("example"):
        parts.append(f'-H "Content-Type: {JSON}"')
        parts.append(f"-d {quote(json.dumps(example))}")
    return " \\\n  ".join(parts)


def make_page(app: Flask) -> str:
    """The page of an app, in the frame of the console's pages."""
    api = Page(make_document(app))
    template = app.jinja_env.from_string(TEMPLATE.read_text())
    return template.render(
        api=api, sections=list(api.sections()), page="api", version=VERSION
    )
