"""What is warm before a fork must not be shared after it (docs/faults.md, row 68)."""

import json
import os

from app import create_app
from app.settings import Settings
from tests.support.stack import TOKEN, sandbox

CHATS = 60


def ask(app, text):
    answer = app.test_client().post(
        "/operator/api/chat", json={"message": text}, headers={"X-VX11-Token": TOKEN}
    )
    return answer.json["response"]


def in_child(work):
    """Run work in a forked child; return a function that waits for its result."""
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            os.write(write, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(write)

    def result():
        with os.fdopen(read) as pipe:
            text = pipe.read()
        os.waitpid(pid, 0)
        return json.loads(text)

    return result


def test_two_children_of_a_warm_parent_get_their_own_answers(tmp_path):
    with sandbox() as (switch, madre):
        app = create_app(
            Settings(
                token=TOKEN,
                switch_url=switch.url,
                madre_url=madre.url,
                audit_url=f"sqlite:///{tmp_path}/audit.db",
            )
        )
        expected = {name: ask(app, f"I am {name}") for name in ("ann", "bob")}
        parent = app.extensions["gateway"]()

        def chats(name):
            answers = [ask(app, f"I am {name}") for _ in range(CHATS)]
            own = app.extensions["gateway"]() is not parent
            app.extensions["gateway"]().close()
            return {"answers": answers, "own services": own}

        waiting = {name: in_child(lambda n=name: chats(n)) for name in expected}
        results = {name: wait() for name, wait in waiting.items()}
        parent.close()

    for name, result in results.items():
        assert result["own services"]
        assert result["answers"] == [expected[name]] * CHATS
