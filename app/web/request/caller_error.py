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


@dataclass(frozen=True, slots=True)
class CallerError:
    """What a caller is told of a failure. `retry_after` is in seconds."""

    status: int
    code: str
    detail: str
    retry_after: int | None = None

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


def is_openai_path(path: str) -> bool:
    """Whether a path is where OpenAI's clients ask: /v1 and all below it."""
    return path.startswith("/v1") and path[3:4] in ("", "/", "?")
