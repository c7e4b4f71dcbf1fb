"""OpenAI's embeddings, for upstreams that declare them: handed on as they come."""

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic_core import from_json

from app.gateway.abilities import EMBEDDINGS
from app.gateway.chat import ChatReply, ChatRequest, Usage
from app.web.chat.chat_headers import record_refusal
from app.web.chat.door import Door, answer_if_served
from app.web.chat.openai import to_json
from app.web.chat.openai_facts import SESSION, facts
from app.web.chat.sse import Dialect
from app.web.openapi.documented import CHAT_FAILURES, NOT_SERVED, Note, documented
from app.web.openapi.headers import OF_EMBEDDINGS, OF_REPLIES
from app.web.request.auth import token_required
from app.web.request.values import parsed
from app.web.schemas.tasks.embeddings import MOST_TOKENS, Embeddings, EmbeddingsRequest

bp = Blueprint("embeddings", __name__, url_prefix="/v1")
bp.after_request(record_refusal)

UNCOUNTED = {"prompt_tokens": 0, "total_tokens": 0}


@bp.post("/embeddings")
@token_required("chat")
@documented(
    Note(
        Embeddings,
        body=EmbeddingsRequest,
        example={"input": ["Hello", "Good morning"]},
        headers=(*OF_EMBEDDINGS, SESSION),
        answer_headers=OF_REPLIES,
        failures=CHAT_FAILURES,
        refusals=(NOT_SERVED,),
    )
)
def post_embeddings() -> ResponseReturnValue:
    """Turn texts into vectors by the deadline, on record, where an upstream can."""
    return answer_if_served(EmbeddingsDoor(), EMBEDDINGS)


class EmbeddingsDoor(Door):
    """The door of embeddings; one for each request."""

    most_values = MOST_TOKENS

    def read(self, data: bytes) -> ChatRequest:
        """See Door."""
        value = parsed(data, most=self.most_values)
        body = EmbeddingsRequest.parse(value)
        self.user = body.user
        return body.to_request(value, facts(body.metadata, body.user, len(data)))

    def whole(self, reply: ChatReply) -> str | bytes:
        """See Door. Clients need a usage, also where nobody has counted."""
        if reply.usage != Usage():
            return reply.body
        told = from_json(reply.body)
        counted = told["usage"] if isinstance(told.get("usage"), dict) else {}
        return to_json({**told, "usage": UNCOUNTED | counted})

    def events(self) -> Dialect:
        """See Door; embeddings are never streamed."""
        raise NotImplementedError
