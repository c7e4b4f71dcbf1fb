"""One token at ten times its share beside another one of its class."""

import json
import threading
from collections import Counter

import pytest
import requests

from app.gateway.access.tokens import Caller, Token
from app.storage.tokens.edit import written
from tests.support.stack import Gateway, sandbox, wait_until

LOUD, MODEST = "a-token-of-the-loud-one", "a-token-of-the-modest-one"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    folder = tmp_path_factory.mktemp("walls")
    path = folder / "tokens.toml"
    scopes = frozenset({"chat", "audit"})
    tokens = [Token.of(Caller("loud", scopes), LOUD)]
    tokens += [Token.of(Caller("modest", scopes), MODEST)]
    path.write_text("\n".join(map(written, tokens)))
    path.chmod(0o600)
    with (
        sandbox() as (switch, madre),
        Gateway(
            folder,
            switch_url=switch.url,
            madre_url=madre.url,
            workers=1,
            threads=40,
            tokens_file=path,
        ) as gateway,
    ):
        gateway.switch = switch
        yield gateway


def ask(gateway, token, stream=False):
    return requests.post(
        f"{gateway.url}/operator/api/chat",
        json={"message": "Hello", "stream": stream, "session_id": "ours"},
        headers={"X-VX11-Token": token},
        timeout=60,
    )


class Flood:
    """Somebody who asks from as many connections as the gateway has places."""

    def __init__(self, gateway, stream):
        self.statuses = Counter()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(gateway, stream))
            for _ in range(40)
        ]

    def _run(self, gateway, stream):
        while not self._over.is_set():
            self.statuses[ask(gateway, LOUD, stream).status_code] += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(60)


@pytest.mark.parametrize("stream", [False, True])
def test_the_other_one_is_never_refused(gateway, stream):
    gateway.switch.break_with("slow", seconds=0.5)
    try:
        with Flood(gateway, stream) as flood:
            wait_until(lambda: flood.statuses[503] > 20)
            modest = [ask(gateway, MODEST, stream) for _ in range(10)]
    finally:
        gateway.switch.heal()

    assert Counter(answer.status_code for answer in modest) == {200: 10}
    assert flood.statuses[200] > 10


def test_what_is_refused_over_and_over_is_few_rows(gateway):
    refused = gateway.records("outcome = 'refused' AND caller = 'loud'")

    assert 1 <= len(refused) < 10


def test_the_two_are_in_no_session_together(gateway):
    before = len(gateway.switch.requests)
    for token in (LOUD, LOUD, MODEST):
        assert ask(gateway, token).ok

    bodies = [json.loads(r.body) for r in gateway.switch.requests[before:] if r.body]
    first, second, other = [b["session_id"] for b in bodies]
    assert first == second != other
    assert "ours" not in {first, other}
    shown = {row["session_id"] for row in gateway.records("outcome = 'completed'")}
    assert shown == {"ours"}
