"""A real browser: Chromium without a window and without a network, driven by selenium."""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).parents[2]
AXE = ROOT / "tests" / "javascript" / "node_modules" / "axe-core" / "axe.min.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def programs() -> tuple[str, str]:
    """The browser and its driver. Where they are not installed, the test fails: none is skipped."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if not browser or not driver:
        pytest.fail("needs Chromium and its chromedriver: tests/browser/install")
    return browser, driver


@contextmanager
def started(*, script: bool = True, any_certificate: bool = False) -> Iterator[webdriver.Chrome]:
    """The browser. It finds no host but 127.0.0.1, and keeps a log of what it asked for."""
    browser, driver_program = programs()
    os.environ["SE_OFFLINE"] = "true"
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for each in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "force-color-profile=srgb"):
        options.add_argument(f"--{each}")
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    options.add_argument("--disable-background-networking")
    options.add_argument("--disable-component-update")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.accept_insecure_certs = any_certificate
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = webdriver.Chrome(options, Service(driver_program))
    try:
        yield driver
    finally:
        driver.quit()


class Tab:
    """The browser at one console."""

    def __init__(self, driver: webdriver.Chrome, root: str) -> None:
        self.driver = driver
        self.root = root.rstrip("/")
        self.command("Page.addScriptToEvaluateOnNewDocument", source=AXE.read_text() if AXE.exists() else "")

    def open(self, path: str, *, theme: str = "light", width: int = 1280) -> None:
        self.shape(theme=theme, width=width)
        self.driver.get(self.root + path)

    def shape(self, *, theme: str, width: int) -> None:
        chosen = {"prefers-color-scheme": theme, "prefers-reduced-motion": "reduce"}
        self.command(
            "Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in chosen.items()]
        )
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def command(self, name: str, **parameters: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, parameters)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def violations(self) -> list[str]:
        """What axe finds, one line a rule."""
        result = self.driver.execute_async_script(
            "axe.run(document, {runOnly: arguments[0], resultTypes: ['violations']}).then(arguments[1])", TAGS
        )
        return [
            f"{each['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for each in result["violations"]
            for node in each["nodes"]
        ]

    def complaints(self) -> list[str]:
        """What the browser's console says since it was last asked: reports of the policy, errors of scripts."""
        return [each["message"] for each in self.driver.get_log("browser")]

    def hosts(self) -> set[str]:
        """The hosts that were asked since this was last asked."""
        hosts = set()
        for each in self.driver.get_log("performance"):
            message = json.loads(each["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                parts = urlsplit(message["params"]["request"]["url"])
                if parts.scheme in {"http", "https", "ws", "wss"}:
                    hosts.add(parts.netloc)
        return hosts

    def overflows(self) -> bool:
        """Whether the page, and not a table in it, is wider than the window."""
        return bool(self.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth"))

    def save(self, file: Path, *, most: int = 1600) -> None:
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, most), "scale": 1}
        data = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        file.write_bytes(base64.b64decode(data))
