import pytest

from app.gateway.replay.playing import Step, played
from app.gateway.replay.stored import NotReplayable


def test_a_streamed_answer_is_said_in_its_pieces(a_record):
    reply = {"timeline": [[250, 10, 400], [2, 4, 2]], "text": "Hi dear!"}

    play = played(a_record(reply=reply))

    assert play.steps == (Step(0.25, "Hi"), Step(0.01, " dea"), Step(0.4, "r!"))
    assert (play.is_streamed, play.is_exact) == (True, True)
    assert play.seconds == pytest.approx(0.66)


def test_characters_are_those_of_unicode(a_record):
    reply = {"timeline": [[1, 1], [1, 2]], "text": "🦊né"}

    assert [step.text for step in played(a_record(reply=reply)).steps] == ["🦊", "né"]


def test_a_whole_answer_is_one_piece(a_record):
    play = played(a_record(duration=0.5))

    assert play.steps == (Step(0.5, "Hi there"),)
    assert (play.is_streamed, play.is_exact) == (False, True)


def test_of_a_redacted_answer_no_word_is_lost_and_it_says_so(a_record):
    text = "Ask [redacted:email] now"
    reply = {"timeline": [[1, 1, 1], [4, 9, 3]], "redacted": True, "text": text}

    play = played(a_record(reply=reply))

    assert "".join(step.text for step in play.steps) == text
    assert len(play.steps) == 3
    assert not play.is_exact


def test_pieces_without_text_keep_their_waits(a_record):
    choices = [{"index": 0, "delta": {"tool_calls": []}}]
    reply = {"timeline": [[5, 5], [0, 0]], "text": "", "choices": choices}

    assert played(a_record(reply=reply)).steps == (Step(0.005, ""), Step(0.005, ""))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"request": None, "reply": None}, "erased"),
        ({"reply": {"hmac_sha256": "00", "bytes": 3}}, "digest"),
        ({"reply": {}}, "not_kept"),
        ({"reply": None, "outcome": "interrupted"}, "no_answer"),
        ({"reply": {"text": ""}, "outcome": "failed"}, "no_answer"),
        ({"reply": {"text": "Hi", "truncated": True}}, "cut"),
        ({"outcome": None, "reply": None}, "open"),
    ],
)
def test_what_cannot_be_played_says_why(a_record, changes, reason):
    with pytest.raises(NotReplayable) as refusal:
        played(a_record(**changes))

    assert refusal.value.reason == reason
