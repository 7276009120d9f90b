"""Headless Chromium, for tests that look at what a viewer or a report of ours shows.

Tests that use it are marked ``browser`` and need what CONTRIBUTING.md says. A page that should not talk to
anybody is checked by what was asked of the network::

    with chromium() as page:
        page.open(path)
        page.js("return document.title")
        assert page.console() == []
        assert page.requests() == [path.as_uri()]
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LIMIT_S = 120.0  # generous: a page that is not ready by then never will be
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--force-device-scale-factor=1", "--hide-scrollbars",
)  # fmt: skip
PAGE_SCHEMES = ("http:", "https:", "ws:", "wss:", "file:")  # data: and blob: ask nobody


class Page:
    """One tab.

    Attributes:
        driver: selenium's, for what is not here.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self._requests: list[str] = []
        self._messages: list[str] = []

    def open(self, target: Path | str) -> None:
        """Open a file or a URL and wait until it has loaded."""
        self.driver.get(target.resolve().as_uri() if isinstance(target, Path) else target)

    def js(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page; returns what it returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str | Callable[[], Any]) -> Any:
        """Wait until a JavaScript expression, or a function, is true; returns its value.

        Raises:
            TimeoutError: it never was; with what the console says.
        """
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            value = self.js(f"return {condition}") if isinstance(condition, str) else condition()
            if value:
                return value
            time.sleep(0.05)
        raise TimeoutError(f"never true: {condition}; console: {self.console()}")

    def dark(self, wanted: bool = True) -> None:
        """Ask for the dark theme, or the light one, as the system's setting does."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[feature])

    def size(self, width: int, height: int) -> None:
        """Give the page this size in CSS pixels."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        assert self.driver.save_screenshot(str(path))

    def console(self) -> list[str]:
        """Errors and warnings so far: of scripts, of the network, of policies."""
        for entry in self.driver.get_log("browser"):  # type: ignore[no-untyped-call]
            if entry["level"] in ("SEVERE", "WARNING"):
                self._messages.append(f"{entry['level']} {entry['message']}")
        return list(self._messages)

    def requests(self) -> list[str]:
        """URLs that were asked for so far, the page itself among them."""
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if url.startswith(PAGE_SCHEMES):
                    self._requests.append(url)
        return list(self._requests)

    def _devtools(self, command: str, **arguments: Any) -> None:
        self.driver.execute_cdp_cmd(command, arguments)


@contextmanager
def chromium(width: int = 1200, height: int = 800, *arguments: str) -> Iterator[Page]:
    """Start Chromium with an empty profile; end it and remove the profile afterwards.

    Args:
        width: of the window.
        height: of the window.
        arguments: further ones of its command line.
    """
    browser, driver = _programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    profile = tempfile.mkdtemp(prefix="tinytrace-chromium-")
    for argument in (
        *ARGUMENTS,
        *arguments,
        f"--user-data-dir={profile}",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    tab = webdriver.Chrome(options=options, service=Service(driver))
    try:
        tab.set_script_timeout(LIMIT_S)
        tab.set_page_load_timeout(LIMIT_S)
        page = Page(tab)
        page.size(width, height)
        yield page
    finally:
        tab.quit()
        shutil.rmtree(profile, ignore_errors=True)


def _programs() -> tuple[str, str]:
    """The browser and its driver."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not (browser and driver):
        raise RuntimeError(
            "tests marked `browser` need Chromium: apt install chromium chromium-driver"
        )
    return browser, driver
