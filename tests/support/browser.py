"""A headless Chromium of the host, to look at pages as a reader does: console, requests, sizes, keyboard, print."""

import base64
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PHONE, DESKTOP = 375, 1200
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-gpu")


class Browser:
    """Chromium with one page at a time."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def show(self, page: Path, width: int = DESKTOP, scheme: str = "light") -> None:
        """Load a file at a width of CSS pixels, in the colour scheme ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get_log("performance")  # forget the page before
        self.driver.get(page.absolute().as_uri())

    def run(self, script: str) -> Any:
        """Return what a script returns."""
        return self.driver.execute_script(script)

    def text(self) -> str:
        """Return the text that is shown."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def errors(self) -> list[str]:
        """Return what the console complains about."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses that the page asked for, itself left out."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if url != self.driver.current_url and not url.startswith("data:")]

    def press_tab(self, times: int) -> list[str]:
        """Press the tabulator key; return what has the focus after each, as its tag and name."""
        found = []
        for _ in range(times):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            found.append(
                self.run(
                    "const e = document.activeElement; "
                    "return e.tagName + ' ' + (e.getAttribute('aria-label') || e.textContent.trim());"
                )
            )
        return found

    def print_pdf(self) -> bytes:
        """Return the page as a PDF."""
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Yield a browser. Where there is none the test is skipped, unless `.ci/run` says that there must be one."""
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver_path is None:
        if os.environ.get("SEQEMBED_BROWSER") == "required":
            pytest.fail("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
        pytest.skip("needs Debian's chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(driver_path))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def check_page(browser: Browser, page: Path, texts: Sequence[str]) -> None:
    """Check what every page promises: nothing from elsewhere, no error, no sideways scrolling, keyboard, print."""
    html = page.read_text(encoding="utf-8")
    assert len(html.encode()) < 1_000_000
    assert "<script" not in html.lower()
    for width, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        browser.show(page, width, scheme)
        assert browser.requests() == []
        assert browser.errors() == []
        assert browser.run("return document.documentElement.scrollWidth") <= width
        shown = browser.text()
        missing = [text for text in texts if text not in shown]
        assert not missing, missing
    check_colours(browser, page)
    check_hints(browser, page)
    check_pictures(browser)
    check_keyboard(browser, page)
    assert browser.print_pdf().startswith(b"%PDF")


def check_colours(browser: Browser, page: Path) -> None:
    """Check that both colour schemes have their own paper, and ink that can be read on it."""
    script = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color];"
    found = []
    for scheme in ("light", "dark"):
        browser.show(page, scheme=scheme)
        found.append([_luminance(colour) for colour in browser.run(script)])
    (light, dark_ink), (dark, light_ink) = found
    assert light > 0.9 > 0.1 > dark
    assert (light + 0.05) / (dark_ink + 0.05) > 7 < (light_ink + 0.05) / (dark + 0.05)


def check_hints(browser: Browser, page: Path) -> None:
    """Check that what scrolls sideways on a phone has shadows at its edges, that it can scroll, and print has none."""
    browser.show(page, PHONE)
    wide = "[...document.querySelectorAll('main *')].filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 1)"
    scrolling = f"{wide}.filter(e => getComputedStyle(e).overflowX === 'auto')"
    shadows = "e => (getComputedStyle(e).backgroundImage.match(/linear-gradient/g) || []).length"
    assert set(browser.run(f"return {scrolling}.map({shadows})")) <= {4}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert set(browser.run(f"return [...document.querySelectorAll('.scroll')].map({shadows})")) == {0}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.show(page)


def _luminance(colour: str) -> float:
    """Return the relative luminance of ``rgb(…)``, after WCAG 2."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def check_pictures(browser: Browser) -> None:
    """Check that every picture has a name for those who cannot see it, ids occur once, and paths draw something."""
    nameless = """return [...document.querySelectorAll('svg')].filter(svg =>
        svg.closest('[aria-hidden=true]') === null && !(svg.getAttribute('role') === 'img'
        && (svg.getAttribute('aria-label') || document.getElementById(
            (svg.getAttribute('aria-labelledby') || '').split(' ')[0])?.textContent))).length"""
    assert browser.run(nameless) == 0
    in_the_way = "area => [...area.children].some(part => part.tagName !== 'svg')"
    assert browser.run(f"return [...document.querySelectorAll('.area')].filter({in_the_way}).length") == 0
    ids = browser.run("return [...document.querySelectorAll('[id]')].map(element => element.id)")
    assert len(ids) == len(set(ids))
    assert browser.run("return document.querySelectorAll('path[d*=NaN], [style*=nan]').length") == 0


def check_keyboard(browser: Browser, page: Path) -> None:
    """Check that the keyboard reaches the link to the content first, then each section, and opens what folds."""
    browser.show(page)
    sections = browser.run("return [...document.querySelectorAll('nav a')].map(a => a.textContent)")
    assert browser.press_tab(1 + len(sections)) == ["A Skip to the content", *(f"A {name}" for name in sections)]
    anchors = browser.run("return [...document.querySelectorAll('a')].map(a => a.getAttribute('href').slice(1))")
    assert all(browser.run(f"return document.getElementById({anchor!r}) !== null") for anchor in anchors)
    folded = browser.driver.find_elements(By.TAG_NAME, "summary")
    for summary in folded[:1]:
        summary.send_keys(Keys.ENTER)
        assert browser.run("return document.querySelector('details').open")
