"""Logs: one JSON object a line, never a secret, and never in a chat's way."""

import io
import json
import logging
import logging.config
import os
import socket
import threading
from contextvars import Context
from time import monotonic

import pytest

from app.gateway import correlation
from app.gateway.records.redaction import Redactor
from app.telemetry.logs import (
    BackgroundHandler,
    JsonFormatter,
    server_logging,
    set_up_logging,
)
from app.telemetry.repeats import MOST_KINDS, Repeats
from tests.support.stack import wait_until

CANARY = "canary-token-0123456789"


class Sink(io.StringIO):
    """Keeps what is written; can be made to fail or to hang."""

    def __init__(self):
        super().__init__()
        self.error = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def write(self, text):
        self.may_go_on.wait(30)
        if self.error:
            raise self.error
        return super().write(text)

    def lines(self):
        return [json.loads(line) for line in self.getvalue().split("\n") if line]

    def messages(self):
        return [line["message"] for line in self.lines()]


@pytest.fixture
def sink():
    sink = Sink()
    yield sink
    sink.error = None
    sink.may_go_on.set()


@pytest.fixture
def make(sink):
    """Make a handler and a logger that is only its own."""
    handlers = []

    def make(queue=1000, to=None):
        handler = BackgroundHandler(to or sink, queue=queue)
        handler.setFormatter(JsonFormatter(Redactor([CANARY]).text))
        handler.start()
        handlers.append(handler)
        logger = logging.Logger("app.test")  # noqa: LOG001  # nobody else's
        logger.addHandler(handler)
        return handler, logger

    yield make
    for handler in handlers:
        handler.close()


def line_of(log, write):
    """The one line that a call of the logger makes."""
    handler, logger = log
    write(logger)
    handler.close()
    (line,) = handler._sink.lines()
    return line


def test_a_line_says_when_who_how_bad_and_what(make):
    line = line_of(make(), lambda log: log.warning("It is %s", "late"))

    assert line["time"].endswith("+00:00")
    assert (line["level"], line["logger"]) == ("WARNING", "app.test")
    assert line["message"] == "It is late"


def test_each_line_carries_the_id_of_its_request(make):
    def write(log):
        request = Context()
        request.run(correlation.current.set, "c-1")
        request.run(log.info, "inside")

    assert line_of(make(), write)["correlation_id"] == "c-1"


def test_outside_of_a_request_there_is_none(make):
    def write(log):
        Context().run(log.info, "x")

    assert line_of(make(), write)["correlation_id"] == "-"


def test_threads_do_not_mix_up_their_ids(make, sink):
    handler, logger = make(queue=10_000)

    def work(number):
        correlation.current.set(f"c-{number}")
        for _ in range(100):
            logger.info("%d", number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handler.close()

    assert len(sink.lines()) == 800
    assert all(x["correlation_id"] == f"c-{x['message']}" for x in sink.lines())


FORGERIES = ["\n", "\r\n", "\x85", "\u2028", "\u2029", "\x0b", "\x1b[2K", "\x9b2K"]


@pytest.mark.parametrize("ending", FORGERIES, ids=ascii)
def test_no_text_can_forge_a_second_line(make, sink, ending):
    forged = f'{ending}{{"level":"INFO","message":"forged"}}'

    line = line_of(make(), lambda log: log.info("said: %s", f"hello{forged}"))

    assert line["message"] == f"said: hello{forged}"
    assert len(sink.getvalue().splitlines()) == 1
    assert sink.getvalue().rstrip("\n").isprintable()


def test_neither_can_an_exception(make, sink):
    def write(log):
        try:
            raise ValueError(f'bad\n{{"message": "forged"}} {CANARY}')
        except ValueError:
            log.exception("It broke")

    line = line_of(make(), write)

    assert "ValueError: bad" in line["exception"]
    assert len(sink.getvalue().splitlines()) == 1
    assert CANARY not in sink.getvalue()


@pytest.mark.parametrize(
    "write",
    [
        lambda log: log.info("token %s", CANARY),
        lambda log: log.info(f"token {CANARY}"),  # noqa: G004  # on purpose
        lambda log: log.info("%s", {"token": CANARY}),
        lambda log: log.info("%r", ValueError(CANARY)),
    ],
)
def test_a_secret_is_taken_out_wherever_it_came_from(make, sink, write):
    line_of(make(), write)

    assert CANARY not in sink.getvalue()
    assert "[redacted:token]" in sink.getvalue()


class TestErrorsThatManyChatsHaveAlike:
    def in_a_chat(self, write, *arguments):
        chat = Context()
        chat.run(correlation.current.set, f"c-{id(chat)}")
        chat.run(write, *arguments)

    def test_are_one_line_and_a_sum(self, make, sink):
        handler, logger = make()
        for _ in range(900):
            self.in_a_chat(logger.error, "Chat error: %s", "audit_unavailable")
        self.in_a_chat(logger.error, "Chat error: %s", "overloaded")
        handler.close()

        assert sink.messages() == [
            "Chat error: audit_unavailable",
            "Chat error: overloaded",
            "Chat error: audit_unavailable (899 more within a minute)",
        ]
        assert {line["level"] for line in sink.lines()} == {"ERROR"}

    def test_begin_anew_with_each_minute(self):
        repeats, record = Repeats(), logging.makeLogRecord({"msg": "late"})
        record.levelno, record.correlation_id = logging.ERROR, "c-1"
        record.created = 1000.0

        assert [repeats.is_written(record) for _ in range(3)] == [True, False, False]
        assert list(repeats.sums(1059.0)) == []
        assert [one.getMessage() for one in repeats.sums(1061.0)] == [
            "late (2 more within a minute)"
        ]
        assert repeats.is_written(record)
        assert list(repeats.sums(500.0)) == []  # the clock was set back
        assert repeats.is_written(record)

    def test_others_are_all_written(self, make, sink):
        handler, logger = make()
        for _ in range(2):
            logger.error("of no chat")
            self.in_a_chat(logger.warning, "no error")
            self.in_a_chat(self.fail, logger)
        handler.close()

        assert len(sink.lines()) == 6

    def fail(self, logger):
        try:
            raise ValueError
        except ValueError:
            logger.exception("a bug")

    def test_are_told_apart_up_to_a_number(self):
        repeats = Repeats()
        for number in range(2 * MOST_KINDS):
            record = logging.makeLogRecord({"msg": f"{number}"})
            record.levelno, record.correlation_id = logging.ERROR, "c-1"
            assert repeats.is_written(record)

        assert len(repeats._kinds) == MOST_KINDS


def test_a_line_that_cannot_be_made_is_told_without_its_text(make, sink):
    class Broken:
        def __str__(self):
            raise RuntimeError(CANARY)

    line = line_of(make(), lambda log: log.info("%s", Broken()))

    assert line["message"] == "a log line could not be made: RuntimeError"
    assert line["logger"] == "app.test"
    assert CANARY not in sink.getvalue()


def test_half_a_character_costs_no_other_line(make, tmp_path):
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        handler, logger = make(to=file)
        logger.info("before")
        logger.info("half: \ud800")
        logger.info("after")
        handler.close()

    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(x)["message"][:6] for x in lines] == [
        "before",
        "half: ",
        "after",
    ]
    assert handler.dropped == 0


def test_a_reader_that_stopped_holds_nobody_up(make, sink):
    handler, logger = make(queue=100)
    sink.may_go_on.clear()

    began = monotonic()
    for _ in range(20_000):
        logger.info("x")
    took = monotonic() - began

    assert took < 10
    assert len(handler._queue) <= 100
    assert handler.dropped >= 20_000 - 2 * 100

    sink.may_go_on.set()
    handler.close()
    lost = sum(int(m.split()[0]) for m in sink.messages() if "lines lost" in m)
    assert lost == handler.dropped
    assert sink.messages().count("x") + lost == 20_000


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        BrokenPipeError(),
        BlockingIOError(),
        ValueError("I/O operation on closed file"),
        RuntimeError("reentrant call"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_row_79_what_cannot_be_written_is_counted_and_told_later(make, sink, error):
    handler, logger = make()
    sink.error = error
    for _ in range(5):
        logger.info("lost")
    wait_until(lambda: handler.dropped == 5)

    sink.error = None
    logger.info("back")
    wait_until(lambda: "back" in sink.messages())

    assert sink.messages() == ["5 log lines lost", "back"]
    assert sink.lines()[0]["level"] == "ERROR"


def test_a_line_that_was_cut_spoils_no_other(make):
    """A full disk takes half a line; the next one begins on a line of its own."""

    class HalfDisk(Sink):
        def write(self, text):
            if self.error:
                io.StringIO.write(self, text[:10])
            return super().write(text)

    sink = HalfDisk()
    handler, logger = make(to=sink)
    sink.error = OSError(28, "No space left on device")
    logger.info("lost")
    wait_until(lambda: handler.dropped)

    sink.error = None
    logger.info("whole")
    handler.close()

    half, *rest = sink.getvalue().splitlines()
    assert len(half) == 10
    assert [json.loads(line)["message"] for line in rest] == [
        "1 log lines lost",
        "whole",
    ]


def test_on_a_closed_pipe_it_goes_on(make):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        handler, logger = make(to=pipe)
        os.close(reader)

        logger.info("nobody reads")
        wait_until(lambda: handler.dropped)

        assert handler._thread.is_alive()
        handler.close()
        with pytest.raises(BrokenPipeError):
            pipe.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)  # so that it can be closed


def test_on_a_full_pipe_closing_does_not_hang(make):
    here, there = socket.socketpair()
    with here, there, here.makefile("w") as file:
        handler, logger = make(to=file)
        logger.info("x" * 10_000_000)

        began = monotonic()
        handler.close()

        assert monotonic() - began < 5
        there.shutdown(socket.SHUT_RDWR)
        here.shutdown(socket.SHUT_RDWR)
        handler._thread.join(10)


def test_what_was_queued_is_written_at_the_end(make, sink):
    handler, logger = make()
    for number in range(100):
        logger.info("%d", number)

    handler.close()

    assert sink.messages() == [str(number) for number in range(100)]


class TestSetUp:
    @pytest.fixture
    def logging_as_it_was(self):
        names = (None, "gunicorn.error", "urllib3", "alembic")
        loggers = [logging.getLogger(name) for name in names]
        before = [(x, x.handlers, x.level, x.propagate) for x in loggers]
        yield
        for logger, handlers, level, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)

    @pytest.fixture
    def root(self, sink, logging_as_it_was):
        handler = set_up_logging("INFO", Redactor([CANARY]).text, sink)
        yield handler
        handler.close()

    def test_everything_goes_through_it_the_server_too(self, root, sink):
        logging.getLogger("gunicorn.error").error("Error handling %s", CANARY)
        logging.getLogger("app.anything").info("hello")
        logging.getLogger("app.anything").debug("too much")
        root.close()

        assert sink.messages() == ["Error handling [redacted:token]", "hello"]

    def test_the_master_of_the_workers_logs_json_too(self, logging_as_it_was, capsys):
        server = logging.getLogger("gunicorn.error")
        server.handlers = [logging.StreamHandler()]

        logging.config.dictConfig(server_logging("INFO", Redactor([CANARY]).text))
        server.info("Listening, %s", CANARY)

        (line,) = capsys.readouterr().err.splitlines()
        assert json.loads(line)["message"] == "Listening, [redacted:token]"

    @pytest.mark.parametrize(
        ("form", "is_terminal", "is_json"),
        [
            ("auto", True, False),
            ("auto", False, True),
            ("json", True, True),
            ("text", False, False),
        ],
    )
    def test_a_terminal_gets_lines_for_people(
        self, sink, logging_as_it_was, form, is_terminal, is_json
    ):
        sink.isatty = lambda: is_terminal
        handler = set_up_logging("INFO", Redactor([CANARY]).text, sink, form)
        logging.getLogger("app.anything").error("bad %s\x1b[2J\nforged", CANARY)
        handler.close()

        (line,) = sink.getvalue().splitlines()
        assert line.startswith("{") is is_json
        assert "\x1b[2J" not in line
        assert "bad [redacted:token]" in line
        assert ("\x1b[31mERROR" in line) is not is_json

    def test_libraries_that_log_hosts_are_silent(self, root, sink):
        logging.getLogger("urllib3.connectionpool").warning("http://switch:8002")
        root.close()

        assert sink.messages() == []


def test_queueing_costs_microseconds(make, record_property):
    """Reported; the bound only catches a wait."""
    _, logger = make(queue=100_000)
    began = monotonic()
    for _ in range(10_000):
        logger.info("Chat response sent [provider=%s]", "switch")
    each = (monotonic() - began) / 10_000 * 1e6
    record_property("microseconds", each)
    print(f"{each:.1f} us")

    assert each < 5_000
