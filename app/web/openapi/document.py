"""The document of the API: OpenAPI 3.1, made from what the views note of themselves.

Its schemas are those of the very models that the doors validate with. It is made
beside them, from the finished app, so no request is handled any differently for it.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

from flask import Flask
from openapi_pydantic import OpenAPI
from openapi_pydantic.util import construct_open_api_with_schema_class
from pydantic import BaseModel
from werkzeug.http import HTTP_STATUS_CODES

from app.version import VERSION
from app.web.openapi import headers as api_headers
from app.web.openapi.documented import Note, Refusal
from app.web.openapi.operations import Operation, Wire, operations
from app.web.request.auth import ANY, API_KEYS
from app.web.schemas.anthropic.message import AnthropicErrorBody
from app.web.schemas.errors import Error, OpenAIErrorBody

Json = dict[str, Any]

JSON = "application/json"
EVENTS = "text/event-stream"

ABOUT = """\
One guarded endpoint in front of the chat services of an installation. It always
answers, within a known time, says who answered, and can prove it afterwards.

A token is shown as `X-VX11-Token` or as `Authorization: Bearer`. It is looked at before
anything else: who has none learns nothing of what else is wrong.

A request that is not HTTP at all, or comes while nobody can take it, is answered by
the server in front of these routes: 400, 408, 431, 502, 503 or 504, as JSON, too.\
"""
OPENAI = ("OpenAI", "The same for any client that speaks OpenAI's protocols.")
OPENAI_DOORS = ("openai", "responses", "completions", "embeddings", "models")
RECORDS = ("Records", "What was asked and answered, and how it went of late.")
OPERATIONS = ("Operations", "Is it alive, is it ready, what does it know.")
TAGS = {
    "chat": ("Chat", "Ask, and be answered."),
    **dict.fromkeys(OPENAI_DOORS, OPENAI),
    "anthropic": ("Anthropic", "The same for any client that speaks messages."),
    **dict.fromkeys(("audit", "usage", "replays"), RECORDS),
    "evidence": ("Evidence", "What the records prove: why chats went wrong."),
    **dict.fromkeys(("ops", "upstreams"), OPERATIONS),
    "tokens": ("Tokens", "Who may come in: list, make and revoke."),
    "metrics": ("Metrics", "What Prometheus comes for."),
    "api_docs": ("This document", "The API, for programs."),
}
SHAPES: dict[Wire, type[BaseModel]] = {
    Wire.OPENAI: OpenAIErrorBody,
    Wire.ANTHROPIC: AnthropicErrorBody,
}
SHOWN = ("token", "bearer")  # by which every door takes a token
REQUEST_IDS = {
    Wire.OPENAI: ("X-Request-Id",),
    Wire.ANTHROPIC: ("X-Request-Id", "request-id"),
}


def make_document(app: Flask) -> Json:
    """Make the document of all routes that have a note. It needs no services."""
    found = sorted(operations(app), key=attrgetter("path", "method"))
    document = OpenAPI.model_validate(
        {
            "openapi": "3.1.1",
            "info": {"title": "Chat gateway", "version": VERSION, "description": ABOUT},
            "servers": [{"url": "/"}],
            "tags": [
                {"name": n, "description": t} for n, t in dict.fromkeys(TAGS.values())
            ],
            "paths": {
                path: {one.method: _operation(one) for one in same}
                for path, same in groupby(found, key=attrgetter("path"))
            },
            "components": {
                "securitySchemes": _schemes(),
                "parameters": _parameters(),
                "headers": _headers(),
            },
        }
    )
    whole = construct_open_api_with_schema_class(
        document,
        sorted(_models(found), key=lambda model: model.__name__),
        scan_for_pydantic_schema_reference=False,
    )
    return whole.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _models(found: Iterable[Operation]) -> set[type[BaseModel]]:
    models = {model for one in found for model in one.note.models()}
    return models | {Error, *SHAPES.values()}


def _operation(one: Operation) -> Json:
    summary, _, more = (one.view.__doc__ or "").strip().partition("\n")
    described = {"description": " ".join(more.split())} if more.strip() else {}
    body = one.note.body
    sent = {"requestBody": _body(body, one.note.example)} if body else {}
    return {
        "tags": [TAGS[one.door][0]],
        "operationId": one.view.__name__,
        "summary": summary,
        **described,
        "security": _security(one),
        "parameters": list(_asked(one.note)),
        **sent,
        "responses": {"200": _answer(one)} | _failures(one),
    }


def _security(one: Operation) -> list[Json]:
    """Each way of showing a token; OpenAPI 3.1 lets its roles be listed."""
    if one.scope is None:
        return []
    roles = [] if one.scope == ANY else [one.scope]
    ways = ("token", "bearer", "api_key") if one.wire is Wire.ANTHROPIC else SHOWN
    return [{way: roles} for way in ways]


def _asked(note: Note) -> Iterator[Json]:
    for name, text in note.path.items():
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": text,
            "schema": {"type": "string", "minLength": 1},
        }
    if note.query:
        yield from _query(note.query)
    for name in (*note.headers, *api_headers.ON_ALL_REQUESTS):
        yield {"$ref": f"#/components/parameters/{name}"}


def _query(model: type[BaseModel]) -> Iterator[Json]:
    """Its fields as parameters; they must need no other model."""
    whole = model.model_json_schema()
    for name, schema in whole["properties"].items():
        more: Json = {"required": True} if name in whole.get("required", ()) else {}
        if "description" in schema:
            more["description"] = schema["description"]
        kept = {k: v for k, v in schema.items() if k != "description"}
        yield {"name": name, "in": "query", **more, "schema": kept}


def _body(model: type[BaseModel], example: Mapping[str, Any] | None) -> Json:
    shown = {"example": dict(example)} if example else {}
    content = {"schema": _reference(model), **shown}
    return {"required": True, "content": {JSON: content}}


def _answer(one: Operation) -> Json:
    note = one.note
    content: Json = {}
    if isinstance(note.answer, str):
        kind = "object" if note.answer == JSON else "string"
        content[note.answer] = {"schema": {"type": kind}}
    else:
        content[JSON] = {"schema": _reference(note.answer)}
    if note.events:
        content[EVENTS] = {"schema": {"oneOf": list(map(_event, note.events))}}
    names = [*note.answer_headers, *_rate(one)]
    return {
        "description": "The answer.",
        "headers": _shown(one, *names),
        "content": content,
    }


def _event(event: tuple[str, type[BaseModel] | str]) -> Json:
    """One event of a stream, in the words that OpenAPI 3.2 has for all of them."""
    name, what = event
    if isinstance(what, str):
        data: Json = {"const": what}
    else:
        data = {"contentMediaType": JSON, "contentSchema": _reference(what)}
    named = {"event": {"const": name}} if name else {}
    properties = {**named, "data": {"type": "string", **data}}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _failures(one: Operation) -> Json:
    ordered = sorted(one.refusals(), key=attrgetter("status"))
    return {
        str(status): _failure(one, status, tuple(same))
        for status, same in groupby(ordered, key=attrgetter("status"))
    }


def _failure(one: Operation, status: int, refusals: tuple[Refusal, ...]) -> Json:
    told = {refusal.code: refusal.meaning for refusal in refusals}
    lines = [f"`{code}`: {meaning}." for code, meaning in told.items()]
    shape = SHAPES.get(one.wire, Error)
    return {
        "description": "\n".join((f"{HTTP_STATUS_CODES[status]}.", *lines)),
        "headers": _shown(one, *_also_in(one, status)),
        "content": {JSON: {"schema": _reference(shape)}},
    }


def _also_in(one: Operation, status: int) -> Iterator[str]:
    if status == 401:
        yield "WWW-Authenticate"
    if status in {429, 503}:
        yield "Retry-After"
    if status == 503:
        yield "x-should-retry"
    if status in {Refusal.of(kind).status for kind in one.note.failures}:
        yield "X-Gateway-Attempts"
    if status not in {401, 403, 414}:
        yield from _rate(one)


def _rate(one: Operation) -> tuple[str, ...]:
    return api_headers.OF_RATED if one.is_rated else ()


def _shown(one: Operation, *names: str) -> Json:
    of_door = REQUEST_IDS.get(one.wire, ())
    every = (*api_headers.ON_ALL_ANSWERS, *of_door, *names)
    return {name: {"$ref": f"#/components/headers/{name}"} for name in every}


def _reference(model: type[BaseModel]) -> Json:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _schemes() -> Json:
    return {
        "token": {
            "type": "apiKey",
            "in": "header",
            "name": "X-VX11-Token",
            "description": "The token as it is; sent twice with equal values is once.",
        },
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The same token, as OpenAI's clients show it.",
        },
        "api_key": {
            "type": "apiKey",
            "in": "header",
            "name": API_KEYS[0],
            "description": "The same token, as Anthropic's clients show it (and "
            f"Azure's, as {API_KEYS[1]}); it is looked at where neither of the "
            "others is there.",
        },
    }


def _parameters() -> Json:
    return {
        name: {"name": name, "in": "header", "description": text, "schema": schema}
        for name, (text, schema) in api_headers.REQUEST.items()
    }


def _headers() -> Json:
    return {
        name: {
            "description": text,
            "required": name not in api_headers.SOMETIMES,
            "schema": schema,
        }
        for name, (text, schema) in api_headers.ANSWER.items()
    }
