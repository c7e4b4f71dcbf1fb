"""The budget of calls: what one plain chat costs in functions of ours.

The count is the same on every machine, busy or not, so growth that no bench could see
on a small one is seen here. Whoever adds calls to each chat raises the figure, here and
in docs/limits.md, and says why in the commit.
"""

import pytest

from bench.stages import calls_of, chatting
from tests.upstreams.raw_server import RawServer, serving

CALLS = 463
GROWTH = 1.02  # so that a version of Python or a library may differ a little


@pytest.fixture
def switch():
    server = RawServer(serving)
    yield server
    server.stop()


def test_a_plain_chat_calls_no_more_functions_than_its_budget(switch):
    with chatting(switch.url.removesuffix("/chat")) as chat:
        calls = calls_of(chat)

    assert calls.total() <= CALLS * GROWTH, calls
