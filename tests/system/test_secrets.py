"""Canaries: what must stay secret is put everywhere, and then searched for."""

import pytest
import requests

from tests.support.stack import Gateway, sandbox

LINK_TOKEN = "canary-link-token-0123456789"
IN_PROMPT = "sk-canary-abcdefghijklmnopqrstuv"
IN_HEADER = "canary-cookie-value"
WRONG_TOKEN = "canary-wrong-token-5555"
CHAIN_KEY = "canary-chain-key-abcdef"
FILE_TOKEN = "vx11_Canary-0123456789_Canary-0123456789_abcdefg"  # fixed: it names tests
CHAT = "/operator/api/chat"
COMPLETIONS = "/v1/chat/completions"


def as_ids(gateway, secret, headers):
    """Chats that carry the secret in every id that a caller can choose."""
    hello = {"message": "Hello", "messages": [{"role": "user", "content": "Hello"}]}
    id_headers = {
        "X-Correlation-ID": secret,
        "X-Session-Id": secret,
        "tracestate": f"a={secret}",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    for path, more, shown in (
        (CHAT, {"session_id": secret, "correlation_id": secret}, headers),
        (CHAT, {"session_id": f"s-{secret}", "stream": True}, headers),
        (CHAT, {}, headers | id_headers),
        (COMPLETIONS, {"metadata": {"session_id": secret}, "user": secret}, headers),
        (COMPLETIONS, {"stream": True}, headers | id_headers),
    ):
        url = f"{gateway.url}{path}"
        yield requests.post(url, json=hello | more, headers=shown, timeout=60)


def without_credentials(request):
    """What switch was sent beside the token that is meant for it."""
    headers = [pair for pair in request.headers if pair[0].lower() != "x-vx11-token"]
    return f"{headers} {request.body!r}"


def naming(service, model):
    """Let a stand-in say that this is the model that answered."""
    reply = service.reply
    service.reply = lambda request: reply(request) | {"engine_used": model}


@pytest.fixture(scope="module")
def everything_written(tmp_path_factory):
    """All files and answers of a gateway that has seen good and bad days."""
    shown, tmp_path = [], tmp_path_factory.mktemp("canaries")
    with sandbox() as (switch, madre):
        switch._service._token = LINK_TOKEN.encode()
        with Gateway(
            tmp_path,
            switch_url=switch.url,
            madre_url=madre.url,
            tentaculo_link_token=LINK_TOKEN,
            audit_key=CHAIN_KEY,
            switch_timeout=1,
            log_level="DEBUG",
        ) as gateway:
            token = {"X-VX11-Token": LINK_TOKEN, "Cookie": f"c={IN_HEADER}"}
            shown.append(gateway.chat(f"my key is {IN_PROMPT}", headers=token))
            shown.append(gateway.chat(headers={"X-VX11-Token": WRONG_TOKEN}))
            shown.append(gateway.chat(LINK_TOKEN, headers=token))
            shown.append(gateway.chat(5, headers=token, metadata={"k": LINK_TOKEN}))
            so_far = len(switch.requests)
            for secret in (LINK_TOKEN, CHAIN_KEY, FILE_TOKEN):
                shown += as_ids(gateway, secret, token)
            asked = "".join(map(without_credentials, switch.requests[so_far:]))
            naming(switch._service, LINK_TOKEN)
            shown.append(gateway.chat(headers=token))
            shown.append(gateway.chat(headers=token, stream=True))
            for fault in ("http_status", "hang", "unauthorized", "html"):
                switch.break_with(fault)
                madre.break_with(fault)
                shown.append(gateway.chat(IN_PROMPT, headers=token))
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".key"]
    answers = [a.content + str(a.headers).encode() for a in shown]
    written = {str(p): p.read_bytes() for p in files} | dict(enumerate(answers))
    return written | {"asked": asked.encode()}


@pytest.mark.parametrize(
    "secret", [LINK_TOKEN, IN_PROMPT, IN_HEADER, WRONG_TOKEN, CHAIN_KEY, FILE_TOKEN]
)
def test_no_secret_reaches_a_file_or_an_answer(everything_written, secret):
    places = [
        name for name, data in everything_written.items() if secret.encode() in data
    ]

    assert places == []
