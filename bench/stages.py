"""Where the CPU time of a chat goes: by stage, and in calls of Python.

`python -m bench.stages` prints the table of docs/limits.md. One thread chats with the
whole app as a WSGI server would call it, in front of an instant upstream; what is
counted is deterministic, what is timed is not.
"""

import contextlib
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from app import create_app
from app.settings import Settings
from bench import servers

APP = f"{servers.HOUSE / 'app'}/"
BODY = b'{"message":"Hello"}'
WARM_UP, COUNTED, TIMED = 100, 20, 300  # chats

# A file belongs to the first stage whose beginning it has; others to their caller's.
STAGES = (
    ("door", "web/"),
    ("record", "gateway/records/"),
    ("record", "gateway/chain/audited.py"),
    ("core", "storage/shared/"),
    ("record", "storage/"),
    ("telemetry", "telemetry/"),
    ("telemetry", "gateway/tracing.py"),
    ("telemetry", "gateway/chain/metered.py"),
    ("exchange", "upstreams/"),
    ("core", ""),
)
SERVER = ("/flask/", "/werkzeug/", "/blinker/")
# Python 3.12 made these a part of the function that they stand in.
INLINED = {"<listcomp>", "<dictcomp>", "<setcomp>"}

Chat = Callable[[], None]
Profile = Callable[[FrameType, str, Any], None]


@contextlib.contextmanager
def chatting(upstream: str) -> Iterator[Chat]:
    """What makes one chat each time it is called; `upstream` is the base of switch."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            token=servers.TOKEN,
            switch_url=upstream,
            madre_url=upstream,
            audit_url=f"sqlite:///{folder}/audit.db",
            threads=64,
        )
        app = create_app(settings)
        chat = _chat_of(app.wsgi_app)
        for _ in range(WARM_UP):
            chat()
        try:
            yield chat
        finally:
            app.extensions["gateway"]().close()


def calls_of(chat: Chat) -> Counter[str]:
    """How many functions of ours one chat calls, by stage; the fewest of some chats."""
    return min((_counted(chat) for _ in range(COUNTED)), key=Counter.total)


def seconds_of(chat: Chat) -> dict[str, float]:
    """The CPU seconds of one chat by stage; `writer` is what other threads spend.

    Looking makes all of it slower, so that only the shares are taken from a run that
    is looked at, and the whole from one that is not.
    """
    in_all, in_thread = time.process_time(), time.thread_time()
    for _ in range(TIMED):
        chat()
    in_thread = time.thread_time() - in_thread
    in_all = time.process_time() - in_all
    watch = _StageWatch()
    _profiled(watch.look, lambda: [chat() for _ in range(TIMED)])
    each = in_thread / TIMED / sum(watch.spent.values())
    shares = {stage: spent * each for stage, spent in watch.spent.items()}
    return shares | {"writer": (in_all - in_thread) / TIMED}


def stage_of(path: str) -> str | None:
    """The stage that a file belongs to; None for that of whoever calls it."""
    if path.startswith(APP):
        inner = path.removeprefix(APP)
        return next(stage for stage, begins in STAGES if inner.startswith(begins))
    return "server" if any(part in path for part in SERVER) else None


class _StageWatch:
    """The seconds that were spent in each stage, by a profile of one thread."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._stages: dict[CodeType, str | None] = {}
        self._inside = ["server"]
        self._since = time.thread_time()

    def look(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "return"):
            return
        now = time.thread_time()
        self.spent[self._inside[-1]] += now - self._since  # type: ignore[assignment]
        if event == "call":
            code = frame.f_code
            if code not in self._stages:
                self._stages[code] = stage_of(code.co_filename)
            self._inside.append(self._stages[code] or self._inside[-1])
        elif len(self._inside) > 1:
            self._inside.pop()
        self._since = time.thread_time()


def _counted(chat: Chat) -> Counter[str]:
    calls: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or code.co_name in INLINED:
            return
        if code.co_filename.startswith(APP) and (stage := stage_of(code.co_filename)):
            calls[stage] += 1

    _profiled(count, chat)
    return calls


def _profiled(profile: Profile, work: Callable[[], object]) -> None:
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)


def _chat_of(app: Callable[..., Any]) -> Chat:
    statuses: list[str] = []

    def chat() -> None:
        statuses.clear()
        answer = app(_environ(), lambda status, *_: statuses.append(status))
        b"".join(answer)
        if hasattr(answer, "close"):
            answer.close()
        if statuses != ["200 OK"]:
            raise RuntimeError(f"a chat ended with {statuses}")

    return chat


def _environ() -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/operator/api/chat",
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
        "HTTP_X_VX11_TOKEN": servers.TOKEN,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(BODY)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(BODY),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def main() -> None:
    """Print calls and microseconds of one chat by stage."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        constant = servers.CONSTANT.format(reply=servers.REPLY)
        upstream = servers.nginx(folder, "bare", constant, 1, servers.OTHER_CORE)
        port, _ = stack.enter_context(upstream)
        chat = stack.enter_context(chatting(f"http://127.0.0.1:{port}"))
        calls, seconds = calls_of(chat), seconds_of(chat)
    print("stage        our calls   CPU us")
    for stage in sorted(seconds, key=lambda stage: -seconds[stage]):
        print(f"{stage:<12} {calls[stage]:>9} {seconds[stage] * 1e6:>8.0f}")
    print(f"{'in all':<12} {calls.total():>9} {sum(seconds.values()) * 1e6:>8.0f}")


if __name__ == "__main__":
    main()
