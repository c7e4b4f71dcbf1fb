"""The stand-in that does not make its words up: it passes on what a model says."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sandbox.openai import DONE, EVENT_STREAM, STREAM_END, STREAM_HEAD, OpenAI, chunk
from sandbox.openai import error as refusal
from sandbox.service import Events
from sandbox.wire import BLOCK, Answer, Request

if TYPE_CHECKING:
    from sandbox.exchange import Exchange

LIMIT = 600  # seconds that the model may be silent
GONE = refusal(503, "model_gone", "The model does not answer.")


class Toy(OpenAI):
    """Passes all on to a server that speaks OpenAI's wire, and breaks like the rest.

    `url` is the base of that server, without a path.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._address = urlsplit(url).netloc

    def answer(self, request: Request) -> Answer:
        """What the model's server answers, whole; 503 if it is not there."""
        try:
            with self._asked(request) as answer:
                return _whole(answer)
        except (OSError, HTTPException):
            return GONE

    def reply(self, request: Request) -> dict[str, Any]:
        """The body of a 200 that was not asked to stream."""
        body = json.loads(request.body) | {"stream": False}
        answer = self.answer(request._replace(body=json.dumps(body).encode()))
        value: dict[str, Any] = json.loads(answer.body)
        return value

    def events(self, request: Request) -> Events:
        """All that a stream of the model holds, in its parts."""
        parts = self.answer(request).body.split(b"\n\n")
        said = [part + b"\n\n" for part in parts if part.startswith(b"data: {")]
        ending = next(
            (i for i, one in enumerate(said) if b'"finish_reason":null' not in one),
            len(said),
        )
        return Events(b"".join(said[:1]), said[1:ending], said[ending:], DONE)

    def serve(self, x: "Exchange") -> None:
        """Pass the answer on as it comes; an end in its midst is passed on, too."""
        try:
            with self._asked(x.request) as answer:
                if EVENT_STREAM not in answer.getheader("content-type", ""):
                    x.respond(_whole(answer))
                    return
                x.send(STREAM_HEAD)
                while data := answer.read1(BLOCK):
                    x.send(chunk(data))
                x.send(STREAM_END)
        except (OSError, HTTPException):
            x.hang_up()

    @contextmanager
    def _asked(self, request: Request) -> Iterator[HTTPResponse]:
        with closing(HTTPConnection(self._address, timeout=LIMIT)) as connection:
            kind = {"content-type": request.header("content-type", "application/json")}
            connection.request(request.method, request.target, request.body, kind)
            yield connection.getresponse()


def _whole(answer: HTTPResponse) -> Answer:
    kind = answer.getheader("content-type", "application/json")
    return Answer(answer.status, answer.read(), kind)
