"""A real Chromium for tests and pictures, and what is looked for on every page."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.stack import wait_until

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
DESK = 1200, 860
PHONE = 390, 844
WIRE = {"http", "https", "ws", "wss"}
CONTROLS = "a, button, input, select, textarea, summary"
# Those on show whose name is not the words that they show; the driver takes long to ask
# for each.
WORDLESS = """
const has = (e) => e.matches("a, button, summary") && e.innerText?.trim();
return [...document.querySelectorAll(arguments[0])]
  .filter((e) => e.checkVisibility({ visibilityProperty: true }) && !has(e));
"""
# Contrast by WCAG 2.2 (1.4.3) of every text that is seen, from the styles that hold.
# A canvas turns whatever way a colour is written in into four numbers.
CONTRAST = Path(__file__).with_name("contrast.js").read_text()


# Chromium keeps breaches of the policy to its developer tools; tests want them told.
TELL_BREACHES = """
document.addEventListener("securitypolicyviolation", (breach) => {
  console.error(`policy: ${breach.violatedDirective} ${breach.blockedURI}`);
});
"""


class Browser:
    """Chromium as a reader uses it; `logs` and `hosts` tell what went on inside."""

    def __init__(self, folder):
        options = Options()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        logs = {"browser": "ALL", "performance": "ALL"}
        options.set_capability("goog:loggingPrefs", logs)
        self.driver = webdriver.Chrome(options, Service(DRIVER))
        self.driver.set_page_load_timeout(30)
        self.before_each_page(TELL_BREACHES)

    def close(self):
        self.driver.quit()

    def view(self, size, *, dark=False, scale=1):
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale}
        self._cdp("Emulation.setDeviceMetricsOverride", mobile=width < 600, **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._cdp("Emulation.setEmulatedMedia", features=[scheme])

    def before_each_page(self, script):
        """Run a script in every page to come, before its own; return how to stop."""
        added = self._cdp("Page.addScriptToEvaluateOnNewDocument", source=script)
        name = "Page.removeScriptToEvaluateOnNewDocument"
        return lambda: self._cdp(name, **added)

    def _cdp(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def see(self, css, limit=30):
        """The first element that is on show; wait for it."""

        def shown():
            with suppress(StaleElementReferenceException):
                return next((e for e in self.all(css) if e.is_displayed()), None)

        return wait_until(shown, limit)

    def text(self, css):
        return self.see(css).text

    def wait_for(self, css, words, limit=30):
        """Wait until an element says these words."""

        def is_said():
            with suppress(StaleElementReferenceException):  # the page draws it anew
                return any(words in element.text for element in self.all(css))

        return wait_until(is_said, limit)

    def click(self, css):
        """Click what is seen, out from under the head of the page."""
        element = self.see(css)
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def write(self, css, words):
        self.see(css).send_keys(words)

    def press(self, *strokes):
        """Type into whatever has the focus; keys of one stroke go down together."""
        for stroke in strokes:
            self.driver.switch_to.active_element.send_keys(stroke)

    def focused(self):
        """The name of what has the focus, as a screen reader tells it."""
        return self.driver.switch_to.active_element.accessible_name

    def picture(self, path):
        self.driver.save_screenshot(str(path))

    def complaints(self):
        """What the console of the browser shows since the last time it was asked."""
        return [
            f"{e['source']}: {e['message']}" for e in self.driver.get_log("browser")
        ]

    def hosts(self):
        """Whom the pages have asked anything since the last time."""
        messages = [
            json.loads(entry["message"])["message"]
            for entry in self.driver.get_log("performance")
        ]
        urls = [
            urlsplit(message["params"]["request"]["url"])
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        return {url.netloc for url in urls if url.scheme in WIRE}

    def hold_still(self):
        """Let the page ask for nothing more by itself, so that it stays as it is."""
        self.run(
            "Object.defineProperty(document, 'hidden',"
            " {get: () => true, configurable: true});"
        )

    def nameless_controls(self):
        """Controls on show that a screen reader has no name for."""
        wordless = self.run(WORDLESS, CONTROLS)
        return [e.get_attribute("outerHTML") for e in wordless if not e.accessible_name]

    def faint_texts(self):
        """Texts on show with less contrast than 4.5 to 1: [text, ratio]."""
        return self.run(CONTRAST)

    def overflow(self):
        """By how many pixels the page is wider than the screen."""
        return self.run(
            "return document.documentElement.scrollWidth - document.body.clientWidth"
        )


class Console:
    """The console in a browser, as somebody who knows a token uses it."""

    def __init__(self, browser, gateway_url, token):
        self.browser = browser
        self.url = gateway_url
        self.token = token

    def open(self, page="", fragment=""):
        self.browser.driver.get("about:blank")  # so that a fragment alone loads too
        self.browser.driver.get(f"{self.url}/operator/{page}{fragment}")

    def sign_in(self, page="", token=None):
        self.open(page)
        self.browser.write("#token", (token or self.token) + Keys.ENTER)
        self.browser.see("#page, #closed")

    def forget(self):
        self.browser.run("sessionStorage.clear()")

    def ask(self, words, state="done"):
        """Ask and wait for the end; return the last answer."""
        field = self.browser.see("#message")  # with it come the answers of before
        before = len(self.browser.all(f".answer.{state}"))
        field.send_keys(words + Keys.ENTER)
        return wait_until(
            lambda: self.browser.all(f".answer.{state}")[before:] or None, 60
        )[-1]

    def break_with(self, name, fault):
        self.browser.click(f"#stand-in-{name} [data-fault={fault}]")
        self.browser.wait_for(f"#stand-in-{name} .state", "Broken")

    def heal(self, name):
        self.browser.click(f"#stand-in-{name} .heal")
        self.browser.wait_for(f"#stand-in-{name} .state", "Works")
