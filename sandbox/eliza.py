"""A small talk after Weizenbaum's ELIZA (1966), so that a demo has somebody to talk to.

It understands nothing and always answers the same to the same conversation.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b

NAME = "sandbox-eliza"
OPENING = (
    "I am the sandbox, not a model: I only hold up a mirror. What is on your mind?"
)
FIRST = "(The sandbox speaks; no model is involved.) "
BRIEF = "(Sandbox, standing in for madre.) "
QUOTED = 80  # characters of the caller's text that a reply repeats at most

MIRROR = {
    "i": "you", "me": "you", "my": "your", "mine": "yours", "am": "are",
    "i'm": "you are", "i've": "you have", "i'll": "you will", "myself": "yourself",
    "you": "I", "your": "my", "yours": "mine", "yourself": "myself",
    "you're": "I am",
}  # fmt: skip

RULES = [(re.compile(pattern, re.IGNORECASE), replies) for pattern, replies in (
    (r"\b(?:hello|hi|hey|hola|good (?:morning|evening))\b", (
        "Hello. What brings you here?",
        "Good to see you. What shall we talk about?")),
    (r"\b(?:thanks|thank you|gracias)\b", (
        "You are welcome. Is there something else?",
        "Gladly. What comes next?")),
    (r"\b(?:bye|goodbye|adios)\b", (
        "Goodbye. I shall have forgotten all of it by then.",
        "Until next time.")),
    (r"\b(?:ping|test|testing)\b", (
        "Pong. The line works.",
        "I hear you. The way here and back works.")),
    (r"\bi(?: a|')m (.+)", (
        "How long have you been {0}?",
        "What made you {0}?")),
    (r"\bi (?:need|want) (.+)", (
        "What would it change if you had {0}?",
        "Suppose you got {0}. What then?")),
    (r"\bi (?:can't|cannot|can not) (.+)", (
        "What keeps you from it: {0}?",
        "What happened when you last tried to {0}?")),
    (r"\bi (?:feel|think|believe) (.+)", (
        "What tells you {0}?",
        "And when you are not so sure about it: {0}?")),
    (r"\bmy (\w+)(.*)", (
        "Tell me more about your {0}.",
        "What else belongs to your {0}?")),
    (r"\bare you (.+?)\??$", (
        "Why would it matter whether I am {0}?",
        "I am what the sandbox is. What if I were {0}?")),
    (r"\b(?:can|could|will|would) you (.+?)\??$", (
        "Why would it matter whether I {0}?",
        "A sandbox can not say. What if I did {0}?")),
    (r"\bwhy (.+?)\??$", (
        "What would be a good reason, do you think?",
        "Perhaps you know why already. What do you suspect?")),
    (r"\bbecause (.+)", (
        "Is that the only reason?",
        "And if it were not so that {0}?")),
    (r"\?\s*$", (
        "What would you answer to that yourself?",
        "Where would you look for it first?")),
    (r".", (
        "Please go on.",
        "What does that remind you of?",
        "And how does the story continue?")),
)]  # fmt: skip


def reply(turns: Sequence[str]) -> str:
    """Answer the last of the user's turns, with an eye on the earlier ones."""
    if not turns or not turns[-1].strip():
        return OPENING
    if len(turns) == 1:
        return FIRST + _respond(turns[0], seed=turns[0])
    seed = "\n".join(turns)
    answer = _respond(turns[-1], seed)
    topics = [topic for turn in turns[:-1] if (topic := _topic(turn))]
    if not topics or stable(seed) % 3:
        return answer
    return f"{answer} Earlier you spoke of your {topics[-1]}. Does that belong to it?"


def brief_reply(message: str) -> str:
    """Answer one message on its own."""
    return BRIEF + _respond(message, seed=message) if message.strip() else OPENING


def stable(text: str) -> int:
    """A number of 64 bits that is the same for the same text, in every process."""
    digest = blake2b(text.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest)


def _respond(text: str, seed: str) -> str:
    line = " ".join(text.split())
    for pattern, replies in RULES:
        if found := pattern.search(line):
            groups = [_mirror(group) for group in found.groups()]
            return replies[stable(seed) % len(replies)].format(*groups)
    return OPENING


def _mirror(phrase: str) -> str:
    words = phrase[:QUOTED].rstrip(" .!?,;").split()
    mirrored = " ".join(MIRROR.get(word.lower(), word) for word in words)
    return re.sub(r"\bI are\b", "I am", mirrored)


def _topic(turn: str) -> str | None:
    found = re.search(r"\bmy (\w{1,40})", turn, re.IGNORECASE)
    return found[1] if found else None
