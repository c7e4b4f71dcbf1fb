"""A dialect is one class and one entry of KINDS: a made-up one answers chats."""

import contextlib

import pytest

from app.gateway.abilities import TOOLS
from app.gateway.chat import ChatReply, Delta
from app.gateway.errors import Refused
from app.gateway.handler import ReplyStream
from app.services import PerProcess
from app.settings import Settings, SettingsError
from app.upstreams import KINDS
from app.upstreams.dialect import Dialect
from app.upstreams.http.service import Service
from app.upstreams.replies import whole
from app.upstreams.words_in_time import WordsInTime
from app.web import make_app
from app.wiring import build_services, check_all
from tests.support.events import events_of
from tests.upstreams.raw_server import answering

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
PLAIN = (HEAD % 10) + b"said aloud"
TOKEN = "a-token-for-tests"
QUESTION = {"messages": [{"role": "user", "content": "Hello"}]}


class Aloud(Dialect):
    """Its server answers in plain text; each piece that comes is a delta."""

    own_settings = frozenset({"model"})
    is_repeatable = True
    abilities = frozenset({TOOLS})

    def __init__(self, name, url, model, transport):
        self.name, self.timeout, self._model = name, 5.0, model
        self._service = Service(url, transport)

    @classmethod
    def from_settings(cls, entry, surroundings):
        return cls(entry.name, entry.url, entry.model, surroundings.transport)

    def open(self, request, budget):
        asked = {"say": request.last_user_message}
        heard = self._service.open("/", asked, request, budget, accept="text/*")
        if heard.status != 200:
            heard.close()
            raise Refused("http_5xx", status=heard.status)
        reply = ChatReply("", self.name, self._model)
        if not request.stream:
            with heard:
                answer = heard.whole()
            return whole(reply._replace(text=answer.body.decode()), answer)
        pieces = WordsInTime(heard, budget, budget, idle_limit=5.0)
        pieces.begin()
        deltas = (Delta(piece.decode()) for piece in pieces)
        return ReplyStream(deltas, reply, heard.close)

    def ping(self, budget):
        self._service.ping(budget)


@pytest.fixture
def chat(tmp_path, serve):
    """Post a chat to a gateway whose only upstream is of the made-up kind."""
    with contextlib.ExitStack() as running:

        def chat(*answers, path="/v1/chat/completions", **fields):
            server = serve(lambda peer: answering(answers[peer.turn])(peer))
            entry = {"name": "it", "kind": "aloud", "url": server.url, "health": "none"}
            settings = Settings(
                token=TOKEN,
                audit_url=f"sqlite:///{tmp_path}/audit.db",
                upstreams=[entry | {"model": "m-1"}],
            )
            services = build_services(settings, {**KINDS, "aloud": Aloud})
            running.callback(services.close)
            client = make_app(PerProcess(lambda: services)).test_client()
            headers = {"X-VX11-Token": TOKEN}
            body = QUESTION | {"model": "any"} | fields
            return client.post(path, json=body, headers=headers)

        yield chat


def test_a_made_up_dialect_answers_whole(chat):
    answer = chat(PLAIN)

    assert answer.json["choices"][0]["message"]["content"] == "said aloud"
    assert answer.json["model"] == "m-1"
    assert answer.headers["X-Gateway-Provider"] == "it"


def test_a_made_up_dialect_answers_in_a_stream(chat):
    *chunks, end = events_of(chat(PLAIN, stream=True))

    deltas = [chunk.data["choices"][0]["delta"] for chunk in chunks]
    assert "".join(d.get("content", "") for d in deltas) == "said aloud"
    assert end.data == "[DONE]"


def test_a_dialect_that_is_repeatable_is_asked_again(chat):
    assert chat(BUSY, PLAIN).status_code == 200


def test_a_dialect_is_asked_for_what_it_declares_to_be_able_to(chat):
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}

    assert chat(PLAIN, tools=[tool]).status_code == 200
    assert chat(PLAIN, n=2).status_code == 400


ENTRY = {"name": "a", "kind": "switch", "url": "http://x", "timeout": 3.0}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            ENTRY | {"retries": 1},
            "VX11_UPSTREAMS[1].retries: only for kind openai or anthropic",
        ),
        (
            ENTRY | {"max_tokens": 1},
            "VX11_UPSTREAMS[1].max_tokens: only for kind anthropic",
        ),
        (
            ENTRY | {"kind": "Switch"},
            "VX11_UPSTREAMS[1].kind: must be one of switch, madre, openai, anthropic",
        ),
    ],
)
def test_an_entry_that_no_dialect_takes_is_told(entry, problem, tmp_path):
    settings = Settings(
        token=TOKEN,
        audit_url=f"sqlite:///{tmp_path}/audit.db",
        upstreams=[ENTRY | {"name": "b"}, entry],
    )

    for check in (check_all, build_services):
        with pytest.raises(SettingsError) as told:
            check(settings)
        assert told.value.problems == [problem]


@pytest.mark.parametrize("dialect", KINDS.values())
def test_the_settings_know_the_keys_that_a_dialect_takes(dialect):
    (entry,) = Settings(token=TOKEN, upstreams=[ENTRY]).upstreams

    assert dialect.own_settings <= type(entry).model_fields.keys()
