"""Reports: what a caller is told of a failure, in the words of the door he came by.

Nothing of Flask is needed here: gunicorn's worker says the same of what it cannot
even parse.
"""

from dataclasses import dataclass
from typing import Any

from app.gateway.errors import NobodyAble

# What OpenAI calls them.
OPENAI_TYPE = {
    403: "permission_error",
    429: "rate_limit_error",
}
# What a caller can mend by asking for less, though a later try may succeed as well.
OF_REQUESTS = frozenset({NobodyAble.code})
ANTHROPIC_TYPE = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
# What Anthropic's own message says, by which its clients know it.
ANTHROPIC_DETAIL = {"context_length_exceeded": "prompt is too long"}


@dataclass(frozen=True, slots=True)
class CallerError:
    """What a caller is told of a failure. `retry_after` is in seconds."""

    status: int
    code: str
    detail: str
    retry_after: int | None = None

    def body(
        self, path: str, correlation_id: str, param: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """The body of the error in the shape that clients of this path know.

        `param` is for OpenAI's shape, `more` for our own.
        """
        if is_anthropic_path(path):
            return self.anthropic(correlation_id)
        if is_openai_path(path):
            return self.openai(param)
        told = {"detail": self.detail, "code": self.code}
        return told | {"correlation_id": correlation_id} | more

    def openai(self, param: str | None = None) -> dict[str, Any]:
        """The body of the error in OpenAI's shape."""
        is_of_request = self.status < 500 or self.code in OF_REQUESTS
        kind = "invalid_request_error" if is_of_request else "server_error"
        return {
            "error": {
                "message": self.detail,
                "type": OPENAI_TYPE.get(self.status, kind),
                "param": param,
                "code": self.code,
            }
        }

    def anthropic(self, request_id: str) -> dict[str, Any]:
        """The body of the error in Anthropic's shape."""
        kind = "invalid_request_error" if self.status < 500 else "api_error"
        if self.code == "overloaded":
            kind = "overloaded_error"
        known = ANTHROPIC_DETAIL.get(self.code)
        error = {
            "type": ANTHROPIC_TYPE.get(self.status, kind),
            "message": f"{known}: {self.detail}" if known else self.detail,
            "code": self.code,
        }
        return {"type": "error", "error": error, "request_id": request_id}


def is_openai_path(path: str) -> bool:
    """Whether a path is where OpenAI's clients ask: /v1 and all below it."""
    return path.startswith("/v1") and path[3:4] in ("", "/", "?")


def is_anthropic_path(path: str) -> bool:
    """Whether a path is where Anthropic's clients ask: /v1/messages and all below."""
    return path.startswith("/v1/messages") and path[12:13] in ("", "/", "?")


def id_headers(path: str, correlation_id: str) -> list[tuple[str, str]]:
    """The headers in which clients of this path look for the id of their request."""
    headers = [("X-Correlation-ID", correlation_id)]
    if is_openai_path(path):
        headers.append(("X-Request-Id", correlation_id))
    if is_anthropic_path(path):
        headers.append(("request-id", correlation_id))
    return headers
