import subprocess
import sys

import pytest

from sandbox import eliza


def test_the_first_answer_makes_clear_who_speaks():
    assert "sandbox" in eliza.reply(["hello"]).lower()
    assert "sandbox" in eliza.brief_reply("hello").lower()
    assert "sandbox" in eliza.reply([]).lower()


@pytest.mark.parametrize(
    "text", ["", "   ", "\n\t", "\u200b", "?", "{0} {1}", "日本語"]
)
def test_every_message_has_an_answer(text):
    assert eliza.reply([text]).strip()
    assert eliza.reply(["first", text]).strip()
    assert eliza.brief_reply(text).strip()


def test_persons_are_mirrored():
    assert "your boat" in eliza.reply(["I need my boat"])
    assert "I am wrong" in eliza.reply(["I think you are wrong"])
    assert "help you" in eliza.reply(["Could you help me?"])


def test_a_long_message_is_not_repeated_whole():
    assert len(eliza.reply(["I need " + "words " * 10_000])) < 300


def test_a_message_is_answered_by_its_first_fitting_rule():
    assert "Pong" in eliza.reply(["ping"]) or "I hear you" in eliza.reply(["ping"])


def test_half_a_surrogate_pair_does_not_break_it():
    assert eliza.reply(["something \ud800"])


def test_the_same_conversation_gets_the_same_answer_in_another_process():
    """Python's own hash differs from process to process."""
    code = "from sandbox import eliza; print(eliza.reply(['a', 'why not?']))"

    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert elsewhere.stdout.strip() == eliza.reply(["a", "why not?"])
