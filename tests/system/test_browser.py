"""The console in a real Chromium, on the real gateway with the sandbox behind it."""

import hashlib
import json

import pytest
import requests
from selenium.webdriver.common.keys import Keys

from tests.support.browsing import CHROMIUM, DESK, DRIVER, PHONE, Browser, Console
from tests.support.stack import TOKEN, Gateway, sandbox, wait_until

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs Debian's packages chromium and chromium-driver (.ci/run has them)",
)

MASKED = "safe\u202etxt.exe\u200b <img src=x onerror=alert(1)>"
PAGES = ["", "health", "records", "outages"]
AUDITOR, TALKER = "a-token-that-reads-records", "a-token-that-only-chats"
TOKENS = """
[[tokens]]
name = "{name}"
sha256 = "{sha256}"
scopes = ["{scope}"]
"""


def tokens_file(folder):
    """One token that may only read records, one that may only chat."""
    records = [
        TOKENS.format(
            name=name, scope=scope, sha256=hashlib.sha256(token.encode()).hexdigest()
        )
        for name, scope, token in (
            ("night-audit", "audit", AUDITOR),
            ("helpdesk", "chat", TALKER),
        )
    ]
    path = folder / "tokens.toml"
    path.write_text("".join(records))
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def stand_ins():
    with sandbox() as (switch, madre):
        yield switch, madre


@pytest.fixture(scope="module")
def gateway(stand_ins, tmp_path_factory):
    switch, madre = stand_ins
    switch.show_with({"switch": switch, "madre": madre})
    folder = tmp_path_factory.mktemp("gateway")
    with Gateway(
        folder,
        workers=2,
        tokens_file=tokens_file(folder),
        switch_url=switch.url,
        madre_url=madre.url,
        sandbox_page=switch.page_url,
    ) as running:
        wait_until(lambda: running.upstreams_are(switch="up", madre="up"))
        yield running


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def expected():
    """What a test makes the browser complain about, on purpose."""
    return []


@pytest.fixture
def console(chromium, gateway, stand_ins, expected):
    """Signed out, everything well; at the end nothing must have been complained of."""
    for server in stand_ins:
        server.heal()
    wait_until(lambda: gateway.upstreams_are(switch="up", madre="up"))
    wait_until(lambda: "obstacle" not in gateway.services()["switch"])
    chromium.view(DESK)
    console = Console(chromium, gateway.url, TOKEN)
    console.open("static/console.css")  # where no script is at work meanwhile
    console.forget()
    chromium.complaints()  # whatever the page of the test before said at its end
    chromium.hosts()
    yield console
    complaints = chromium.complaints()
    assert [c for c in complaints if not any(e in c for e in expected)] == []
    assert chromium.hosts() <= {gateway.url.removeprefix("http://")}


def test_a_breach_of_the_policy_would_be_noticed(console, expected):
    expected.append("policy: img-src")
    console.open()

    console.browser.run(
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.2:9/'}))"
    )

    wait_until(lambda: any("img-src" in c for c in console.browser.complaints()))
    assert "127.0.0.2:9" in console.browser.hosts()


def test_a_control_without_a_name_and_a_faint_text_would_be_noticed(console):
    console.open()
    console.browser.see("#sign-in")
    console.browser.run(
        "document.querySelector('label').remove();"
        "document.querySelector('h1').style.color = 'silver';"
    )

    (nameless,) = console.browser.nameless_controls()
    ((faint, ratio),) = console.browser.faint_texts()

    assert 'id="token"' in nameless
    assert faint == "Sign in"
    assert 1.5 < ratio < 2.5


def test_signing_in_takes_the_token_and_refuses_a_wrong_one(console, expected):
    expected.append("403")
    browser = console.browser
    console.open()

    browser.write("#token", "a-wrong-token\n")
    browser.wait_for("#sign-in-problem", "not valid")
    assert browser.run("return document.activeElement.id") == "token"

    browser.write("#token", TOKEN + "\n")
    browser.see("#composer")
    assert "operator" in browser.text("#signed-in-as")

    browser.click("#sign-out")
    browser.see("#sign-in")
    assert browser.run("return sessionStorage.length") == 0


def test_the_address_with_the_token_signs_in_and_keeps_it_to_itself(console):
    console.open(fragment=f"#token={TOKEN}")

    console.browser.see("#composer")

    assert console.browser.driver.current_url.endswith("/operator/")
    assert TOKEN not in console.browser.run("return document.cookie + location.href")
    assert console.browser.run("return document.cookie") == ""


def test_a_link_signs_nobody_over_to_another_token(console):
    """Else one click would put his next words on record under another's name."""
    console.sign_in()

    console.open(fragment=f"#token={TALKER}")

    console.browser.wait_for("#signed-in-as", "not taken")
    assert "operator" in console.browser.text("#signed-in-as")
    held = "return sessionStorage.getItem('gateway-token')"
    assert console.browser.run(held) == TOKEN
    assert TALKER not in console.browser.driver.current_url


def test_a_chat_tells_who_answered_and_leads_to_its_record(console):
    console.sign_in()

    answer = console.ask("Hello, console")

    assert "The sandbox speaks" in answer.text
    assert {"switch", "sandbox-eliza"} <= set(answer.text.split())
    assert "Degraded" not in answer.text

    console.browser.click(".answer a")
    console.browser.wait_for("#record h1", "Record")
    assert "Hello, console" in console.browser.text("#record")
    assert "answered" in console.browser.text(".timeline")


def test_a_broken_switch_is_seen_in_chat_record_and_health(console, stand_ins):
    browser = console.browser
    stand_ins[0].break_with("http_status")
    console.sign_in()
    answer = console.ask("Who is there?")
    assert "Degraded" in answer.text
    assert "madre" in answer.text

    browser.click(".answer a")
    browser.wait_for("#record .chip", "degraded")
    steps = [step.text for step in browser.all(".timeline .who")]
    assert steps == ["switch", "madre", "gateway"]

    console.open("health")
    browser.wait_for("#windows-box", "http_5xx")
    browser.wait_for("#errors-caption", "degraded")
    assert browser.all("#latency .dot-warn")

    console.open("records", "#provider=madre&text=Who is there")
    browser.wait_for("#found", "1 record")


def test_the_console_leads_to_the_page_that_breaks_and_heals(
    console, gateway, stand_ins
):
    browser, switch = console.browser, stand_ins[0]
    console.sign_in()

    browser.click("#to-break")
    browser.wait_for("#stand-in-madre .state", "Works.")
    console.break_with("switch", "refuse")
    wait_until(lambda: gateway.upstreams_are(switch="down", madre="up"))

    console.heal("switch")
    wait_until(lambda: gateway.upstreams_are(switch="up", madre="up"))
    console.open()
    assert browser.hosts() - {gateway.url.removeprefix("http://")} == {
        switch.control_url.removeprefix("http://")
    }


def test_a_chat_that_nobody_answers_looks_like_it(console, stand_ins, expected):
    expected.append("503")
    for server in stand_ins:
        server.break_with("http_status")
    console.sign_in()

    answer = console.ask("Anybody?", state="failed")

    assert "Nobody could answer" in answer.text
    assert "upstream_unavailable" in answer.text
    console.browser.click(".answer a")
    console.browser.wait_for("#record .chip", "failed")


# What is copied, kept for the test to read.
CLIPBOARD = """
Object.defineProperty(navigator, "clipboard", {
  value: { writeText: async (text) => { window.copied = text; } },
});
"""


# Streams that end as no stream of ours should, and one that comes in crumbs.
STREAM = """
const original = window.fetch;
window.fetch = (url, options) => {
  if (!String(url).endsWith("/chat/completions")) return original(url, options);
  const bytes = new TextEncoder().encode(%s);
  let at = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) controller.close();
      else controller.enqueue(bytes.slice(at, (at += 7)));
    },
  });
  const headers = {
    "Content-Type": "text/event-stream",
    "X-Gateway-Provider": "switch",
    "X-Gateway-Degraded": "false",
    "X-Gateway-Audit-Id": "a",
  };
  return Promise.resolve(new Response(body, { headers }));
};
"""


def said(text):
    """A chunk with these words."""
    chunk = {"model": "m", "choices": [{"index": 0, "delta": {"content": text}}]}
    return f"data: {json.dumps(chunk)}\n\n:\n\n"


WORDS = said("Zażółć 日本語 🙂")
DONE = "data: [DONE]\n\n"
ERROR = (
    'data: {"error":{"code":"reply_interrupted","message":"the reply broke off"}}\n\n'
)


@pytest.fixture
def streamed(console):
    """Ask, and have the answer be a stream of these events."""
    undos = []

    def ask(events, state="done"):
        script = STREAM % json.dumps(events)
        undos.append(console.browser.before_each_page(script))
        console.sign_in()
        return console.ask("Go on", state=state)

    yield ask
    for undo in undos:
        undo()


@pytest.mark.parametrize(
    ("events", "state", "words"),
    [
        (WORDS, "cut", "Cut off"),
        (WORDS + ERROR, "cut", "reply_interrupted"),
        (WORDS + WORDS + DONE, "done", "日本語 🙂Zażółć"),
        (WORDS + ": x-gateway-provider madre\n\n" + DONE, "done", "madre answered"),
    ],
)
def test_a_stream_is_what_its_ending_says(streamed, events, state, words):
    answer = streamed(events, state)

    assert "Zażółć 日本語" in answer.text
    assert words in answer.text
    assert (state == "cut") == ("not a complete answer" in answer.text)


MARKDOWN = """# Top

Some **bold** words and `code`, [a page](https://example.org/x).

- one
- two

| a | b |
|---|---|
| 1 | 2 |

```python
print("<b>kept</b>")
```
"""


def test_an_answer_is_shown_as_its_markdown_means_it(console, streamed):
    browser = console.browser
    undo = browser.before_each_page(CLIPBOARD)
    try:
        answer = streamed(said(MARKDOWN) + DONE)
        shown = {
            css: [e.text for e in browser.all(f".answer .text {css}")]
            for css in ("h3", "strong", "p code", "li", "td", "pre code")
        }

        assert shown == {
            "h3": ["Top"],
            "strong": ["bold"],
            "p code": ["code"],
            "li": ["one", "two"],
            "td": ["1", "2"],
            "pre code": ['print("<b>kept</b>")'],
        }
        link = browser.see(".answer .text a")
        assert link.get_attribute("href") == "https://example.org/x"
        assert link.get_attribute("rel") == "noopener noreferrer"
        browser.click(".code button")
        browser.wait_for(".code button", "Copied")
        assert browser.run("return window.copied") == 'print("<b>kept</b>")\n'
        browser.view(PHONE)
        assert browser.overflow() <= 0
        assert browser.faint_texts() == []
        assert browser.nameless_controls() == []
        assert "**" not in answer.text
    finally:
        undo()


@pytest.mark.parametrize(
    "words",
    [
        "<script>document.title = 'had'</script>",
        "<b onclick=alert(1)>x</b>",
        "![p](https://example.org/p.png)",
        "[x](javascript:document.title='had')",
        "[x](data:text/html,had)",
        "[Sign in](/operator/records)",
        "<a href='https://example.org' style='position:fixed'>x</a>",
        "<svg><style><img src=x onerror=alert(1)>",
    ],
)
def test_no_answer_puts_more_than_words_on_the_page(console, streamed, words):
    streamed(said(f"Well: {words}") + said(f"\n\n{words}\n\n- {words}") + DONE)

    foreign = "img, script, svg, style, b, a[href], [style], [onclick], iframe, form"
    assert console.browser.all(f".answer .text :is({foreign})") == []
    assert console.browser.run("return document.title") == "Chat · Chat gateway"


SHOW = """return (async ([texts]) => {
const { showMarkdown } = await import("/operator/static/markdown.js");
return texts.map((text) => {
  const element = document.createElement("div");
  showMarkdown(element, text, { isOver: true });
  return [element.className, element.textContent === text];
});
})(arguments);"""


def test_an_answer_that_is_all_marks_is_shown_as_it_came(console):
    console.open()
    deep_list = "".join("  " * depth + "- a\n" for depth in range(60))
    hostile = ["*_a" * 3000, "> " * 3000, "- " * 100 + "a", deep_list, "<" * 300_000]
    ordinary = "\n\n".join(["Some *words* and `a_b_c`"] * 1000)

    shown = console.browser.run(SHOW, [*hostile, ordinary])

    assert shown == [["", True]] * len(hostile) + [["rich", False]]


def test_the_page_follows_only_a_reader_who_is_at_its_end(console):
    browser = console.browser
    hold = STREAM % json.dumps("")
    hold = hold.replace("pull(controller) {", "pull(controller) { return; ").replace(
        "let at = 0;", "let at = 0; let hand;"
    )
    hold = hold.replace(
        "new ReadableStream({",
        "new ReadableStream({ start(c) { window.say = (text) => "
        "c.enqueue(new TextEncoder().encode(text)); },",
    )
    undo = browser.before_each_page(hold)
    try:
        console.sign_in()
        browser.write("#message", "At length\n")
        browser.see("#stop")
        tall = said("word\n\n" * 80)
        browser.run("say(arguments[0])", tall)
        bottom = "return scrollY + innerHeight >= document.body.scrollHeight - 80"
        wait_until(
            lambda: browser.run(f"return scrollY > 500 && (() => {{{bottom}}})()")
        )
        assert "switch" in browser.text(".answer .wait")

        browser.run("scrollTo(0, 0)")
        browser.see("#newest")
        height = browser.run("return document.body.scrollHeight")
        browser.run("say(arguments[0])", tall)
        wait_until(lambda: browser.run("return document.body.scrollHeight") > height)
        assert browser.run("return scrollY") == 0

        browser.click("#newest")
        wait_until(lambda: browser.run(bottom))
        assert not browser.all("#newest")[0].is_displayed()
        browser.run("say(arguments[0])", DONE)
        browser.see(".answer.done")
    finally:
        undo()


def test_escape_stops_and_the_question_can_be_asked_again(console, stand_ins):
    browser = console.browser
    stand_ins[0].break_with("hang")
    console.sign_in()
    browser.write("#message", "Once more\n")
    stand_ins[0].wait_for_chats(1)
    browser.press(Keys.ESCAPE)
    browser.wait_for(".answer", "Stopped by you")

    stand_ins[0].heal()
    browser.click(".again")

    browser.see(".answer.done")
    assert [q.text for q in browser.all(".question")] == ["You:\nOnce more"] * 2


def test_a_question_that_nobody_answered_is_put_back(console, stand_ins, expected):
    expected.append("503")
    for server in stand_ins:
        server.break_with("http_status")
    console.sign_in()
    answer = console.ask("Nobody there?", state="failed")

    held = "return document.querySelector('#message').value"
    wait_until(lambda: console.browser.run(held) == "Nobody there?")
    assert answer.text.count("answer") == 1  # said once, not twice


def test_whoever_answers_is_told_what_was_said_before(console, stand_ins, gateway):
    console.sign_in()
    console.ask("My name is Robert")
    console.ask("What is my name?")

    (row,) = gateway.records("request LIKE '%What is my name%'")
    turns = json.loads(row["request"])["messages"]
    assert [role for role, _ in turns] == ["user", "assistant", "user"]
    assert turns[0][1] == "My name is Robert"

    console.browser.click("#new-session")
    console.ask("Who am I?")
    (row,) = gateway.records("request LIKE '%Who am I%'")
    assert len(json.loads(row["request"])["messages"]) == 1


def test_the_empty_page_says_who_will_answer_and_what_to_try(console):
    console.sign_in()

    console.browser.wait_for("#who", "switch will answer; if it cannot, madre.")
    assert console.browser.see("#try a").text == "Break it"


def test_the_reader_chooses_who_is_asked(console):
    browser = console.browser
    console.sign_in()
    browser.see("#choice")
    browser.write("#model", "madre")

    answer = console.ask("Only you")

    assert answer.find_element("css selector", ".chip").text.endswith("madre")


def test_stopping_ends_the_answer_and_is_on_record(console, stand_ins, gateway):
    stand_ins[0].break_with("hang")
    console.sign_in()
    console.browser.write("#message", "Wait for it\n")
    console.browser.see("#stop")
    stand_ins[0].wait_for_chats(1)

    console.browser.click("#stop")

    console.browser.wait_for(".answer", "Stopped by you")
    asked = "request LIKE '%Wait for it%' AND outcome = 'cancelled'"
    wait_until(lambda: gateway.records(asked))


def test_a_stopped_answer_shows_its_ids_and_leads_to_its_record(console, stand_ins):
    """Also if nothing has come from the gateway by then."""
    browser = console.browser
    stand_ins[0].break_with("hang")
    console.sign_in()
    browser.write("#message", "Stop this one\n")
    browser.see("#stop")
    stand_ins[0].wait_for_chats(1)
    browser.click("#stop")
    browser.wait_for(".answer", "Stopped by you")

    browser.click(".answer summary")
    assert "Correlation" in browser.text(".ids dl")
    assert "Session" in browser.text(".ids dl")
    browser.click(".answer a")

    browser.wait_for("#record", "Stop this one")
    browser.wait_for("#record .chip", "cancelled")


def test_a_chat_that_was_left_in_mid_answer_is_not_forgotten(
    console, stand_ins, gateway
):
    browser = console.browser
    stand_ins[0].break_with("hang")
    console.sign_in()
    browser.write("#message", "Left alone\n")
    stand_ins[0].wait_for_chats(1)

    console.open("health")
    asked = "request LIKE '%Left alone%' AND outcome IS NOT NULL"
    wait_until(lambda: gateway.records(asked))
    console.open()

    browser.wait_for(".question", "Left alone")
    browser.wait_for(".answer", "Not finished here")
    browser.click(".answer a")
    browser.wait_for("#record", "Left alone")


def test_signing_out_in_mid_answer_forgets_all_of_it(console, stand_ins):
    stand_ins[0].break_with("hang")
    console.sign_in()
    console.browser.write("#message", "Forget me\n")
    stand_ins[0].wait_for_chats(1)

    console.browser.click("#sign-out")

    console.browser.see("#sign-in")
    assert console.browser.run("return sessionStorage.length") == 0


def test_the_copied_command_is_of_its_own_session_and_says_where_the_token_goes(
    console, gateway
):
    browser = console.browser
    undo = browser.before_each_page(CLIPBOARD)
    try:
        console.sign_in()
        console.ask("The first talk")
        first = browser.run(
            "return JSON.parse(sessionStorage.getItem('gateway-talk')).session"
        )
        console.ask("It's the same talk")
        # Of another talk than the page's present one, as after a new session.
        browser.run(
            "const talk = JSON.parse(sessionStorage.getItem('gateway-talk'));"
            "talk.session = 'another';"
            "sessionStorage.setItem('gateway-talk', JSON.stringify(talk));"
        )
        console.open()
        browser.see(".answer")
        (button, *_) = [b for b in browser.all("button.link") if "curl" in b.text]
        button.click()
        browser.wait_for(".actions .hint", "$VX11_TENTACULO_LINK_TOKEN must hold")

        copied = browser.run("return window.copied")
        assert f"X-Session-Id: {first}" in copied
        assert "The first talk" in copied
        assert TOKEN not in copied
        rows = gateway.records("session_id = ?", first)
        assert len(rows) == 2
    finally:
        undo()


def test_a_token_for_records_alone_opens_what_it_may(console, gateway):
    """And the fixture sees that nothing is asked that would be forbidden."""
    browser = console.browser
    gateway.chat("Something to find")
    console.sign_in(token=AUDITOR)

    assert "scope chat" in browser.text("#closed")
    assert not browser.all("#composer")[0].is_displayed()
    assert browser.text("#signed-in-as") == "Signed in as night-audit"
    shown = [link.text for link in browser.all(".pages a") if link.is_displayed()]
    assert shown == ["Chat", "Health", "Records", "Outages", "Usage", "Break it"]

    browser.click("#closed a")
    browser.see("#latency svg")
    assert "lacks the scope chat" in browser.text("#scope-note")
    assert not browser.all("#tiles")[0].is_displayed()
    browser.click("#to-records")
    browser.wait_for("#rows .by", "switch")
    options = browser.run(
        "return [...document.querySelectorAll('#providers option')].map(o => o.value)"
    )
    assert "switch" in options


def test_a_token_for_chats_alone_sees_no_way_to_records(console):
    browser = console.browser
    console.sign_in(token=TALKER)
    console.ask("Only this")

    assert "Its record" not in browser.text(".answer")
    shown = [link.text for link in browser.all(".pages a") if link.is_displayed()]
    assert shown == ["Chat", "Health", "Break it"]
    browser.click("#to-health")
    browser.see("#tiles dd")
    assert "lacks the scope audit" in browser.text("#scope-note")
    assert not browser.all("#figures")[0].is_displayed()
    console.open("records")
    assert "scope audit" in browser.text("#closed")


def test_health_says_that_an_upstream_that_is_up_is_passed_over(
    console, stand_ins, gateway
):
    browser = console.browser
    stand_ins[0].break_with("rate_limited", retry_after="4")
    gateway.chat("Too often")
    console.sign_in("health")

    browser.wait_for("#upstreams .state", "Up, but passed over")
    browser.wait_for("#upstreams", "It asked for a rest, for another")
    browser.wait_for("#pulse", "switch asked for a rest")
    assert "0 of 8" in browser.text("#upstreams")  # madre's calls

    wait_until(lambda: "asked for a rest" not in browser.text("#pulse"))


def test_health_shows_the_whole_host(console):
    console.sign_in("health")

    console.browser.wait_for("#load-title", "2 workers")
    console.browser.wait_for("#tiles", "0 of 80")


def test_a_dot_of_the_plot_leads_to_its_record(console):
    browser = console.browser
    console.sign_in()
    console.ask("One dot")
    console.open("health")
    browser.see("#latency a")

    browser.run(
        "const dots = [...document.querySelectorAll('#latency a')];"
        "dots[0].dispatchEvent(new MouseEvent('click', {bubbles: true}));"
    )

    browser.wait_for("#record", "One dot")  # the newest comes first
    assert browser.text("#zone").startswith("Times are in ")


def test_the_pictures_are_walked_by_arrows(console):
    browser = console.browser
    console.sign_in()
    console.ask("The older dot")
    console.ask("The newer dot")
    console.open("health")
    browser.see("#latency a[tabindex='0']")
    (stop,) = browser.all("#latency a[tabindex='0']")
    (bar,) = browser.all("#errors a[tabindex='0']")
    assert "by the first choice" in bar.accessible_name
    browser.run("arguments[0].focus()", stop)
    newest = browser.focused()

    browser.press(Keys.ARROW_LEFT)
    assert browser.focused().startswith("Record of ")
    assert browser.focused() != newest
    browser.press(Keys.ENTER)

    browser.wait_for("#record", "The older dot")


def test_a_card_tells_what_is_wrong_and_asks_again_by_hand(console, stand_ins, gateway):
    browser, switch = console.browser, stand_ins[0]
    switch.break_with("http_status")
    gateway.chat("What is wrong with switch")
    switch.heal()
    wait_until(lambda: "obstacle" not in gateway.services()["switch"])
    console.sign_in("health")

    browser.wait_for("#upstreams", switch.url)
    browser.wait_for("#upstreams", "http_5xx")
    browser.wait_for("#upstreams", "half within")
    browser.click("#upstreams button[data-key='ask switch']")
    browser.wait_for("#upstreams", "up, after")
    assert "Ask switch for its health now" in browser.focused()

    browser.click("#upstreams [data-key='failure of switch']")
    browser.wait_for("#record", "What is wrong with switch")


def test_usage_tells_who_asked_for_how_much_and_leads_to_the_records(console, gateway):
    browser = console.browser
    undo = browser.before_each_page(KEPT_FILE)
    shown = {"X-VX11-Token": TALKER}
    try:
        assert gateway.chat("For the count", headers=shown).status_code == 200
        console.sign_in("usage")
        browser.wait_for("#used tbody", "helpdesk")
        browser.see("#by-day a")
        browser.click("#as-csv")
        kept = browser.run("return window.kept.text()").splitlines()
        assert kept[0].startswith("day,caller,person,chats")
        assert any(",helpdesk," in line for line in kept)

        browser.write("#by", "person")
        browser.wait_for("#used thead", "Person")
        browser.run(
            "[...document.querySelectorAll('#used a')].find("
            "(a) => a.ariaLabel.includes('helpdesk')).click()"
        )
        browser.wait_for("#rows", "For the count")
        assert {who.text for who in browser.all("#rows .who")} == {"helpdesk"}
    finally:
        undo()


# A file that a page lets its reader keep, for the test to read.
KEPT_FILE = """
const made = URL.createObjectURL;
URL.createObjectURL = (blob) => { window.kept = blob; return made.call(URL, blob); };
"""


def test_a_token_is_made_shown_once_rotated_and_revoked(console, gateway):
    browser = console.browser
    console.sign_in("tokens")
    browser.wait_for("#tokens", "night-audit")
    assert "of the environment" in browser.text("#tokens")

    browser.write("#name", "shift-2")
    browser.write("#rate", "60" + Keys.ENTER)
    secret = browser.text("#secret-text")
    assert secret.startswith("vx11_")
    assert browser.focused().endswith("of shift-2")
    shown = {"X-VX11-Token": secret}
    # Seldom: whoever shows ten wrong tokens in a minute is not heard at all.
    wait_until(lambda: gateway.chat("By a new token", headers=shown).ok, every=1.0)
    browser.click("#secret-actions button:last-child")
    assert secret not in browser.run("return document.documentElement.outerHTML")
    assert secret not in browser.run("return JSON.stringify(sessionStorage)")

    ours = "#tokens button[data-key^='{} '][aria-label*='shift-2']"
    browser.click(ours.format("Rotate"))
    browser.wait_for("#sure", "Rotate shift-2?")
    browser.press(Keys.ESCAPE)
    assert len(browser.all(ours.format("Rotate"))) == 1
    browser.click(ours.format("Rotate"))
    browser.click("#sure-yes")
    wait_until(lambda: len(browser.all(ours.format("Rotate"))) == 2)

    for left in (1, 0):
        browser.click(ours.format("Revoke"))
        browser.click("#sure-yes")
        wait_until(lambda left=left: len(browser.all(ours.format("Revoke"))) == left)
    wait_until(
        lambda: gateway.chat("By a revoked one", headers=shown).status_code == 403,
        every=1.0,
    )
    rows = gateway.records("route = 'tokens'")
    assert [row["code"] for row in rows].count("token_revoked") == 2
    assert {row["caller"] for row in rows} == {"operator"}

    console.open("records", "#outcome=event")
    browser.wait_for("#rows", "token_revoked")
    browser.click("#rows a")
    browser.wait_for("#record .lead", "operator revoked a token")


@pytest.fixture
def other_tab(console):
    """Open another tab and go back to the first one at the end."""
    driver = console.browser.driver
    first = driver.current_window_handle

    def switch_to(which):
        if which == "new":
            driver.switch_to.new_window("tab")
            console.browser.view(DESK)
        else:
            driver.switch_to.window(first)

    yield switch_to
    for handle in driver.window_handles:
        if handle != first:
            driver.switch_to.window(handle)
            driver.close()
    driver.switch_to.window(first)


def test_all_tabs_are_signed_in_and_out_together(console, other_tab):
    browser = console.browser
    console.sign_in()
    other_tab("new")
    console.open("records")
    browser.see("#filters")
    assert browser.run("return document.cookie") == ""
    assert browser.run("return localStorage.length") == 0

    browser.click("#sign-out")
    browser.see("#sign-in")
    other_tab("first")
    browser.see("#sign-in")
    assert browser.run("return sessionStorage.length") == 0

    console.sign_in()
    other_tab("new")
    console.open(fragment=f"#token={TALKER}")
    browser.wait_for("#signed-in-as", "not taken")
    assert "operator" in browser.text("#signed-in-as")


def test_signing_in_at_one_tab_lets_in_those_that_wait(console, other_tab):
    browser = console.browser
    console.open()
    browser.see("#sign-in")
    waiting = browser.driver.current_window_handle
    other_tab("new")
    console.sign_in()
    browser.driver.switch_to.window(waiting)

    browser.see("#composer")


def test_what_is_often_looked_for_is_one_press_away(console, stand_ins, gateway):
    browser, switch = console.browser, stand_ins[0]
    gateway.chat("A good one")
    switch.break_with("http_status")
    gateway.chat("A degraded one")
    console.sign_in("records")
    browser.wait_for("#rows", "A degraded one")

    browser.click("[data-chip='Degraded']")
    ends = (
        "return [...document.querySelectorAll('#rows .chip')].map(c => c.textContent)"
    )
    wait_until(lambda: set(browser.run(ends)) == {"degraded"})
    assert browser.focused() == "Degraded"
    browser.click("[data-chip='Last hour']")
    browser.wait_for("#rows", "A degraded one")
    assert browser.driver.current_url.endswith("#degraded=true&last=1h")
    browser.click("[data-chip='Degraded']")
    browser.wait_for("#rows", "A good one")

    console.open("records", "#text=nobody-said-this")
    browser.wait_for("#none", "Leave out some")


def test_records_come_in_by_themselves_while_live(console, gateway):
    browser = console.browser
    undo = browser.before_each_page(KEPT_FILE)
    try:
        console.sign_in("records")
        browser.see("#filters")
        browser.click("#live")
        gateway.chat("Just now, =1+1")
        browser.wait_for("#rows li:first-child", "Just now")
        assert "live" in browser.text("#found")

        browser.click("[data-chip='Last 15 min']")
        browser.see("#rows li")
        browser.click("#as-lines")
        browser.wait_for("#found", "in the file")
        lines = browser.run("return window.kept.text()").splitlines()
        assert json.loads(lines[0])["excerpt"] == "Just now, =1+1"
    finally:
        undo()


def test_from_one_record_to_its_neighbours(console, gateway):
    browser = console.browser
    for words in ("The first one", "The second one"):
        gateway.chat(words)
    console.sign_in("records")
    browser.click("#rows a")
    browser.wait_for("#record", "The second one")

    browser.run(
        "[...document.querySelectorAll('#record nav a')].find("
        "(a) => a.textContent === 'Older').click()"
    )

    browser.wait_for("#record", "The first one")


def test_sessions_of_before_are_in_a_list(console):
    browser = console.browser
    console.sign_in()
    console.ask("Of the first session")
    browser.click("#new-session")
    console.ask("Of the second session")
    browser.wait_for("#sessions", "Of the first session")

    browser.click("#sessions-list button")
    browser.wait_for("#talk", "Of the first session")
    assert "Of the second session" not in browser.text("#talk")
    console.open()
    browser.wait_for("#talk", "Of the first session")

    browser.run("document.querySelector('#sessions-list .link').click()")
    assert "Of the second session" not in browser.run(
        "return sessionStorage['gateway-talks']"
    )


def test_health_says_first_that_chats_are_refused(console, stand_ins, gateway):
    browser = console.browser
    for server in stand_ins:
        server.break_with("refuse")
    wait_until(lambda: gateway.upstreams_are(switch="down", madre="down"))
    console.sign_in("health")
    browser.see("#alarms .notice")

    words = {"refusing": "Chats are refused since", "degraded": "Degraded since"}
    shown = "return document.querySelector('#alarms').textContent"
    wait_until(
        lambda: words[gateway.status()["gateway"]["state"]] in browser.run(shown)
    )
    assert "are written" in browser.text("#tiles")
    assert "in effect" in browser.text("#tiles")


def test_a_wrong_address_is_a_page_for_people(console, expected):
    expected.append("404")
    console.open("nowhere")

    assert console.browser.text("h1") == "There is no such page"
    assert console.browser.faint_texts() == []
    console.browser.click("main a")
    console.browser.see("#sign-in")


def test_nothing_is_drawn_that_was_not_measured(console, stand_ins, gateway):
    """Whoever was passed over has no bar; a short chat is not drawn as a long one."""
    browser, switch = console.browser, stand_ins[0]
    switch.break_with("refuse")
    wait_until(lambda: gateway.upstreams_are(switch="down"))
    console.sign_in()
    console.ask("Past the first")
    (row,) = gateway.records("request LIKE '%Past the first%'")

    browser.click(".answer a")
    browser.see(".timeline")

    passed, asked, rest = browser.all(".timeline li")
    assert "not asked" in passed.text
    assert passed.find_elements("css selector", "rect[class^=bar]") == []
    assert asked.find_elements("css selector", "rect.bar-good")
    spent = sum(a["duration"] for a in json.loads(row["attempts"]))
    left = (row["duration"] - spent) * 1000
    shown, unit = rest.find_element("css selector", ".took").text.split()
    if unit == "ms":
        assert float(shown) == pytest.approx(left, rel=0.06)


def test_mistakes_of_callers_are_not_chats_without_an_answer(console, gateway):
    def refusals():
        return {row["status"] for row in gateway.records("outcome = 'refused'")}

    for _ in range(3):
        assert gateway.chat("").status_code == 422
    shown = {"X-VX11-Token": AUDITOR}
    assert gateway.chat("May not", headers=shown).status_code == 403
    wait_until(lambda: {422, 403} <= refusals())
    activity = requests.get(
        f"{gateway.url}/operator/api/activity",
        headers={"X-VX11-Token": TOKEN},
        timeout=10,
    ).json()
    refused = [c["status"] for c in activity["chats"] if c["outcome"] == "refused"]
    assert set(refused) == {422, 403}

    console.sign_in("health")

    console.browser.see("#errors svg")
    summary = console.browser.see("#errors svg").get_attribute("aria-label")
    failed = len(gateway.records("outcome IN ('failed', 'interrupted')"))
    assert f"{failed} without an answer" in summary


def test_signing_in_again_is_not_disturbed_by_the_page_behind(console, expected):
    expected.append("401")
    browser = console.browser
    console.sign_in("health")
    browser.see("#tiles dd")
    browser.run("sessionStorage.clear()")
    browser.see("#sign-in")

    browser.write("#token", "half a tok")
    looked = len(browser.complaints())
    browser.run("return new Promise((done) => setTimeout(done, 2500))")

    assert looked
    assert browser.complaints() == []
    assert browser.run("return document.querySelector('#token').value") == "half a tok"


def test_the_session_is_kept_from_page_to_page_until_a_new_one_is_begun(
    console, gateway
):
    console.sign_in()
    console.ask("First of the session")
    console.open("health")
    console.open()
    console.ask("Second of the session")

    assert len(console.browser.all("#talk > li")) == 2
    rows = gateway.records("request LIKE '%of the session%'")
    assert len({row["session_id"] for row in rows}) == 1

    console.browser.click("#new-session")
    assert console.browser.all("#talk > li") == []


def test_what_looks_like_markup_is_text_and_what_hides_is_shown(console, stand_ins):
    stand_ins[0].break_with("unicode_text", text=MASKED)
    console.sign_in()

    answer = console.ask(MASKED)
    assert "<img src=x onerror=alert(1)>" in answer.text
    console.browser.click(".answer a")
    console.browser.see("#record h1")

    quotes = [quote.text for quote in console.browser.all("#record blockquote")]
    assert quotes == ["safeU+202Etxt.exeU+200B <img src=x onerror=alert(1)>"] * 2
    assert console.browser.all("main img") == []


def test_the_next_page_of_records_is_appended(console, gateway):
    for number in range(52):
        gateway.chat(f"Page filler {number}")
    console.sign_in("records")

    console.browser.wait_for("#found", "newest 50")
    console.browser.click("#older")

    console.browser.wait_for("#rows", "Page filler 0")


def test_the_keyboard_alone_is_enough(console):
    browser = console.browser
    console.sign_in()
    console.open("records")
    browser.see("#filters")

    browser.press(Keys.TAB)
    assert browser.focused() == "Skip to the content"
    browser.press(Keys.ENTER, Keys.TAB)
    assert browser.focused() == "Live"
    browser.run("document.querySelector('#chips button:last-child').focus()")
    browser.press(Keys.TAB, Keys.TAB)
    assert browser.focused() == "Words in question or answer"

    console.open()
    browser.see("#composer")
    assert browser.focused() == "Message"
    browser.press("Typed", Keys.SHIFT + Keys.ENTER, "more", Keys.ENTER)
    wait_until(lambda: browser.all(".answer.done"))
    assert "Typed\nmore" in browser.text(".question")


@pytest.fixture
def busy_console(console, stand_ins, expected):
    """With something of every kind to look at: answers, degraded ones, failures."""
    expected.append("503")
    switch, madre = stand_ins
    console.sign_in()
    console.ask("Hello")
    switch.break_with("http_status")
    console.ask("Hello again")
    madre.break_with("http_status")
    console.ask("Anybody?", state="failed")
    return console


def test_an_outage_is_explained_from_the_bad_minutes_on(busy_console, tmp_path):
    browser = busy_console.browser
    busy_console.open("health")
    browser.see("#windows-box table")
    browser.click("#windows-box a[aria-label^='Why']")

    browser.wait_for("#outages", "switch answered with an error")
    browser.wait_for("#outages", "madre answered with an error")
    browser.see("#picture svg .bar-bad")
    browser.wait_for("#minutes", "(1)")
    assert "no cause" not in browser.text("#summary")
    browser.wait_for("#happened", "the gateway started")
    browser.picture(tmp_path / "outages.png")

    head = browser.text("#heads code")
    browser.write("#noted", head)
    browser.click("#anchor button")
    browser.wait_for("#anchored", "Yes")

    browser.run("document.getElementById('outages').replaceChildren()")
    browser.click("[data-back='3600']")
    browser.click("#outages a")
    browser.see("#rows li")
    browser.click("#rows a")
    browser.wait_for("#record", "Why")
    browser.wait_for("#record", "the order was switch, madre")


def looks(console):
    """Every page in turn, with something to see on it."""
    browser = console.browser
    console.open()
    browser.see("#composer")
    yield "chat"
    console.open("health")
    browser.see("#windows-box table")
    browser.see("#latency svg")
    yield "health"
    console.open("records")
    browser.see("#rows li")
    yield "records"
    browser.click("#rows a")
    browser.see("#record h1")
    yield "record"
    console.open("usage")
    browser.see("#used table")
    yield "usage"
    console.open("tokens")
    browser.see("#tokens table")
    yield "tokens"
    console.open("outages")
    browser.see("#minutes table")
    yield "outages"
    console.open("api-docs")
    browser.see("#post_chat")
    yield "API"
    console.open()
    browser.click("#sign-out")
    browser.see("#sign-in")
    yield "sign-in"


@pytest.mark.parametrize(("size", "dark"), [(DESK, False), (PHONE, True)])
def test_every_page_can_be_read_by_everybody(busy_console, size, dark):
    """Labels on every control, contrast, and no sideways scrolling on a phone."""
    browser = busy_console.browser
    browser.view(size, dark=dark)

    for page in looks(busy_console):
        browser.hold_still()
        wait_until(lambda: browser.run("return document.readyState") == "complete")
        assert browser.nameless_controls() == [], page
        assert browser.overflow() <= 0, page
        for is_dark in (False, True):
            browser.view(size, dark=is_dark)
            assert browser.faint_texts() == [], (page, is_dark)
