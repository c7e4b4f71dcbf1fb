"""Well-formed answers that say no, or say nothing (rows 20, 21, 27-30)."""

from sandbox.exchange import Exchange
from sandbox.faults.registry import Faults
from sandbox.wire import Answer

fault = Faults()

ERROR_TEXT = "Traceback: sandbox engine failed at http://inner.invalid:9999/engine"
UNICODE = (
    "Zażółć gęślą jaźń · 日本語 · العربية · e\u0301 · 👩\u200d👩\u200d👧 · 𝔘𝔫𝔦𝔠𝔬𝔡𝔢"
    " · \u202eright to left\u202c · zero\u200bwidth · <b>&amp;</b>"
)


@fault(20)
def status_error(x: Exchange, *, text: str = ERROR_TEXT) -> None:
    """Status 200, and in it `status: error` and an error text."""
    x.respond(Answer.of(x.service.failure("error", text)))


@fault(20)
def status_partial(x: Exchange, *, text: str = ERROR_TEXT) -> None:
    """Status 200, and in it `status: partial` and an error text as the reply."""
    x.respond(Answer.of(x.service.failure("partial", text)))


@fault(20)
def waiting(x: Exchange, *, status: str = "WAITING") -> None:
    """A reply that wants a confirmation, as madre sends it."""
    text = "(Sandbox.) I would do that. Please confirm."
    x.respond(Answer.of({**x.reply_saying(text), "status": status}))


@fault(21)
def reply_null(x: Exchange) -> None:
    """The reply's text is null."""
    x.respond(Answer.of(x.reply_saying(None)))


@fault(21)
def reply_number(x: Exchange) -> None:
    """The reply's text is a number."""
    x.respond(Answer.of(x.reply_saying(42)))


@fault(21)
def reply_list(x: Exchange) -> None:
    """The reply's text is a list."""
    x.respond(Answer.of(x.reply_saying(["a", "b"])))


@fault(21)
def reply_object(x: Exchange) -> None:
    """The reply's text is an object."""
    x.respond(Answer.of(x.reply_saying({"text": "inside"})))


@fault(21)
def reply_empty(x: Exchange) -> None:
    """The reply's text is empty."""
    x.respond(Answer.of(x.reply_saying("")))


@fault(21)
def reply_blank(x: Exchange) -> None:
    """The reply's text is nothing but white space."""
    x.respond(Answer.of(x.reply_saying(" \n\t ")))


@fault(21)
def reply_missing(x: Exchange) -> None:
    """A reply without any text."""
    fields = x.service.text_fields
    x.respond(Answer.of({k: v for k, v in x.reply().items() if k not in fields}))


@fault(21)
def wrong_schema(x: Exchange) -> None:
    """An answer in the shape of another service."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "not here"}}
    x.respond(Answer.of({"object": "chat.completion", "choices": [choice]}))


@fault(27)
def rate_limited(x: Exchange, *, retry_after: str = "3600") -> None:
    """429 with Retry-After, in seconds or as a date; none if it is empty."""
    headers = {"retry_after": retry_after} if retry_after else {}
    x.respond(Answer.of({"detail": "rate_limited"}, 429, **headers))


@fault(28)
def http_status(x: Exchange, *, status: int = 500) -> None:
    """Any status, with a JSON body that tells things it should not."""
    x.respond(Answer.of({"detail": ERROR_TEXT}, status))


@fault(29)
def reject_400(x: Exchange) -> None:
    """400: the request itself is refused."""
    x.respond(Answer.of({"detail": "There was an error parsing the body"}, 400))


@fault(29)
def reject_422(x: Exchange) -> None:
    """422: the request itself is refused."""
    problem = {"type": "missing", "loc": ["body", "messages"], "msg": "Field required"}
    x.respond(Answer.of({"detail": [problem]}, 422))


@fault(30)
def unauthorized(x: Exchange, *, status: int = 401) -> None:
    """401 or 403: our own credentials are refused."""
    detail = "auth_required" if status == 401 else "forbidden"
    x.respond(Answer.of({"detail": detail}, status))


@fault()
def unicode_text(x: Exchange, *, text: str = UNICODE) -> None:
    """A proper reply with text from many scripts, and markup that must stay text."""
    x.respond(Answer.of(x.reply_saying(text)))
