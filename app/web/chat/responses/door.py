"""The door of Responses: Codex, OpenAI's agents and AI SDK ask nothing else by default.

Nothing is stored: whoever refers to an earlier response is told to send it all.
"""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

from flask import Blueprint, Response, after_this_request
from flask.typing import ResponseReturnValue

from app.gateway.chat import NOTHING, ChatReply, ChatRequest, Delta
from app.web.chat.chat_headers import log_answer, record_refusal
from app.web.chat.door import Door, answer
from app.web.chat.kept import began_at, ended_at
from app.web.chat.openai import to_json
from app.web.chat.openai_facts import SESSION, facts
from app.web.chat.responses.conversation import as_chat, leaves_out_tools
from app.web.chat.responses.output import Output
from app.web.chat.sse import HELD, event
from app.web.openapi.documented import CHAT_FAILURES, Note, documented
from app.web.openapi.headers import LEFT_OUT, OF_CHATS, OF_REPLIES
from app.web.request.auth import token_required
from app.web.request.caller_error import CallerError
from app.web.request.values import parsed
from app.web.schemas import openai as schemas
from app.web.schemas.chat import validated
from app.web.schemas.responses.request import ResponsesRequest
from app.web.schemas.responses.response import EVENTS, ResponseBody, response_usage

bp = Blueprint("responses", __name__, url_prefix="/v1")
bp.after_request(record_refusal)

# Why an answer that is not an error has less in it than was asked for.
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
# The request's own fields that its response repeats, and what they are by default.
ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "metadata": {},
    "user": None,
}


@bp.post("/responses")
@token_required("chat")
@documented(
    Note(
        ResponseBody,
        body=ResponsesRequest,
        example={"input": "Hello"},
        headers=(*OF_CHATS, SESSION),
        answer_headers=(*OF_REPLIES, LEFT_OUT),
        events=EVENTS,
        failures=CHAT_FAILURES,
    )
)
def post_response() -> ResponseReturnValue:
    """Answer one conversation of items by its deadline, on record; nothing is kept.

    Whole, or as typed events. Functions of the caller are called by name; tools that
    are built in elsewhere are left out.
    """
    return answer(Responses())


class Responses(Door):
    """The door of Responses; one for each request."""

    def read(self, data: bytes) -> ChatRequest:
        """See Door."""
        value = parsed(data)
        body = ResponsesRequest.parse(value)
        self.user = body.user
        given = {k: value[k] for k in ECHOED if value.get(k) is not None}
        self._echoed: dict[str, Any] = {**ECHOED, **given}
        if leaves_out_tools(body):
            after_this_request(_tell_left_out)
        chat = as_chat(body, value)
        known = facts(body.metadata, body.user, len(data))
        request = validated(schemas.CompletionRequest, chat).to_request(
            chat, known, "responses"
        )
        return request._replace(metadata=body.metadata or NOTHING)

    def whole(self, reply: ChatReply) -> str:
        """See Door."""
        output = Output(reply.first_id)
        choice = next(iter(reply.choices), None)
        message = choice.get("message") if choice else {"content": reply.text}
        for _ in output.take(message or NOTHING, _logprobs(choice or NOTHING)):
            pass
        for _ in output.close(_status(reply)):
            pass
        return to_json(self.ended(reply, output))

    def events(self) -> "ResponseEvents":
        """See Door."""
        return ResponseEvents(self)

    def ended(self, reply: ChatReply, output: Output) -> dict[str, Any]:
        """The response as it is at its end, which need not be all that was asked."""
        reason = INCOMPLETE.get(reply.finish_reason)
        return self.response(reply, _status(reply), output) | {
            "completed_at": ended_at(reply),
            "incomplete_details": {"reason": reason} if reason else None,
            "usage": response_usage(reply.usage),
        }

    def response(
        self, reply: ChatReply, status: str, output: Output | None = None
    ) -> dict[str, Any]:
        """The response in that status; its id leads to the record."""
        return {
            "id": f"resp_{reply.first_id}",
            "object": "response",
            "created_at": began_at(reply),
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": reply.model or reply.upstream,
            "output": output.items if output else [],
            "previous_response_id": None,
            "store": False,
            "truncation": "disabled",
            **self._echoed,
        }


class ResponseEvents:
    """The events of a streamed response, numbered; the last one says how it ended."""

    def __init__(self, door: Responses) -> None:
        self._door = door
        self._number = 0
        self._reply: ChatReply | None = None
        self._output = Output("")

    def opening(self, reply: ChatReply) -> bytes:
        """That there is a response, and that it is being made."""
        self._reply = reply
        self._output = Output(reply.first_id)
        begun = self._door.response(reply, "in_progress")
        kinds = ("response.created", "response.in_progress")
        return self._written({"type": kind, "response": begun} for kind in kinds)

    def delta(self, delta: Delta, reply: ChatReply) -> bytes:
        """Some more of an item, or a new one."""
        self._reply = reply
        if not delta.choices:
            return self._written(self._output.take({"content": delta.text}))
        first = (choice for choice in delta.choices if not choice.get("index"))
        return b"".join(
            self._written(
                self._output.take(choice.get("delta") or NOTHING, _logprobs(choice))
            )
            for choice in first
        )

    def done(self, reply: ChatReply) -> bytes | Iterator[bytes]:
        """The ends of all items, and the response as it is now.

        All of the text is in each of four events, so a long one goes out by itself.
        """
        log_answer(reply, monotonic() - self._door.started)
        events = self._ends(reply)
        if self._output.characters > HELD:
            return map(self._numbered, events)
        return self._written(events)

    def error(self, report: CallerError) -> bytes:
        """That the response has failed; what came so far is not an answer."""
        for _ in self._output.close("incomplete"):
            pass
        reply = self._reply or ChatReply("", "", "")
        failed = self._door.response(reply, "failed", self._output)
        error = {"code": report.code, "message": report.detail}
        return self._written(
            [{"type": "response.failed", "response": failed | {"error": error}}]
        )

    def _ends(self, reply: ChatReply) -> Iterator[dict[str, Any]]:
        yield from self._output.close(_status(reply))
        last = self._door.ended(reply, self._output)
        yield {"type": f"response.{last['status']}", "response": last}

    def _written(self, events: Any) -> bytes:
        return b"".join(map(self._numbered, events))

    def _numbered(self, fields: dict[str, Any]) -> bytes:
        data = {**fields, "sequence_number": self._number}
        self._number += 1
        return event(data, fields["type"])


def _status(reply: ChatReply) -> str:
    return "incomplete" if reply.finish_reason in INCOMPLETE else "completed"


def _logprobs(choice: Mapping[str, Any]) -> list[Any]:
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    return tokens if isinstance(tokens, list) else []


def _tell_left_out(response: Response) -> Response:
    """Name what nobody was asked to use, beside what the core has left out."""
    if response.status_code == 200:
        shown = response.headers.get(LEFT_OUT)
        response.headers[LEFT_OUT] = ", ".join(filter(None, (shown, "built-in tools")))
    return response
