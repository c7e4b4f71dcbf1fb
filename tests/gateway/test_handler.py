import pytest

from app.gateway.chat import ChatReply, Delta
from app.gateway.errors import AuditUnavailable, CallerGone, Interrupted
from app.gateway.handler import Outcome, ReplyStream


def a_reply():
    return ChatReply(text="", upstream="switch", model="m")


def a_stream(*texts, breaks_with=None, close=lambda: None):
    def deltas():
        yield from map(Delta, texts)
        if breaks_with:
            raise breaks_with

    return ReplyStream(deltas(), a_reply(), close)


def test_a_whole_reply_is_a_stream_of_one_delta():
    stream = ReplyStream.whole(ChatReply(text="Hello", upstream="switch", model="m"))

    assert [d.text for d in stream] == ["Hello"]
    assert stream.reply.text == "Hello"


def test_a_reply_read_to_its_end_is_completed_and_holds_all_text():
    stream = a_stream("Hel", "lo")

    assert stream.collect().text == "Hello"
    assert stream.outcome is Outcome.COMPLETED


def test_a_reply_that_breaks_has_failed_and_keeps_the_text_so_far():
    stream = a_stream("Hel", breaks_with=Interrupted("truncated"))

    with pytest.raises(Interrupted):
        stream.collect()

    assert stream.outcome is Outcome.FAILED
    assert stream.reply.text == "Hel"


@pytest.mark.parametrize("leave", ["close", "caller_gone"])
def test_a_reply_that_nobody_reads_to_its_end_is_cancelled(leave):
    stream = a_stream("Hel", breaks_with=CallerGone())
    next(stream)

    if leave == "close":
        stream.close()
    else:
        with pytest.raises(CallerGone):
            next(stream)

    assert stream.outcome is Outcome.CANCELLED


def test_a_reply_ends_exactly_once_and_closes_its_source():
    endings, closings = [], []
    stream = a_stream("Hi", close=lambda: closings.append(1))
    stream.on_end(endings.append)

    stream.collect()
    stream.close()

    assert (len(endings), len(closings)) == (1, 1)


def test_observers_run_innermost_first():
    order = []
    stream = a_stream("Hi")
    stream.on_end(lambda s: order.append("inner"))
    stream.on_end(lambda s: order.append("outer"))

    stream.collect()

    assert order == ["inner", "outer"]


def raising(error):
    def observer(stream):
        raise error

    return observer


@pytest.mark.parametrize("error", [ZeroDivisionError(), AuditUnavailable()])
def test_an_observer_that_breaks_does_no_harm(error, caplog):
    seen = []
    stream = a_stream("Hi")
    stream.on_end(raising(error))
    stream.on_end(seen.append)

    assert stream.collect().text == "Hi"
    assert seen == [stream]
    assert "observer" in caplog.text


@pytest.mark.parametrize("error", [ZeroDivisionError(), AuditUnavailable()])
def test_what_an_observer_that_may_veto_raises_is_raised_after_all_have_run(error):
    seen = []
    stream = a_stream("Hi")
    stream.on_end(raising(error), may_veto=True)
    stream.on_end(lambda s: seen.append(s.veto))

    with pytest.raises(type(error)):
        stream.collect()
    assert seen == [error]


def test_after_a_veto_no_reading_on_looks_like_a_proper_end():
    stream = a_stream("Hi")
    stream.on_end(raising(AuditUnavailable()), may_veto=True)
    next(stream)

    for _ in range(2):
        with pytest.raises(AuditUnavailable):
            next(stream)


def test_a_veto_is_told_in_place_of_what_broke_the_reply():
    stream = a_stream("Hel", breaks_with=Interrupted("truncated"))
    stream.on_end(raising(AuditUnavailable()), may_veto=True)

    with pytest.raises(AuditUnavailable):
        stream.collect()


def test_closing_a_reply_raises_no_veto():
    stream = a_stream("Hi")
    stream.on_end(raising(ZeroDivisionError()), may_veto=True)

    stream.close()

    assert stream.outcome is Outcome.CANCELLED


def test_a_source_that_cannot_be_closed_keeps_no_observer_from_being_told(caplog):
    seen = []
    stream = a_stream("Hi", close=lambda: 1 / 0)
    stream.on_end(seen.append)

    assert stream.collect().text == "Hi"
    assert seen == [stream]
