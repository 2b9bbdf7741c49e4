"""What somebody does in a browser, in their own words."""

from typing import Any

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

from tests.waiting import wait_until

DASHBOARD = "/admin/dj_queue/dashboard/"


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
        self.driver.find_element(By.NAME, "username").send_keys(name)
        self.driver.find_element(By.NAME, "password").send_keys(password)
        self.driver.find_element(By.CSS_SELECTOR, "input[type=submit]").click()
        self.sees("Background jobs")

    def text(self, selector: str = "#content") -> str:
        # Parts are replaced while the page is live.
        while True:
            try:
                return " ".join(self.driver.find_element(By.CSS_SELECTOR, selector).text.split())
            except StaleElementReferenceException:
                continue

    def sees(self, text: str, selector: str = "main") -> None:
        wait_until(lambda: text in self.text(selector), what=f"{text!r} in {selector}")

    def click(self, selector: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def press(self, label: str, within: str = "main") -> None:
        """The button whose text begins with *label*."""
        for button in self.driver.find_elements(By.CSS_SELECTOR, f"{within} button"):
            if button.text.startswith(label):
                button.click()
                return
        raise AssertionError(f"no button {label!r} in {self.text(within)!r}")

    def buttons(self) -> list[str]:
        return [each.text for each in self.driver.find_elements(By.CSS_SELECTOR, "main button")]

    def fill(self, name: str, text: str) -> None:
        field = self.driver.find_element(By.NAME, name)
        field.clear()
        field.send_keys(text)

    def choose(self, selector: str, value: str) -> None:
        self.click(f'{selector} option[value="{value}"]')

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def prefers(self, scheme: str) -> None:
        """Dark or light."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def card(self, label: str) -> str:
        """The number on the card with that label."""
        for card in self.driver.find_elements(By.CSS_SELECTOR, ".djq-card"):
            try:
                if card.find_element(By.CSS_SELECTOR, ".djq-label").text == label:
                    return card.find_element(By.TAG_NAME, "strong").text
            except StaleElementReferenceException:
                return ""
        return ""

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
        self.driver.set_window_size(1280, 900)
        self.driver.get("about:blank")
