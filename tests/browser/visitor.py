"""What somebody does in a browser, in their own words.

A page may be on its way to another one, and its parts are replaced while it is live, at any moment. So
nothing is looked at in two steps: what a question needs is looked up and read again until all of it was
there at once, or the deadline has passed.
"""

from collections.abc import Callable
from typing import Any

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    JavascriptException,
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.common.by import By

from tests.waiting import wait_until

DASHBOARD = "/admin/dj_queue/dashboard/"

# What a browser says of an element, or of a page, that it is about to leave or has not built yet.
_BETWEEN_PAGES = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    JavascriptException,
    NoSuchElementException,
    StaleElementReferenceException,
)
# For the same it has errors without a class of their own.
_ALSO_BETWEEN_PAGES = (
    "does not belong to the document",
    "execution context",
    "Cannot find context",
    "uniqueContextId not found",
)
# What was asked for was done, and led to another page before the browser could say so.
_LED_AWAY = "aborted by navigation"


class Visitor:
    """A browser on one site."""

    def __init__(self, driver: Any, site: str) -> None:
        self.driver = driver
        self.site = site
        self.complaints: list[str] = []
        self.expected: tuple[str, ...] = ("/favicon.ico",)
        """What the console may say all the same."""

    def open(self, path: str) -> None:
        self.collect()
        self.driver.get(self.site + path)

    def log_in(self, name: str, password: str) -> None:
        self.open(f"/admin/login/?next={DASHBOARD}")
        self.fill("username", name)
        self.fill("password", password)
        self.click("input[type=submit]")
        self.sees("Background jobs")

    def settled[T](self, question: Callable[[], T], *, what: str) -> T:
        """The answer to *question*, which is asked again while the browser is between two pages."""
        answers: list[T] = []
        said = ""

        def is_answered() -> bool:
            nonlocal said
            try:
                answers.append(question())
            except _BETWEEN_PAGES as error:
                said = str(error.msg)
            except WebDriverException as error:
                said = str(error.msg)
                if not any(each in said for each in (*_ALSO_BETWEEN_PAGES, _LED_AWAY)):
                    raise
            return bool(answers)

        try:
            wait_until(is_answered, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the browser said: {said.splitlines()[:1]}") from None
        return answers[0]

    def find(self, selector: str) -> Any:
        """An element, to be used inside of a question to `settled` alone."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[Any]:
        """See `find`."""
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def text(self, selector: str = "#content") -> str:
        """What stands there, once it is there."""
        read = self.settled(lambda: self.find(selector).text, what=f"a text in {selector}")
        return " ".join(read.split())

    def texts(self, selector: str) -> list[str]:
        """What stands in each of these elements, of which there may be none."""
        return self.settled(
            lambda: [each.text for each in self.find_all(selector)], what=f"texts of {selector}"
        )

    def attribute(self, selector: str, name: str) -> str | None:
        return self.settled(
            lambda: self.find(selector).get_attribute(name), what=f"{name} of {selector}"
        )

    def sees(self, text: str, selector: str = "main") -> None:
        # The element may come with the page that is on its way; so that it is missing is no answer, either.
        def is_there() -> bool:
            return any(text in " ".join(each.split()) for each in self.texts(selector))

        try:
            wait_until(is_there, what=f"{text!r} in {selector}")
        except AssertionError as error:
            raise AssertionError(f"{error}; there is {self.texts(selector)!r}") from None

    def click(self, selector: str) -> None:
        self.settled(lambda: _clicked(self.find(selector)), what=f"to click on {selector}")

    def press(self, label: str, within: str = "main") -> None:
        """The button whose text begins with *label*, once there is one."""

        def pressed() -> None:
            for button in self.find_all(f"{within} button"):
                if button.text.startswith(label):
                    _clicked(button)
                    return
            raise NoSuchElementException(f"among {[each.text for each in self.find_all('button')]}")

        self.settled(pressed, what=f"to press a button {label!r} in {within}")

    def buttons(self) -> list[str]:
        return self.texts("main button")

    def fill(self, name: str, text: str) -> None:
        def filled() -> None:
            field = self.find(f'[name="{name}"]')
            field.clear()
            field.send_keys(text)

        self.settled(filled, what=f"to fill in {name}")

    def choose(self, selector: str, value: str) -> None:
        self.click(f'{selector} option[value="{value}"]')

    def run(self, script: str, *arguments: Any) -> Any:
        """What *script* returns; it must say nothing of a document that may be left meanwhile."""
        return self.driver.execute_script(script, *arguments)

    def prefers(self, scheme: str) -> None:
        """Dark or light."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def may_use_the_clipboard(self) -> None:
        """As a person's browser allows a page that was clicked on."""
        given = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
        self.driver.execute_cdp_cmd("Browser.grantPermissions", {"origin": self.site, **given})

    def clipboard(self) -> str:
        """The text that was copied last."""
        script = "navigator.clipboard.readText().then(arguments[0], arguments[0])"
        return str(self.driver.execute_async_script(script))

    def sits_before(self, width: int, height: int) -> None:
        """A screen of exactly that many pixels, without a bar to scroll by, and the sidebar put away."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        self.run("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")

    def card(self, label: str) -> str:
        """The number on the card with that label, once there is one."""

        def number() -> str:
            for card in self.find_all(".djq-card"):
                if card.find_element(By.CSS_SELECTOR, ".djq-label").text == label:
                    return str(card.find_element(By.TAG_NAME, "strong").text)
            raise NoSuchElementException(f"no card {label!r}")

        return self.settled(number, what=f"a card {label!r}")

    def collect(self) -> None:
        """Note what the console has said since."""
        for entry in self.driver.get_log("browser"):
            if not any(each in entry["message"] for each in self.expected):
                self.complaints.append(f"{entry['level']} {entry['message']}")

    def forget(self) -> None:
        """Leave nothing for the next visitor."""
        self.collect()
        self.run("localStorage.clear()")
        self.driver.delete_all_cookies()
        self.prefers("")
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": False})
        self.driver.set_window_size(1280, 900)
        self.driver.get("about:blank")


def _clicked(element: Any) -> None:
    """Click once: not again where the click itself has led to another page."""
    try:
        element.click()
    except WebDriverException as error:
        if _LED_AWAY not in str(error.msg):
            raise
