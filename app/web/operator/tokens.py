"""Tokens: who may come in; listed, made and revoked by whoever may do so."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, TypeVar

from flask import Blueprint, g
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import NotFound

from app.gateway.access.token_issuer import TokenIssuer
from app.gateway.access.tokens import NameTaken, NoSuchToken, TokensUnusable
from app.gateway.errors import AuditUnavailable, Overloaded
from app.web.openapi.documented import Note, Refusal, documented
from app.web.request.auth import token_required
from app.web.request.body import read_json
from app.web.request.context import services, this_request
from app.web.request.errors import InvalidBody, error_response
from app.web.request.json_response import json_response
from app.web.request.readers import takes_a_place
from app.web.schemas.operator.tokens import (
    MadeToken,
    NewToken,
    TokenList,
    TokenRecord,
)

bp = Blueprint("tokens", __name__, url_prefix="/operator/api")

View = TypeVar("View", bound=Callable[..., ResponseReturnValue])

BODY_MAX = 10_000  # bytes
NO_FILE = Refusal(409, "no_tokens_file", "VX11_TOKENS_FILE names no file of tokens")
UNUSABLE = Refusal(
    409, "tokens_unusable", "the file of tokens cannot be read or changed"
)
TAKEN = Refusal(409, "name_taken", "there is a token of that name")
CHANGES = (AuditUnavailable, Overloaded)


def _told(view: View) -> View:
    """Guard a view: a file of tokens that cannot be used is told by its mistakes."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> ResponseReturnValue:
        try:
            return view(*args, **kwargs)
        except TokensUnusable as error:
            detail = f"{UNUSABLE.meaning}: {error}"
            return error_response(UNUSABLE.status, UNUSABLE.code, detail)

    return guarded  # type: ignore[return-value]


@bp.get("/tokens")
@token_required("admin")
@documented(Note(TokenList, failures=(Overloaded,), refusals=(UNUSABLE,)))
@takes_a_place
@_told
def get_tokens() -> ResponseReturnValue:
    """List the tokens: whose they are, what they may do, when they were last used."""
    issuer, keyring = services().tokens, services().keyring
    used = issuer.last_uses() if issuer else {}
    kept = [("file", token) for token in (issuer.tokens() if issuer else ())]
    fixed = [("environment", token) for token in (keyring.fixed if keyring else ())]
    return json_response(
        TokenList(
            now=datetime.now(UTC),
            may_change=issuer is not None,
            tokens=[
                TokenRecord.model_validate(
                    TokenRecord.facts(token, source, used.get(token.id))
                )
                for source, token in (*fixed, *kept)
            ],
        )
    )


@bp.post("/tokens")
@token_required("admin")
@documented(
    Note(
        MadeToken,
        body=NewToken,
        example={"name": "ci", "scopes": ["chat"], "rate": 60},
        failures=CHANGES,
        refusals=(NO_FILE, UNUSABLE, TAKEN),
    )
)
@takes_a_place
@_told
def post_token() -> ResponseReturnValue:
    """Make a token, on record; it is in effect within 5 s and shown here alone."""
    asked = NewToken.parse(read_json(this_request(), BODY_MAX))
    if (issuer := services().tokens) is None:
        return _no_file()
    try:
        secret, made = issuer.make(asked.wanted(), g.caller.name, rotate=asked.rotate)
    except NameTaken:
        detail = f"{TAKEN.meaning}; `rotate` makes one more"
        return error_response(TAKEN.status, TAKEN.code, detail)
    except NoSuchToken:
        raise InvalidBody({"name": "there is no token of that name"}) from None
    facts = TokenRecord.facts(made, "file", None)
    return json_response(MadeToken.model_validate({**facts, "token": secret}))


@bp.delete("/tokens/<token_id>")
@token_required("admin")
@documented(
    Note(
        TokenRecord,
        path={"token_id": "The token's id, as the list shows it."},
        failures=CHANGES,
        refusals=(NO_FILE, UNUSABLE),
    )
)
@takes_a_place
@_told
def delete_token(token_id: str) -> ResponseReturnValue:
    """Revoke a token, on record; it is without effect within 5 s."""
    if (issuer := services().tokens) is None:
        return _no_file()
    gone = _revoked(issuer, token_id)
    return json_response(gone)


def _revoked(issuer: TokenIssuer, token_id: str) -> TokenRecord:
    used = issuer.last_uses().get(token_id)
    try:
        gone = issuer.revoke(token_id, g.caller.name)
    except NoSuchToken:
        raise NotFound from None
    facts = TokenRecord.facts(gone, "file", used)
    return TokenRecord.model_validate({**facts, "state": "revoked"})


def _no_file() -> ResponseReturnValue:
    return error_response(NO_FILE.status, NO_FILE.code, NO_FILE.meaning)
