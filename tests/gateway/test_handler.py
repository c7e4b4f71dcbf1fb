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


def test_an_observer_that_breaks_does_no_harm(caplog):
    seen = []
    stream = a_stream("Hi")
    stream.on_end(lambda s: 1 / 0)
    stream.on_end(seen.append)

    assert stream.collect().text == "Hi"
    assert seen == [stream]
    assert "observer" in caplog.text


def test_a_gateway_error_from_an_observer_is_a_veto_after_all_have_run():
    seen = []
    stream = a_stream("Hi")

    def veto(stream):
        raise AuditUnavailable

    stream.on_end(veto)
    stream.on_end(seen.append)

    with pytest.raises(AuditUnavailable):
        stream.collect()
    assert seen == [stream]
