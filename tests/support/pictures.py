"""`python -m tests.support.pictures`: take the pictures of the console.

A quarter of an hour with an outage in it is put on record first, so that there is
something to see. It needs Debian's chromium, chromium-driver and fonts-inter.
"""

import json
import random
import tempfile
import time
from pathlib import Path

from app.gateway.access.token_issuer import WantedToken, make_token
from app.storage.tokens.edit import TokenFile
from app.storage.trail import open_backend
from tests.storage.making import a_closing, an_intent
from tests.support.browsing import DESK, PHONE, Browser, Console
from tests.support.stack import HOUSE, TOKEN, Gateway, sandbox, wait_until

PICTURES = HOUSE / "docs" / "pictures"
TALL = DESK[0], 1180
QUESTIONS = (
    "When does the next shift begin?",
    "Summarise yesterday's deliveries.",
    "Which valve is the second on the left?",
    "How warm may the store room get?",
    "Translate the safety notice into Spanish.",
    "What did we order in March?",
)
CALLERS = ("front-desk", "front-desk", "warehouse", "night-shift")
DAY = 86_400  # seconds
OUTAGE = 420, 300  # seconds ago, from and to
NOTICED = 405  # seconds ago; until then each chat waited for the primary in vain


def put_history_on_record(url):
    """A week, and fifteen minutes in full; made up, with the same dice each time."""
    trail, dice, now = open_backend(url).trail(), random.Random(8), time.time()
    for day in range(6, 0, -1):
        for _ in range(int(dice.gauss(60, 12))):
            put_day_on_record(trail, dice, now - day * DAY)
    ago = 890.0
    while ago > 5:
        messages = [["user", dice.choice(QUESTIONS)]]
        said = json.dumps({"messages": messages})
        closing = a_closing(closed_at=now - ago + 1, **an_ending(dice, ago))
        caller = dice.choice(CALLERS)
        asked = an_intent(opened_at=now - ago, request=said, caller=caller)
        trail.finish(asked, closing, 10.0)
        ago -= dice.expovariate(1 / 4)
    trail.close()


def put_day_on_record(trail, dice, at):
    """One chat of a day, mostly answered by the first choice."""
    ending = {"duration": dice.lognormvariate(-0.6, 0.5)}
    if dice.random() < 0.08:
        ending = degraded("unhealthy", dice.lognormvariate(-0.9, 0.2))
    elif dice.random() < 0.03:
        ending = nobody_answered(dice)
    caller = dice.choice(CALLERS)
    closing = a_closing(closed_at=at, **some_tokens(dice), **ending)
    trail.finish(an_intent(opened_at=at, caller=caller), closing, 10.0)


def some_tokens(dice):
    return {
        "input_tokens": int(dice.expovariate(1 / 900)),
        "output_tokens": int(dice.expovariate(1 / 250)),
    }


def nobody_answered(dice):
    return {
        "outcome": "failed",
        "code": "upstream_unavailable",
        "status": 503,
        "provider": None,
        "reply": "{}",
        "duration": dice.lognormvariate(0.2, 0.3),
    }


def an_ending(dice, ago):
    if not OUTAGE[1] < ago < OUTAGE[0]:
        return {"duration": dice.lognormvariate(-0.6, 0.5), **some_tokens(dice)}
    if ago > NOTICED:
        return degraded("silent", 5.0 + dice.lognormvariate(-0.9, 0.2))
    if dice.random() < 0.15:
        return nobody_answered(dice)
    return degraded("unhealthy", dice.lognormvariate(-0.9, 0.2))


def degraded(fault, duration):
    return {"provider": "madre", "degraded_by": fault, "duration": duration}


def tokens_file(folder):
    """Some callers, so that there is somebody to see."""
    store = TokenFile(folder / "tokens.toml")
    for name, scopes, rate in (
        ("front-desk", {"chat"}, 120),
        ("warehouse", {"chat"}, None),
        ("night-shift", {"chat", "audit"}, None),
        ("prometheus", {"metrics"}, None),
    ):
        wanted = WantedToken(name, frozenset(scopes), rate=rate)
        store.add(make_token(wanted, (), rotate=False)[1], beside_others=False)
    return store.path


def take(console, switch):
    """Each page on a desk and some on a phone, in light and dark."""
    browser = console.browser
    browser.view((DESK[0], 800))
    console.open(fragment=f"#token={TOKEN}")
    browser.see("#composer")
    console.ask("Hello, who is there?")
    browser.click("#new-session")
    console.ask("Good morning")
    console.ask("I am worried about the harvest")
    browser.picture(PICTURES / "chat.png")
    browser.view(TALL)
    switch.break_with("status_error")
    console.open()
    console.ask("And now?")
    browser.view(PHONE, dark=True, scale=2)
    console.open()
    browser.see(".answer.degraded")
    browser.picture(PICTURES / "chat-phone-dark.png")
    switch.heal()
    browser.view(DESK)
    console.open()
    console.ask("All well again?")
    take_past(console)


def take_past(console):
    browser = console.browser
    for name, size, dark in (("health", TALL, False), ("health-dark", TALL, True)):
        browser.view(size, dark=dark)
        console.open("health")
        browser.see("#windows-box table")
        wait_until(lambda: "All well" in browser.text("#pulse"))
        browser.picture(PICTURES / f"{name}.png")
    browser.view(PHONE, scale=2)
    console.open("health")
    browser.see("#latency svg")
    browser.run("scrollTo(0, 0)")
    browser.picture(PICTURES / "health-phone.png")
    browser.view(DESK)
    console.open("records")
    browser.see("#rows li")
    browser.picture(PICTURES / "records.png")
    browser.view(TALL)
    browser.click("#rows .chip.warn")
    browser.see("#record h1")
    browser.picture(PICTURES / "record.png")
    browser.view(DESK)
    console.open("usage")
    browser.see("#used table")
    browser.picture(PICTURES / "usage.png")
    console.open("tokens")
    browser.see("#tokens table")
    browser.picture(PICTURES / "tokens.png")
    browser.view(PHONE, scale=2)
    console.open("records")
    browser.see("#rows li")
    browser.picture(PICTURES / "records-phone.png")


def main():
    with tempfile.TemporaryDirectory() as folder, sandbox(latency=0.15) as stand_ins:
        switch, madre = stand_ins
        gateway = Gateway(
            folder,
            workers=1,
            tokens_file=tokens_file(Path(folder)),
            switch_url=switch.url,
            madre_url=madre.url,
        )
        put_history_on_record(f"sqlite:///{gateway.audit}")
        with gateway:
            browser = Browser(Path(folder) / "chromium")
            try:
                take(Console(browser, gateway.url, TOKEN), switch)
            finally:
                browser.close()


if __name__ == "__main__":
    main()
