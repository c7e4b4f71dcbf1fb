"""Row 66 of docs/faults.md: nobody answers for a thread that is hung for ever.

So no call may be made that can wait without an end. Sockets have theirs from the
transport and from the worker; this looks at everything else, by its name.
"""

import ast
from pathlib import Path

import pytest

APP = Path(__file__).parents[1] / "app"

# Calls that wait for ever unless they are told how long, and where they are told:
# the number of positional arguments from which on it is said, or a keyword.
WAITS = {
    "wait": (1, "timeout"),
    "wait_for": (2, "timeout"),
    "join": (1, "timeout"),
    "acquire": (2, "timeout"),
    "result": (1, "timeout"),
    "exception": (1, "timeout"),
    "select": (1, "timeout"),
    "poll": (1, "timeout"),
    "communicate": (9, "timeout"),
    "create_connection": (2, "timeout"),
    "urlopen": (3, "timeout"),
    "check_output": (9, "timeout"),
    "check_call": (9, "timeout"),
}
QUEUES = {"get": (2, "timeout"), "put": (3, "timeout")}
FOREVER = {"requests.get", "requests.post", "requests.request", "subprocess.run"}

ALLOWED = {
    ("cli/children.py", "wait"): "of what was killed a moment ago",
    ("cli/run.py", "poll"): "of a process; it never waits",
    ("cli/run.py", "wait"): "the launcher waits for the gateway, until Ctrl-C",
    ("gateway/guard/hang_detection.py", "result"): "of a future that is done",
    ("gateway/replay/replayer.py", "acquire"): "a place or none at once; no wait",
    (
        "storage/postgres/shared/query_thread.py",
        "exception",
    ): "of a future that is done",
    ("storage/postgres/shared/query_thread.py", "result"): "the same",
    ("storage/audit/entry.py", "acquire"): "the writer is about to release it",
    ("storage/sqlite/store.py", "join"): "joins the roster of workers; no wait",
    ("storage/sqlite/live_workers.py", "join"): "the same",
    ("web/request/caller.py", "poll"): "makes the object; its poll is told 0",
    ("server/thread_pool.py", "get"): "an idle thread waits for work of its own",
}
ROOMS = sorted(APP.rglob("*.py"))


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def says_how_long(call, place, keyword):
    names = {k.arg for k in call.keywords}
    return len(call.args) >= place or bool(names & {keyword, "blocking", None})


def is_queue(call):
    return "queue" in ast.unparse(call.func.value).lower()


def endless(call):
    name = call.func.attr
    if name in QUEUES and is_queue(call):
        return not says_how_long(call, *QUEUES[name]) and name == "get"
    if name in WAITS:
        return not says_how_long(call, *WAITS[name])
    is_foreign = ast.unparse(call.func) in FOREVER
    return is_foreign and not says_how_long(call, 9, "timeout")


def found(path):
    where = str(path.relative_to(APP))
    names = {(where, c.func.attr): c.lineno for c in calls(path) if endless(c)}
    return {
        f"{where}:{line} {name}"
        for (where, name), line in names.items()
        if (where, name) not in ALLOWED
    }


@pytest.mark.parametrize("path", ROOMS, ids=lambda p: str(p.relative_to(APP)))
def test_row_66_no_call_waits_without_an_end(path):
    assert found(path) == set()


@pytest.mark.parametrize(
    ("code", "is_endless"),
    [
        ("event.wait()", True),
        ("event.wait(1)", False),
        ("thread.join()", True),
        ("', '.join(names)", False),
        ("lock.acquire()", True),
        ("lock.acquire(timeout=1)", False),
        ("requests.get(url)", True),
        ("requests.get(url, timeout=3)", False),
        ("self._queue.get()", True),
        ("settings.get('x')", False),
    ],
)
def test_it_knows_one_when_it_sees_it(code, is_endless):
    (call,) = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call)]

    assert bool(endless(call)) is is_endless


def test_no_exception_is_kept_that_is_not_needed():
    waits = {
        (str(path.relative_to(APP)), call.func.attr)
        for path in ROOMS
        for call in calls(path)
        if endless(call)
    }

    assert set(ALLOWED) <= waits
