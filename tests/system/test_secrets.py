"""Canaries: what must stay secret is put everywhere, and then searched for."""

import pytest

from tests.stack import Gateway, sandbox

LINK_TOKEN = "canary-link-token-0123456789"
IN_PROMPT = "sk-canary-abcdefghijklmnopqrstuv"
IN_HEADER = "canary-cookie-value"
WRONG_TOKEN = "canary-wrong-token-5555"
CHAIN_KEY = "canary-chain-key-abcdef"


@pytest.fixture
def everything_written(tmp_path):
    """All files and answers of a gateway that has seen good and bad days."""
    shown = []
    with sandbox() as (switch, madre):
        switch._service.token = LINK_TOKEN
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
            for fault in ("http_status", "hang", "unauthorized", "html"):
                switch.break_with(fault)
                madre.break_with(fault)
                shown.append(gateway.chat(IN_PROMPT, headers=token))
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".key"]
    answers = [a.content + str(a.headers).encode() for a in shown]
    return {str(p): p.read_bytes() for p in files} | dict(enumerate(answers))


@pytest.mark.parametrize(
    "secret", [LINK_TOKEN, IN_PROMPT, IN_HEADER, WRONG_TOKEN, CHAIN_KEY]
)
def test_no_secret_reaches_a_file_or_an_answer(everything_written, secret):
    places = [
        name for name, data in everything_written.items() if secret.encode() in data
    ]

    assert places == []
